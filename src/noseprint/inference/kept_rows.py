"""Embeddings that are finished, kept on disk, so that an interrupted embedding goes on where it stopped."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, part_prefix, try_lock
from noseprint.version import __version__

Floats = npt.NDArray[np.float32]


def kept_file(out: Path, *, network: str, device: str, photographs: bytes) -> Path:
    """Where the rows of one network are kept while `out` is made: beside it, under a hidden name.

    network: the fingerprint of the weights. photographs: bytes that differ if the photographs do.
    """
    key = hashlib.sha256(f"{__version__} {network} {device} ".encode() + photographs).hexdigest()[:16]
    return out.with_name(f"{part_prefix(out)}{key}.rows")


@contextmanager
def keep_rows(
    path: Path, compute: Callable[[Tensor], Tensor], *, width: int, batch_size: int
) -> Iterator[tuple[Floats, Callable[[Tensor], Tensor]]]:
    """Yield the rows (n, `width`) that `path` keeps, and a `compute` that keeps there what it returns.

    n is a multiple of `batch_size`, so that the other rows are computed in the batches that they would have been in.
    Raises NoseprintError if another process has the file, or the disk refuses it.
    """
    with friendly_write_errors(path):
        file = path.open("ab+")
    with file:
        if not try_lock(file):
            raise NoseprintError(f"{path}: another process is making the same gallery: wait for it, or stop it")
        with friendly_write_errors(path):
            file.seek(0)
            data = file.read()
            rows = np.frombuffer(data, np.float32, count=len(data) // (4 * width) * width).reshape(-1, width)
            damaged = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", rows, rows) - 1) < 1e-3))  # after a power cut
            kept = (damaged[0] if len(damaged) else len(rows)) // batch_size * batch_size
            file.truncate(kept * 4 * width)

        def keep(images: Tensor) -> Tensor:
            new = compute(images)
            with friendly_write_errors(path):
                file.write(new.numpy().tobytes())
                file.flush()
            return new

        yield rows[:kept], keep


def forget_rows(out: Path) -> None:
    """Remove all rows that were kept for `out`."""
    for path in out.parent.iterdir():
        if path.name.startswith(part_prefix(out)) and path.suffix == ".rows":
            path.unlink(missing_ok=True)
