"""From rows of a table to pixels and targets."""

import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from noseprint.data.decode_cache import cached_decoder
from noseprint.data.decoding import Image
from noseprint.data.samplers import Index
from noseprint.data.transforms import Transform, apply_transform
from noseprint.errors import DataError, NoseprintError


class Sample(NamedTuple):
    """One training sample, or a batch of them, with a dimension B before the others.

    image: uint8 (3, H, W). target: a class number, long (); soft targets, float (K,); or a class number for each level,
    long (L,). row: the row of the dataset; of a batch (B,).
    """

    image: Tensor
    target: Tensor
    row: Tensor | int


class TrainingImages(Dataset[Sample]):
    """Images with targets, transformed anew each time.

    Item (step, row) draws its randomness from (seed, step, row), never from a worker's state, so neither the number of
    workers nor a resume changes it. targets: (N,), (N, K) or (N, L), see `Sample`. cache: a folder for decoded
    photographs.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: Sequence[int] | Tensor,
        *,
        transform: Transform,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        self._paths, self._targets = tuple(paths), torch.as_tensor(targets)
        self._transform, self._seed, self._read = transform, seed, cached_decoder(cache)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Index) -> Sample:
        step, row = index
        pixels = apply_transform(self._transform, _pixels(self._paths[row], self._read), (self._seed, step, row))
        return Sample(_tensor(pixels), self._targets[row], row)


class PlainImages(Dataset[Tensor]):
    """Images to embed or classify: item i is uint8 (3, H, W); a random transform draws from (seed, i).

    cache: a folder for decoded photographs.
    """

    def __init__(
        self, paths: Sequence[Path], *, transform: Transform, seed: int = 0, cache: Path | None = None
    ) -> None:
        self._paths, self._transform, self._seed = tuple(paths), transform, seed
        self._read = cached_decoder(cache)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> Tensor:
        return _tensor(apply_transform(self._transform, _pixels(self._paths[row], self._read), (self._seed, row)))


def _pixels(path: Path, read: Callable[[Path], Image]) -> Image:
    try:
        return read(path)
    except DataError as error:
        raise NoseprintError(str(error)) from None  # a DataError cannot be pickled, so it would not leave a worker


def _tensor(pixels: Image) -> Tensor:
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return torch.from_numpy(planes)


def begin_worker(_: int) -> None:
    """Set up a loader worker: it uses one thread, and ignores SIGINT and SIGTERM.

    More threads would take cores from the training. The signals go to the whole process group, but the training needs
    its workers for its last step and ends them itself.
    """
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def batches_of(loader: "DataLoader[Any]") -> Generator[Any, None, None]:
    """The loader's batches. An error in a worker reads as it would without workers; a worker that died is reported.

    Close the generator (`contextlib.closing`) to end the workers; otherwise Python waits for them for ever at its exit.
    A dead worker is noticed when the next batch is requested; torch itself would raise in the middle of any other code.
    """
    former = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if loader.num_workers:
        signal.signal(signal.SIGCHLD, former)
    try:
        yield from batches
    except NoseprintError as error:
        _, traceback, message = str(error).rpartition("noseprint.errors.NoseprintError: ")
        if not traceback:
            raise
        raise NoseprintError(message.strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise NoseprintError(
            f"a process that decodes photographs died ({str(error).splitlines()[0]}), most often for lack of memory or "
            "of shared memory (/dev/shm, in a container --shm-size): free memory or lower --workers (0: none), then "
            "run the same command again"
        ) from error
    finally:
        if loader.num_workers:  # the error's traceback would keep them alive
            batches._shutdown_workers()  # type: ignore[attr-defined]
