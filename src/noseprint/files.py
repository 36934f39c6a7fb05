"""Writing files so that a reader sees the old one or the new one, never half of either."""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from noseprint.errors import NoseprintError

_MEND = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "write elsewhere, or mount it for writing",
    errno.EACCES: "give yourself the right to write there",
    errno.EPERM: "give yourself the right to write there",
    errno.EISDIR: "move the folder of that name away",
}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it into place, else remove it.

    Missing parent folders are made; what killed writers of the same file left behind is removed. Of a link its target
    is written, and what is no file (/dev/stdout) straight. Raises NoseprintError where the disk refuses (full,
    read-only, ...); an older file is then as it was.
    """
    with friendly_write_errors(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with tempfile.TemporaryDirectory() as aside:
                yield (part := Path(aside, "part"))
                path.write_bytes(part.read_bytes())
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        part, mark = _begun(path)
        with mark:
            try:
                yield part
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                part.chmod(0o666 & ~_umask())
                part.replace(path)
                _flush_folder(path.parent)
            finally:
                part.unlink(missing_ok=True)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Yield an empty folder beside `beside` (whose missing parents are made), and remove it afterwards.

    What killed users of this function left there is removed, too.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(beside)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=f".{beside.name}.", suffix=".part") as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            try_lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


def check_output(path: Path, *, suffix: str, inputs: Iterable[Path], option: str = "--out") -> None:
    """Refuse to write `path` before any work is done for it: as `check_overwriting`, or in a folder that is missing."""
    check_overwriting(path, suffix=suffix, inputs=inputs, option=option)
    if not path.parent.is_dir():
        raise NoseprintError(f"{option} {path}: there is no folder {path.parent}; make it, or write elsewhere")


def check_overwriting(path: Path, *, suffix: str, inputs: Iterable[Path], option: str) -> None:
    """Refuse to write `path`: another suffix, a folder, or one of the `inputs`, such as `table_paths` a data folder.

    What lies in /dev, such as /dev/stdout, may be written.
    """
    if path.is_relative_to("/dev"):
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise NoseprintError(f"{option} {path}: give a file whose name ends in {suffix}")
    if not path.exists():
        return
    if any(path.samefile(known) for known in inputs if known.exists()):
        raise NoseprintError(f"{option} {path}: is read by noseprint, and would be lost; write elsewhere")


@contextmanager
def friendly_write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into a NoseprintError that names it."""
    try:
        yield
    except OSError as error:
        mend = _MEND.get(error.errno or 0, "see to it")
        raise NoseprintError(
            f"{path}: cannot be written ({error.strerror or error}): {mend}, then give the same command again; "
            "what is finished is kept"
        ) from error


def try_lock(file: IO[Any] | int) -> bool:
    """Lock an open file (or folder, by its number) until it is closed, also by those forked meanwhile; False if taken.

    Where the file system knows no locks (and on Windows) nobody ever has one: True.
    """
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _begun(path: Path) -> tuple[Path, IO[bytes]]:
    """A temporary file beside `path`, open and locked, which shows that somebody is still at work on it."""
    while True:  # until no other writer of `path` takes it for abandoned before it is locked
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        part, mark = Path(name), os.fdopen(handle, "rb+")
        if try_lock(mark) and part.exists():
            return part, mark
        mark.close()


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files and folders that killed writers of `path` left beside it."""
    for entry in list(os.scandir(path.parent)):
        if not (entry.name.startswith(f".{path.name}.") and entry.name.endswith(".part")):
            continue
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(entry, os.O_RDONLY)
            try:
                if try_lock(handle):
                    shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else Path(entry).unlink()
            finally:
                os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Have the renaming itself survive a power cut."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
