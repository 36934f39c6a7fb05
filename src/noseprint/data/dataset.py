"""From rows to pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from noseprint.data.augment import View, apply_view
from noseprint.data.images import Image, decode
from noseprint.data.sampling import Index


class TrainingImages(Dataset[tuple[torch.Tensor, int]]):
    """Labelled images, degraded anew each time.

    Item (step, row) is (image uint8 (3, H, W), label); its randomness derives from (seed, step, row), never from a
    worker's state, so neither the number of workers nor a resume changes it.
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], *, view: View, seed: int) -> None:
        self._paths, self._labels, self._view, self._seed = tuple(paths), tuple(labels), view, seed

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Index) -> tuple[torch.Tensor, int]:
        step, row = index
        pixels = apply_view(self._view, decode(self._paths[row]), (self._seed, step, row))
        return _tensor(pixels), self._labels[row]


class PlainImages(Dataset[torch.Tensor]):
    """Images to embed: item i is uint8 (3, H, W), a random view drawn from (seed, i)."""

    def __init__(self, paths: Sequence[Path], *, view: View, seed: int = 0) -> None:
        self._paths, self._view, self._seed = tuple(paths), view, seed

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return _tensor(apply_view(self._view, decode(self._paths[row]), (self._seed, row)))


def _tensor(pixels: Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def worker_threads(_: int) -> None:
    """Each loader worker computes on one thread: more would only fight the training for cores."""
    torch.set_num_threads(1)
