import os
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = str(Path(__file__).with_name("tiny.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(command, **environment):
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=180)


def start(demo, results, *options, until, pause="0.2", **environment):
    """Start a training in a process group of its own, with a pause before each step, and wait for the step `until`."""
    command = [sys.executable, SCRIPT, str(demo), str(results), "--slow", pause, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, start_new_session=True, env=os.environ | environment, **pipes)
    for line in process.stdout:
        if line == f"step {until}\n":
            return process
    raise AssertionError(process.stderr.read())


def test_a_signal_to_the_whole_group_saves_the_state_and_leaves_no_process(demo, tmp_path):
    """As `train.sh` and Ctrl-C on a terminal do it: the loader's workers get the signal, too."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = start(demo, tmp_path / str(status), "--workers", "2", until=2, TMPDIR=str(scratch))
        os.killpg(process.pid, number)
        out, errors = process.communicate(timeout=20)
        assert process.returncode == status, errors
        assert "saved after step" in out
        assert "continues from there" in out
        assert (tmp_path / str(status) / "last" / "state.pt").is_file()
        assert "Traceback" not in errors
        assert not list(scratch.glob("pymp-*"))  # the workers tidied up


def test_a_second_training_in_one_folder_is_refused(demo, tmp_path):
    process = start(demo, tmp_path, until=1, pause="300")
    second = run([sys.executable, SCRIPT, str(demo), str(tmp_path)])
    process.kill()
    process.communicate(timeout=20)
    assert second.returncode == 1
    assert f"is in use by process {process.pid} on" in second.stderr
    assert "Traceback" not in second.stderr


def test_when_a_rank_dies_the_others_end_and_the_same_command_resumes_to_the_same_bits(demo, tmp_path):
    whole = run([*TORCHRUN, SCRIPT, str(demo), str(tmp_path / "whole")])
    assert whole.returncode == 0, whole.stderr
    cut = run([*TORCHRUN, SCRIPT, str(demo), str(tmp_path / "cut"), "--die-at", "4"], DYING_RANK="1")
    assert cut.returncode != 0
    assert "another process of this run has ended" in cut.stderr
    best = [tmp_path / name / "best.safetensors" for name in ("whole", "cut")]
    before = best[1].read_bytes() if best[1].exists() else b""
    assert before != best[0].read_bytes()
    again = run([*TORCHRUN, SCRIPT, str(demo), str(tmp_path / "cut")])
    assert again.returncode == 0, again.stderr
    assert "resuming after step 3 " in again.stdout
    assert best[0].read_bytes() == best[1].read_bytes()
