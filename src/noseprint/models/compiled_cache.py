"""Compiled networks in the user's cache folder: a convenience that may fail in any way without harm."""

import contextlib
import hashlib
import os
from pathlib import Path

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write

LIMIT = 2 * 2**30
"""Bytes that the folder may hold; beyond it what was used longest ago goes, the newest file excepted."""


def cache_folder() -> Path:
    """`noseprint` below $XDG_CACHE_HOME, where that is an absolute path, else below ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "noseprint"


def recall(name: str) -> bytes | None:
    """What was kept under `name`; None where there is nothing, or it is damaged or out of reach."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        path = cache_folder() / name
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            with contextlib.suppress(OSError):
                os.utime(path)
            return data[32:]
    return None


def keep(name: str, data: bytes) -> None:
    """Keep `data` under `name` if that can be done."""
    with contextlib.suppress(NoseprintError, OSError, RuntimeError):
        folder = cache_folder()
        with atomic_write(folder / name) as part:
            part.write_bytes(hashlib.sha256(data).digest() + data)
        files = [(status.st_mtime_ns, status.st_size, path) for path in folder.iterdir() if (status := path.lstat())]
        total = 0
        for rank, (_, size, path) in enumerate(sorted(files, reverse=True)):
            total += size
            if rank and total > LIMIT:
                path.unlink()
