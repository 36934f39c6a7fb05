"""Several networks at a time, and stopping them."""

import itertools
import os
import pty
import signal
import subprocess
import threading
import time

import pytest


def stages(calls):
    return {call["script"]: call for call in calls if "stage" in call["script"]}


def recipes(calls):
    return [call for call in calls if not call["script"].startswith("noseprint ")]


def test_one_after_another_by_default(checkout, in_turn):
    checkout.ok("train.sh")
    calls = recipes(checkout.calls())
    assert len(calls) == len(in_turn)
    assert all(a["end"] <= b["begin"] for a, b in itertools.pairwise(calls))
    assert all(call["CUDA_VISIBLE_DEVICES"] is None and call["OMP_NUM_THREADS"] is None for call in calls)


def test_jobs_overlap_keep_each_chain_in_order_and_divide_threads(checkout):
    for name in ("swin224", "swin384"):
        checkout.wish(f"{name}_stage1/train.py", "sleep 1")
    out = checkout.ok("train.sh", "--jobs", "2")
    calls = stages(checkout.calls())
    assert len(calls) == 8
    first, second = calls["swin224_stage1/train.py"], calls["swin384_stage1/train.py"]
    assert max(first["begin"], second["begin"]) < min(first["end"], second["end"])
    for name in ("swin224", "swin384", "v2", "b7ns"):
        assert calls[f"{name}_stage1/train.py"]["end"] <= calls[f"{name}_stage2/train.py"]["begin"]
    assert calls["swin224_stage2/train.py"]["end"] <= calls["v2_stage1/train.py"]["begin"]
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    assert {call["OMP_NUM_THREADS"] for call in calls.values()} == {str(max(1, cores // 2))}
    assert "[v2_stage2] error of v2_stage2" in out
    log = (checkout.root / "v2_stage2/results/train.log").read_text()
    assert "error of v2_stage2" in log
    assert "[v2_stage2]" not in log


def test_gpus_one_a_lane(checkout):
    checkout.ok("train.sh", "--gpus", "3,5")
    calls = recipes(checkout.calls())
    seen = {call["script"].split("_")[0]: call["CUDA_VISIBLE_DEVICES"] for call in calls}
    assert seen == {"pseudo": "3", "swin224": "3", "swin384": "5", "v2": "3", "b7ns": "5"}
    assert all(call["OMP_NUM_THREADS"] is None for call in calls)


def test_selected_networks_are_spread_over_the_gpus(checkout):
    checkout.ok("train.sh", "--to", "pseudo")
    checkout.calls()
    checkout.ok("train.sh", "--only", "v2_stage1", "swin224_stage1", "--gpus", "0,1")
    assert {call["script"]: call["CUDA_VISIBLE_DEVICES"] for call in checkout.calls()} == {
        "swin224_stage1/train.py": "0",
        "v2_stage1/train.py": "1",
    }


def test_after_a_failure_running_networks_finish_and_no_new_one_starts(checkout):
    checkout.wish("swin224_stage1/train.py", "fail 4")
    checkout.wish("swin384_stage1/train.py", "sleep 2")
    result = checkout.run("train.sh", "--jobs", "2")
    assert result.returncode == 1
    assert set(stages(checkout.calls())) == {
        "swin224_stage1/train.py",
        "swin384_stage1/train.py",
        "swin384_stage2/train.py",
    }
    assert result.stderr.splitlines()[-2] == (
        "Failed: swin224_stage1/train.py failed (exit status 4); its log is swin224_stage1/results/train.log"
    )
    assert (checkout.root / "swin384_stage2/results/train.done").is_file()


def start_and_reach_the_wish(checkout, *command):
    """Start a script and wait until the stub that was told to sleep does so; gives both processes."""
    process = subprocess.Popen(
        checkout.command(*command),
        env=checkout.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
    )
    asleep = checkout.root / "asleep"
    deadline = time.time() + 30
    while not (asleep.exists() and asleep.read_text()):
        assert time.time() < deadline
        time.sleep(0.02)
    return process, int(asleep.read_text())


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_every_child_and_the_same_command_resumes(checkout, jobs, number, status):
    wish = checkout.wish("swin224_stage1/train.py", "sleep 30")
    process, child = start_and_reach_the_wish(checkout, "train.sh", "--jobs", jobs)
    process.send_signal(number)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == status
    assert "farewell" in out  # what a script says last reaches the terminal
    assert "the same command carries on from here" in errors
    assert "failed" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    wish.unlink()
    checkout.calls()
    assert "swin224_stage1/train.py: resumes" in checkout.ok("train.sh", "--jobs", jobs)
    assert "--restart" not in stages(checkout.calls())["swin224_stage1/train.py"]["args"]
    assert not list(checkout.root.parent.glob("noseprint.*"))


def test_on_a_terminal_one_step_at_a_time_shows_its_bar(checkout):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        checkout.command("train.sh", "--to", "pseudo"),
        env=checkout.environment,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = []

    def read():
        try:
            while block := os.read(master, 4096):
                shown.append(block)
        except OSError:  # Linux says so when the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(timeout=60) == 0
    reader.join(timeout=10)
    os.close(master)
    assert {call["NOSEPRINT_PROGRESS"] for call in checkout.calls()} == {"1"}
    assert b"bar 1/2\rbar 2/2" in b"".join(shown)
    assert "bar 1/2" not in (checkout.root / "pseudo_produce/results/train.log").read_text()


def test_a_second_run_on_the_same_folder_is_refused_and_changes_nothing(checkout):
    wish = checkout.wish("swin224_stage1/train.py", "sleep 60")
    process, _ = start_and_reach_the_wish(checkout, "train.sh")
    inputs = checkout.root / "swin224_stage1/results/train.inputs"
    before = inputs.read_text()
    second = checkout.run("train.sh", "--only", "swin224_stage1", "--force")
    assert second.returncode == 1
    assert "swin224_stage1/results is in use by process" in second.stderr
    assert "train.sh swin224_stage1/train.py" in second.stderr
    assert inputs.read_text() == before
    checkout.ok("train.sh", "--only", "v2_stage1", "b7ns_stage1")  # other folders are free
    wish.unlink()
    process.terminate()
    process.communicate(timeout=10)
    checkout.ok("train.sh", "--only", "swin224_stage1")


def test_a_second_answer_into_the_same_folder_is_refused(finished):
    run, other = ("--small",), ()
    finished.ok("train.sh", "--small")
    wish = finished.wish("v2_stage2/infer.py", "sleep 60")
    process, child = start_and_reach_the_wish(finished, "predict.sh", *run, "--members", "v2")
    wish.unlink()
    finished.calls()
    second = finished.run("predict.sh", *run, "--members", "swin224")
    assert second.returncode == 1
    assert "is in use by process" in second.stderr
    assert "predict.sh" in second.stderr
    assert finished.calls() == []
    finished.ok("predict.sh", *other, "--members", "swin224")
    process.kill()
    process.wait(timeout=10)
    assert "is in use by process" in finished.run("predict.sh", *run, "--members", "swin224").stderr
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=10)
    finished.ok("predict.sh", *run, "--members", "swin224")


def test_while_what_a_killed_script_started_lives_on_the_folder_stays_taken(checkout):
    wish = checkout.wish("swin224_stage1/train.py", "sleep 60")
    process, child = start_and_reach_the_wish(checkout, "train.sh", "--only", "pseudo_produce", "swin224_stage1")
    process.kill()
    process.wait(timeout=10)
    wish.unlink()
    second = checkout.run("train.sh", "--only", "swin224_stage1")
    assert second.returncode == 1
    assert "is in use by process" in second.stderr
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=10)  # ends when the last one that writes there has
    checkout.ok("train.sh", "--only", "swin224_stage1")


def test_ctrl_c_on_a_terminal_lets_the_script_finish_and_shows_its_last_words(checkout):
    """On a terminal its output goes through one more process, which must not die of the signal before it does."""
    wish = checkout.wish("swin224_stage1/train.py", "sleep 30")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        checkout.command("train.sh"),
        env=checkout.environment,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
    )
    os.close(slave)
    shown = b""
    deadline = time.time() + 30
    while not (checkout.root / "asleep").exists():
        assert time.time() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    try:
        while block := os.read(master, 4096):
            shown += block
    except OSError:  # Linux says so when the other end is closed
        os.close(master)
    assert process.wait(timeout=20) == 130
    assert b"farewell" in shown
    assert b"farewell" in (checkout.root / "swin224_stage1/results/train.log").read_bytes()
    wish.unlink()
