import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from noseprint import lock as lock_module
from noseprint.errors import NoseprintError
from noseprint.lock import lock

HOLD = """
import os, sys, time
from pathlib import Path
from noseprint.lock import lock
with lock(Path(sys.argv[1])):
    child = os.fork() if "fork" in sys.argv else None
    if child == 0:
        time.sleep(float(sys.argv[3]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder, *more):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_of_the_first_and_a_crash_releases(tmp_path):
    first = hold(tmp_path / "results")
    with (
        pytest.raises(NoseprintError, match=rf"results is in use by process {first.pid} on .* -c .*results"),
        lock(tmp_path / "results"),
    ):
        pass
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with lock(tmp_path / "results"):
        pass


def test_what_a_killed_run_forked_is_waited_for(tmp_path):
    first = hold(tmp_path, "fork", "1.5")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    begun = time.monotonic()
    with lock(tmp_path):
        assert time.monotonic() - begun > 0.3


def test_what_outlives_the_grace_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "GRACE", 0.5)
    first = hold(tmp_path, "fork", "4")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with pytest.raises(NoseprintError, match=f"in use by process {first.pid}"), lock(tmp_path):
        pass


def test_two_folders_do_not_know_each_other(tmp_path):
    with lock(tmp_path / "one"), lock(tmp_path / "two"):
        pass


def test_a_shell_hands_its_lock_to_the_script_it_starts(tmp_path):
    shell = f"""
        exec 9<>"$0/.lock"
        {sys.executable} -m noseprint.lock 9 "$0" train.sh "a step" || exit 3
        cat "$0/.lock"
        {sys.executable} -c 'import sys; from pathlib import Path; from noseprint.lock import lock
with lock(Path(sys.argv[1])): pass' "$0" && echo without && exit
        export NOSEPRINT_LOCK=9
        {sys.executable} -c 'import sys; from pathlib import Path; from noseprint.lock import lock
with lock(Path(sys.argv[1])): print("with")' "$0"
        cat "$0/.lock"
    """
    result = subprocess.run(["bash", "-c", shell, tmp_path], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert [lines[1], result.returncode] == ["with", 0], result
    assert lines[0].startswith("process ")
    assert lines[0].endswith(": train.sh 'a step'")
    assert lines[2].split()[1] != lines[0].split()[1]  # signed by the script now
    assert "is in use by process" in result.stderr


def test_a_number_left_from_elsewhere_is_not_the_lock(tmp_path, monkeypatch):
    (tmp_path / "other").touch()
    with (tmp_path / "other").open() as other:
        monkeypatch.setenv("NOSEPRINT_LOCK", str(other.fileno()))
        first = hold(tmp_path)
        with pytest.raises(NoseprintError, match="in use"), lock(tmp_path):
            pass
        first.kill()
        first.wait()


def test_a_process_that_has_ended_is_dead_before_its_parent_looks():
    words = f"on {socket.gethostname()} since today: train.sh"
    child = subprocess.Popen(["sleep", "60"])
    assert lock_module._alive(f"process {child.pid} {words}")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert not lock_module._alive(f"process {child.pid} {words}")
    child.wait()
    assert not lock_module._alive(f"process {child.pid} {words}")
