"""From rows to pixels."""

import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from noseprint.data.decode_cache import cached_decoder
from noseprint.data.decoding import Image
from noseprint.data.samplers import Index
from noseprint.data.transforms import Transform, apply_transform
from noseprint.errors import DataError, NoseprintError


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """Labelled images, degraded anew each time.

    Item (step, row) is (image uint8 (3, H, W), label); its randomness derives from (seed, step, row), never from a
    worker's state, so neither the number of workers nor a resume changes it. cache: a folder for decoded photographs.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int],
        *,
        transform: Transform,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        self._paths, self._labels, self._transform, self._seed = tuple(paths), tuple(labels), transform, seed
        self._read = cached_decoder(cache)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Index) -> tuple[torch.Tensor, int]:
        step, row = index
        pixels = apply_transform(self._transform, _pixels(self._paths[row], self._read), (self._seed, step, row))
        return _tensor(pixels), self._labels[row]


class PlainImages(Dataset[torch.Tensor]):
    """Images to embed: item i is uint8 (3, H, W), a random transform drawn from (seed, i).

    cache: a folder for decoded photographs.
    """

    def __init__(
        self, paths: Sequence[Path], *, transform: Transform, seed: int = 0, cache: Path | None = None
    ) -> None:
        self._paths, self._transform, self._seed = tuple(paths), transform, seed
        self._read = cached_decoder(cache)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return _tensor(apply_transform(self._transform, _pixels(self._paths[row], self._read), (self._seed, row)))


def _pixels(path: Path, read: Callable[[Path], Image]) -> Image:
    try:
        return read(path)
    except DataError as error:
        raise NoseprintError(str(error)) from None  # an error made of faults does not find its way out of a worker


def _tensor(pixels: Image) -> torch.Tensor:
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return torch.from_numpy(planes)


def begin_worker(_: int) -> None:
    """What each loader worker does first.

    One thread: more would only fight the training for cores. And no word from outside: whoever asks a whole process
    group to stop means the training, which needs its workers for its last step, and ends them itself.
    """
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def batches_of(loader: "DataLoader[Any]") -> Generator[Any, None, None]:
    """The loader's batches. A fault in a worker is told as it would be told without workers, one that died is named.

    To be closed (`contextlib.closing`), which ends the workers: Python would wait for them at its exit for ever. A dead
    one is noticed when a batch is asked for; torch would raise in the middle of whatever is being done.
    """
    former = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if loader.num_workers:
        signal.signal(signal.SIGCHLD, former)
    try:
        yield from batches
    except NoseprintError as error:
        _, traceback, told = str(error).rpartition("noseprint.errors.NoseprintError: ")
        if not traceback:
            raise
        raise NoseprintError(told.strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise NoseprintError(
            f"a process that decodes photographs died ({str(error).splitlines()[0]}), most often for lack of memory or "
            "of shared memory (/dev/shm, in a container --shm-size): make room or lower --workers (0: none), then give "
            "the same command again"
        ) from error
    finally:
        if loader.num_workers:  # a fault's traceback would keep them alive
            batches._shutdown_workers()  # type: ignore[attr-defined]
