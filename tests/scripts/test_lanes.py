"""Several networks at the same time, how scripts are stopped, and locks."""

import itertools
import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest


def by_script(calls):
    return {call["script"]: call for call in calls}


def test_scripts_run_one_at_a_time_by_default(toy):
    toy.ok("train.sh")
    calls = toy.calls()
    assert len(calls) == 4
    assert all(a["end"] <= b["begin"] for a, b in itertools.pairwise(calls))
    assert all(call["CUDA_VISIBLE_DEVICES"] is None and call["OMP_NUM_THREADS"] is None for call in calls)


def test_jobs_overlap_and_share_the_threads(toy):
    for folder in ("small", "large"):
        toy.will(f"{folder}/train.py", "sleep 1")
    out = toy.ok("train.sh", "--jobs", "2")
    calls = by_script(toy.calls())
    small, large = calls["small/train.py"], calls["large/train.py"]
    assert max(small["begin"], large["begin"]) < min(small["end"], large["end"])
    assert calls["teacher/label.py"]["end"] <= min(small["begin"], large["begin"])
    threads = max(1, os.sysconf("SC_NPROCESSORS_ONLN") // 2)
    assert small["OMP_NUM_THREADS"] == large["OMP_NUM_THREADS"] == str(threads)
    assert "[large] error of large" in out
    log = (toy.root / "large/results/train.log").read_text()
    assert "error of large" in log
    assert "[large]" not in log


def test_small_networks_train_two_at_a_time_if_cores_and_memory_suffice_and_there_is_no_gpu(toy, tmp_path):
    del toy.environment["NOSEPRINT_JOBS"]
    meminfo = Path("/proc/meminfo")
    free = int(re.search(r"MemAvailable: *(\d+)", meminfo.read_text())[1]) if meminfo.exists() else 0

    def lanes(*args):
        toy.ok("train.sh", *args, "--force")
        return 1 + any(call["OMP_NUM_THREADS"] is not None for call in toy.calls())

    getconf = tmp_path / "bin" / "getconf"
    getconf.write_text("#!/bin/sh\necho 4\n")
    getconf.chmod(0o755)
    assert lanes("--small") == (2 if free >= 8_000_000 else 1)
    assert lanes() == 1
    assert lanes("--small", "--jobs", "1") == 1
    getconf.write_text("#!/bin/sh\necho 1\n")
    assert lanes("--small") == 1
    getconf.write_text("#!/bin/sh\necho 4\n")
    (tmp_path / "bin" / "nvidia-smi").symlink_to(getconf)
    assert lanes("--small") == 1


def test_each_lane_has_one_gpu_and_items_of_its_own_from_both_ends(checkout):
    checkout.ok("train.sh", "--gpus", "3,5")
    calls = [call for call in checkout.calls() if call["script"].endswith(".py")]
    gpus = {call["script"].split("_")[0]: call["CUDA_VISIBLE_DEVICES"] for call in calls}
    assert gpus == {"pseudo": "3", "swin224": "3", "swin384": "5", "v2": "5", "b7ns": "3"}
    assert all(call["OMP_NUM_THREADS"] is None for call in calls)
    ends, begins = ({call["script"]: call[key] for call in calls} for key in ("end", "begin"))
    for member in ("swin224", "swin384", "v2", "b7ns"):
        assert ends[f"{member}_stage1/train.py"] <= begins[f"{member}_stage2/train.py"]
    assert ends["swin384_stage2/train.py"] <= begins["v2_stage1/train.py"]
    assert ends["swin224_stage2/train.py"] <= begins["b7ns_stage1/train.py"]
    checkout.ok("train.sh", "--only", "v2_stage1", "swin224_stage1", "--gpus", "0,1", "--force")
    calls = [call for call in checkout.calls() if call["script"].endswith(".py")]
    gpus = {call["script"]: call["CUDA_VISIBLE_DEVICES"] for call in calls}
    assert gpus == {"swin224_stage1/train.py": "0", "v2_stage1/train.py": "1"}


def test_after_a_failure_running_scripts_finish_and_no_new_one_starts(checkout):
    checkout.ok("train.sh", "--to", "pseudo")
    checkout.calls()
    checkout.will("swin224_stage1/train.py", "fail 4")
    checkout.will("swin384_stage1/train.py", "sleep 2")
    error = checkout.fails("train.sh", "--jobs", "2")
    assert set(checkout.called()) == {"swin224_stage1/train.py", "swin384_stage1/train.py", "swin384_stage2/train.py"}
    assert error.splitlines()[-2] == (
        "Failed: swin224_stage1/train.py failed (exit status 4); its log is "
        f"{checkout.root}/swin224_stage1/results/train.log"
    )
    assert (checkout.root / "swin384_stage2/results/train.done").is_file()


def start_until_asleep(checkout, *command, **streams):
    """Start a script and wait for the recipe script that will sleep; returns the process and the sleeper's number."""
    process = subprocess.Popen(
        checkout.command(*command),
        env=checkout.environment,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | streams,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
    )
    asleep = checkout.root / "asleep"
    deadline = time.time() + 120
    while not (asleep.exists() and asleep.read_text()):
        assert time.time() < deadline
        time.sleep(0.02)
    return process, int(asleep.read_text())


@pytest.mark.parametrize(("jobs", "number", "status"), [("1", signal.SIGINT, 130), ("2", signal.SIGTERM, 143)])
def test_a_signal_stops_every_child_and_the_same_command_resumes(toy, jobs, number, status):
    sleeping = toy.will("small/train.py", "sleep 60")
    process, child = start_until_asleep(toy, "train.sh", "--jobs", jobs)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "state saved" in out  # also printed after the signal
    assert "the same command continues from here" in errors
    assert "failed" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    sleeping.unlink()
    toy.calls()
    assert "small/train.py: resumes" in toy.ok("train.sh", "--jobs", jobs)
    assert "--restart" not in by_script(toy.calls())["small/train.py"]["args"]
    assert not list(toy.root.parents[2].glob("noseprint.*"))


def test_a_terminal_shows_the_progress_bar(toy):
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        toy.command("train.sh", "--to", "teacher"),
        env=toy.environment,
        stdin=subprocess.DEVNULL,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)
    shown = []
    reader = threading.Thread(target=lambda: shown.append(read_all(terminal)))
    reader.start()
    assert process.wait(timeout=120) == 0
    reader.join(timeout=10)
    assert {call["NOSEPRINT_PROGRESS"] for call in toy.calls()} == {"1"}
    assert b"bar 1/2\rbar 2/2" in shown[0]
    assert "bar 1/2" not in (toy.root / "teacher/results/train.log").read_text()


