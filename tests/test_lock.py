import os
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
    if sys.argv[2:] and os.fork() == 0:
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("locked", flush=True)
    time.sleep(60)
"""


def start_holder(folder, *child_seconds):
    """A process that holds the lock; with seconds given, it forks a child that lives that long."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, *child_seconds], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def kill(process):
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_a_crash_releases_the_lock(tmp_path):
    holder = start_holder(tmp_path / "results")
    with (
        pytest.raises(NoseprintError, match=rf"results is in use by process {holder.pid} on .* -c .*results"),
        lock(tmp_path / "results"),
    ):
        pass
    with lock(tmp_path / "other"):
        pass
    kill(holder)
    with lock(tmp_path / "results"):
        pass


def test_a_new_run_waits_for_the_children_of_a_killed_one(tmp_path):
    kill(start_holder(tmp_path, "1.5"))
    start = time.monotonic()
    with lock(tmp_path):
        assert time.monotonic() - start > 0.3


def test_a_new_run_does_not_wait_forever_for_the_children_of_a_killed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "GRACE", 0.5)
    holder = start_holder(tmp_path, "4")
    kill(holder)
    with pytest.raises(NoseprintError, match=f"in use by process {holder.pid}"), lock(tmp_path):
        pass


def test_a_shell_hands_its_lock_to_the_script_it_starts(tmp_path):
    script = "import sys; from pathlib import Path; from noseprint.lock import lock\nwith lock(Path(sys.argv[1])): pass"
    shell = f"""
        exec 9<>"$0/.lock"
        {sys.executable} -m noseprint.lock 9 "$0" train.sh "a step" || exit 3
        cat "$0/.lock"
        {sys.executable} -c '{script}' "$0" && exit 4
        NOSEPRINT_LOCK=9 {sys.executable} -c '{script}' "$0" || exit 5
        cat "$0/.lock"
    """
    result = subprocess.run(["bash", "-c", shell, tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result
    by_shell, by_script = result.stdout.splitlines()
    assert by_shell.startswith("process ")
    assert by_shell.endswith(": train.sh 'a step'")
    assert by_script.split()[1] != by_shell.split()[1]
    assert "is in use by process" in result.stderr


def test_the_descriptor_of_another_file_is_not_an_inherited_lock(tmp_path, monkeypatch):
    with (tmp_path / "other").open("w") as other:
        monkeypatch.setenv("NOSEPRINT_LOCK", str(other.fileno()))
        holder = start_holder(tmp_path)
        with pytest.raises(NoseprintError, match="in use"), lock(tmp_path):
            pass
        kill(holder)


def test_a_zombie_is_not_alive():
    rest = f"on {socket.gethostname()} since today: train.sh"
    child = subprocess.Popen(["sleep", "60"])
    assert lock_module._may_be_alive(f"process {child.pid} {rest}")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, but stays a zombie
    assert not lock_module._may_be_alive(f"process {child.pid} {rest}")
    child.wait()
    assert not lock_module._may_be_alive(f"process {child.pid} {rest}")
    assert lock_module._may_be_alive(f"process {child.pid} on another-machine since today: train.sh")
