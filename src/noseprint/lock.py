"""One run at a time in a results folder: a lock that a crash releases.

`train.sh` takes the lock of a step through this module as a program and hands it on to the step's script by an open
file (`NOSEPRINT_LOCK` is its number); a script started by hand takes it itself. Standard library only.
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

GRACE = 15.0  # seconds given to the loader processes of a killed run to notice that they are alone
_INHERITED = "NOSEPRINT_LOCK"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Have `folder` (made if missing) to ourselves. Raises NoseprintError naming the run that has it."""
    path = folder / ".lock"
    with friendly_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)
    with file:
        if not _inherited(path):
            _take(file, path)
        _sign(file, path, process=os.getpid(), command=[Path(sys.argv[0]).name, *sys.argv[1:]])
        yield


def _inherited(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(int(os.environ.get(_INHERITED, ""))), path.stat())
    except (ValueError, OSError):
        return False


def _take(file: IO[bytes], path: Path) -> None:
    """Lock `file`; while its owner is dead but its children hold the lock, wait up to GRACE seconds."""
    begun = time.monotonic()
    while not try_lock(file):
        file.seek(0)
        owner = file.read().decode(errors="replace").strip()
        if _alive(owner) or time.monotonic() - begun > GRACE:
            raise NoseprintError(f"{path.parent} is in use by {owner or 'another process'}: wait for it, or stop it")
        time.sleep(0.2)


def _sign(file: IO[bytes], path: Path, *, process: int, command: list[str]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with friendly_write_errors(path):
        file.seek(0)
        file.truncate()
        file.write(f"process {process} on {socket.gethostname()} since {since}: {shlex.join(command)}\n".encode())


def _alive(owner: str) -> bool:
    """Whether the process that signed still runs, as far as that can be seen from this machine."""
    words = owner.split()
    if len(words) < 4 or not words[1].isdigit() or words[3] != socket.gethostname():
        return bool(words)
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{words[1]}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # no Linux
        return True
    return state != "Z"  # which has ended, and waits for its parent to look


def main() -> int:
    """Lock FOLDER for the calling shell through its open file NUMBER, and sign with its COMMAND."""
    number, folder, *command = sys.argv[1:]
    with open(int(number), "rb+", buffering=0, closefd=False) as file:
        try:
            path = Path(folder, ".lock")
            _take(file, path)
            _sign(file, path, process=os.getppid(), command=command)
        except NoseprintError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