def test_ctrl_c_on_a_terminal_still_shows_what_the_script_prints_last(toy):
    """On a terminal the output goes through one more process, which must outlive the script."""
    toy.will("teacher/train.py", "sleep 60")
    terminal, other_end = pty.openpty()
    process, _ = start_until_asleep(toy, "train.sh", stdout=other_end, stderr=other_end, start_new_session=True)
    os.close(other_end)
    os.killpg(process.pid, signal.SIGINT)
    assert b"state saved" in read_all(terminal)
    assert process.wait(timeout=60) == 130
    assert b"state saved" in (toy.root / "teacher/results/train.log").read_bytes()


def read_all(terminal):
    shown = b""
    try:
        while block := os.read(terminal, 4096):
            shown += block
    except OSError:  # what Linux does when the other end is closed
        os.close(terminal)
    return shown


def test_a_second_run_on_the_same_folder_is_refused_and_changes_nothing(toy):
    sleeping = toy.will("small/train.py", "sleep 60")
    process, child = start_until_asleep(toy, "train.sh")
    inputs = toy.root / "small/results/train.inputs"
    before = inputs.read_text()
    error = toy.fails("train.sh", "--only", "small", "--force")
    assert "small/results is in use by process" in error
    assert "train.sh small/train.py" in error
    assert inputs.read_text() == before
    toy.ok("train.sh", "--only", "large")  # other folders are free
    sleeping.unlink()
    process.kill()
    process.wait(timeout=10)
    assert "is in use by process" in toy.fails("train.sh", "--only", "small")  # by what the killed shell started
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=10)
    toy.ok("train.sh", "--only", "small")


def test_what_a_killed_shell_has_started_ends_but_starts_nothing_more(toy):
    toy.will("teacher/train.py", "sleep 3")
    process, _ = start_until_asleep(toy, "train.sh")
    process.kill()
    process.wait(timeout=10)
    _, errors = process.communicate(timeout=60)
    assert "teacher/label.py was not started, since train.sh was killed" in errors
    assert toy.called() == ["teacher/train.py"]
    assert "teacher/train.py: done, skipped" in toy.ok("train.sh")


def test_a_second_answer_into_the_same_folder_is_refused(finished):
    weights = finished.root / "v2_stage2/results/small/best.safetensors"
    weights.parent.mkdir()
    weights.write_text("weights")
    sleeping = finished.will("v2_stage2/infer.py", "sleep 60")
    process, child = start_until_asleep(finished, "predict.sh", "--small", "--members", "v2")
    sleeping.unlink()
    finished.calls()
    error = finished.fails("predict.sh", "--small", "--members", "v2")
    assert "results/small is in use by process" in error
    assert "predict.sh" in error
    assert finished.calls() == []
    finished.ok("predict.sh", "--members", "swin224")  # another run is free
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=60)
    finished.ok("predict.sh", "--small", "--members", "v2")


def test_a_folder_that_cannot_be_locked_is_named_and_nothing_runs(finished):
    (finished.root / "results/.lock").mkdir(parents=True)
    finished.calls()
    error = finished.fails("predict.sh", "--members", "swin224")
    assert error.splitlines() == [
        f"{finished.root}/results cannot be written (Is a directory)",
        "predict.sh: nothing was started",
    ]
    assert finished.calls() == []
