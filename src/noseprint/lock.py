"""A lock on a results folder, so that only one run at a time writes there. A crash releases it.

`train.sh` runs this module as a program to take a step's lock, and hands the lock on to the step's script as an open
file: the environment variable NOSEPRINT_LOCK holds its descriptor. A script that a user starts takes the lock itself.
Standard library only. (filelock does not fit: it closes the lock in forked processes, so the loader workers of a killed
run, which may still write, would not hold it.)
"""

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, try_lock

GRACE = 15.0  # seconds in which the loader workers of a killed run notice that it is gone, and end


@contextmanager
def lock(folder: Path, *, name: str = ".lock", wait: float = 0.0) -> Iterator[None]:
    """Lock `folder`, which is made if it is missing.

    name: of the lock file. Another name is another lock, such as that of one file in the folder. wait: seconds to wait
    for a run that has the lock. Raises NoseprintError naming that run.
    """
    path = folder / name
    with friendly_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)
    with file:
        if not _is_inherited(path):
            _acquire(file, path, wait=wait)
        _write_owner(file, path, process=os.getpid(), command=[Path(sys.argv[0]).name, *sys.argv[1:]])
        yield


def _is_inherited(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(int(os.environ.get("NOSEPRINT_LOCK", ""))), path.stat())
    except (ValueError, OSError):
        return False


def _acquire(file: IO[bytes], path: Path, *, wait: float = 0.0) -> None:
    """Lock `file`; wait for its owner for `wait` seconds, and for the child processes of a dead owner for GRACE."""
    start = time.monotonic()
    while not try_lock(file):
        file.seek(0)
        owner = file.read().decode(errors="replace").strip()
        if time.monotonic() - start > (wait if _may_be_alive(owner) else GRACE):
            raise NoseprintError(f"{path.parent} is in use by {owner or 'another process'}: wait for it, or stop it")
        time.sleep(0.2)


def _write_owner(file: IO[bytes], path: Path, *, process: int, command: list[str]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with friendly_write_errors(path):
        file.seek(0)
        file.truncate()
        file.write(f"process {process} on {socket.gethostname()} since {since}: {shlex.join(command)}\n".encode())


def _may_be_alive(owner: str) -> bool:
    """False if the owner has certainly ended, or is not known. A process of another machine may be alive."""
    words = owner.split()
    if len(words) < 4 or not words[1].isdigit() or words[3] != socket.gethostname():
        return bool(words)
    try:
        os.kill(int(words[1]), 0)
        state = Path(f"/proc/{words[1]}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # another user's process, or not Linux
        return True
    return state != "Z"  # a zombie has ended, but its parent has not noticed yet


def main() -> int:
    """Lock a folder for the calling shell. Arguments: DESCRIPTOR FOLDER COMMAND...

    The shell has opened the lock file as DESCRIPTOR. The message to a second run names COMMAND.
    """
    descriptor, folder, *command = sys.argv[1:]
    with open(int(descriptor), "rb+", buffering=0, closefd=False) as file:
        try:
            path = Path(folder, ".lock")
            _acquire(file, path)
            _write_owner(file, path, process=os.getppid(), command=command)
        except NoseprintError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
