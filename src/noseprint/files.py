"""Writing files safely: a reader sees the old file or the new one, never half of either."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from noseprint.errors import NoseprintError

_ADVICE = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some space in your quota",
    errno.EROFS: "write to another folder, or mount the disk for writing",
    errno.EACCES: "get write permission for it",
    errno.EPERM: "get write permission for it",
    errno.EISDIR: "move or rename the folder of that name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


STDOUT = 1


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success flush it to disk and rename it to `path`, else remove it.

    Missing parent folders are made. Temporary files that killed writers of `path` left behind are removed. A link is
    followed: its target is replaced. A stream (see `stream_of`) is written to, after what it already holds.
    Raises NoseprintError if the disk refuses (full, read-only, ...); an older file is then unchanged.
    """
    with friendly_write_errors(path):
        if (stream := stream_of(path)) is not None:
            with tempfile.TemporaryDirectory() as folder:
                yield (part := Path(folder, "part"))
                with _open_stream(stream) as file, part.open("rb") as whole:
                    shutil.copyfileobj(whole, file)
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        part, locked = _locked_temporary_file(path)
        with locked:
            try:
                yield part
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                mask = os.umask(0)
                os.umask(mask)
                part.chmod(0o666 & ~mask)
                part.replace(path)
                _flush_folder(path.parent)
            finally:
                part.unlink(missing_ok=True)


def stream_of(path: Path) -> int | Path | None:
    """The open file, or the device or pipe, that writing to `path` leads to; None for a file on a disk.

    "-" is standard output: 1. Open files have names such as /dev/stdout and /dev/fd/3, or links to these. They may lead
    to a file on a disk (`>> all.txt`), to which the output must be added.
    """
    if str(path) == "-":
        return STDOUT
    for _ in range(40):  # as many links as Linux follows
        path = Path(os.path.realpath(path.parent), path.name)
        if match := re.fullmatch(rf"(?:/dev|/proc/{os.getpid()})/fd/(\d+)", str(path)):
            return int(match[1])
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path if path.exists() and not path.is_file() and not path.is_dir() else None


def _open_stream(stream: int | Path) -> IO[bytes]:
    if isinstance(stream, Path):
        return stream.open("wb")
    if stream == STDOUT:
        sys.stdout.flush()
    return os.fdopen(os.dup(stream), "wb")


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Yield an empty folder next to `beside`, and remove it afterwards.

    Missing parent folders are made. Folders that killed users of this function left behind are removed.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(beside)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=part_prefix(beside), suffix=".part") as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            try_lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder `new`, in a `scratch_folder` beside `path`, to `path`. An older folder there is removed."""
    if path.is_dir() and not path.is_symlink():
        path.rename(new.with_name(f"{new.name}.old"))  # it goes with the scratch folder
    new.rename(path)


def check_output(path: Path, *, suffix: str, inputs: Iterable[Path], option: str = "--out") -> None:
    """Raise NoseprintError, before any work is done, if `path` must not or cannot be written.

    It must not have another suffix, be a folder, or be one of the `inputs`: files that must not be lost, such as
    `table_paths`. A missing parent folder will be made. A stream (see `stream_of`) is not checked.
    """
    with friendly_write_errors(path):
        if stream_of(path) is not None:
            return
        if path.is_dir():
            raise NoseprintError(f"{option} {path}: is a folder; give a file name that ends in {suffix}")
        if path.suffix.lower() != suffix:
            raise NoseprintError(f"{option} {path}: give a file name that ends in {suffix}")
        if path.exists() and any(path.samefile(file) for file in inputs if file.exists()):
            raise NoseprintError(
                f"{option} {path}: noseprint reads this file, and it would be lost; choose another name"
            )
        require_writable(path)


def require_writable(path: Path) -> None:
    """Raise NoseprintError if `atomic_write` could not begin to write `path`. Nothing is left behind."""
    with friendly_write_errors(path):
        path = Path(os.path.realpath(path))
        folder = next(parent for parent in path.parents if parent.exists())
        part, file = _locked_temporary_file(folder / path.name)
        file.close()
        part.unlink()


def skipped_table(out: Path) -> Path | None:
    """Where to list what is left out of `out`: beside it, in NAME.skipped.csv; None if `out` is a stream."""
    return None if stream_of(out) is not None else out.with_name(f"{out.stem}.skipped.csv")


@contextmanager
def friendly_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a NoseprintError that names `path`."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "fix that")
        raise NoseprintError(
            f"{path}: cannot be written ({error.strerror or error}): {advice}, then run the same command again; "
            "finished work is kept"
        ) from error


def try_lock(file: IO[Any] | int) -> bool:
    """Lock an open file, or a folder by its descriptor; return False if another process has locked it.

    The lock ends when this process, and every process forked from it in the meantime, has closed the file. On Windows,
    and on file systems without locks, this always returns True.
    """
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def _locked_temporary_file(path: Path) -> tuple[Path, IO[bytes]]:
    """Make a temporary file beside `path`; the lock tells other writers that it is not abandoned."""
    while True:  # another writer may remove the file before it is locked
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=part_prefix(path), suffix=".part")
        part, file = Path(name), os.fdopen(handle, "rb+")
        if try_lock(file) and part.exists():
            return part, file
        file.close()


def part_prefix(path: Path) -> str:
    """How the names of the temporary files of `path` begin: its name or, as disks allow 255 bytes, a hash of it."""
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()[:32]}."


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files and folders that killed writers of `path` left beside it."""
    for entry in list(os.scandir(path.parent)):
        if not (entry.name.startswith(part_prefix(path)) and entry.name.endswith(".part")):
            continue
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(entry, os.O_RDONLY)
            try:
                if try_lock(handle):
                    shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else Path(entry).unlink()
            finally:
                os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Flush a folder to disk, so that a rename in it survives a power cut."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
