"""Which photographs are quarter-turned, learned from the others.

Most photographs of a folder are upright. Every thumbnail, turned by 0, 90, 180 and 270 degrees, is an example of its
turn; ridge regression on gradient histograms learns the four. Folds are left out in turn, so that none judges itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noseprint.inspection.summaries import SIDE, Thumbnail

MIN_IMAGES = 100  # below, nothing can be learned
MIN_ACCURACY = 0.85  # below, what is reported would mostly be wrong
_FOLDS = 5
_CELLS = 8  # in either direction
_BINS = 8  # directions of a gradient: a quarter turn moves them by two
_RIDGE = 0.3  # per image
_CHUNK = 1000


@dataclass(frozen=True)
class Orientation:
    """What was found."""

    accuracy: float
    """Share of the left-out photographs that are told to be upright: those turned, and those not understood, lack."""
    turned: dict[int, int]
    """Position -> by how many degrees anticlockwise it is turned; empty where `accuracy` is below MIN_ACCURACY."""


def find_turned(thumbnails: Sequence[Thumbnail]) -> Orientation | None:
    """The photographs that are surely not upright, or None for fewer than MIN_IMAGES.

    Surely: by a margin that only half of the photographs reach (on synthetic prints that finds two of three, and one in
    fifty of those it names is upright). Neighbours share a fold, so that shots of one scene rarely judge each other.
    """
    count = len(thumbnails)
    if count < MIN_IMAGES:
        return None
    starts = range(0, count, _CHUNK)
    features = np.concatenate([_histograms(np.stack(thumbnails[at : at + _CHUNK])) for at in starts])
    folds = np.array_split(np.arange(count), _FOLDS)
    sums = [_normal_equations(features[rows]) for rows in folds]
    gram, target = (np.sum([fold[k] for fold in sums], axis=0) for k in (0, 1))
    ridge = np.float32(_RIDGE * count) * np.eye(len(gram), dtype=np.float32)
    scores = np.concatenate(
        [
            _flat(features[rows]) @ np.linalg.solve(gram - left_gram + ridge, target - left_target)
            for rows, (left_gram, left_target) in zip(folds, sums, strict=True)
        ]
    )  # (N, 4)
    turn = scores.argmax(1)
    accuracy = float((turn == 0).mean())
    margin = scores.max(1) - scores[:, 0]
    sure = margin > np.median(np.abs(scores[:, 1:].max(1) - scores[:, 0]))
    turned = np.flatnonzero(sure) if accuracy >= MIN_ACCURACY else ()
    return Orientation(accuracy, {int(k): 90 * int(turn[k]) for k in turned})


def _histograms(grey: Any) -> Any:
    """(N, SIDE, SIDE) -> (N, _CELLS, _CELLS, _BINS): how strong the gradients of each direction are in each cell."""
    grey = grey.astype(np.float32)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    direction = np.round(np.arctan2(down, across) * (_BINS / (2 * np.pi))).astype(np.int8) % _BINS
    width = SIDE // _CELLS
    cells = (len(grey), _CELLS, width, _CELLS, width)
    sums = [(strength * (direction == k)).reshape(cells).sum((2, 4)) for k in range(_BINS)]
    roots = np.sqrt(np.stack(sums, axis=-1))
    scale = np.sqrt(np.mean(roots**2, axis=(1, 2, 3), keepdims=True))
    return roots / (scale + 1e-3)


def _normal_equations(features: Any) -> tuple[Any, Any]:
    """X'X and X'Y of the photographs in all four turns; turning a histogram turns its cells and moves its bins."""
    gram, columns = 0, []
    for turn in range(4):
        turned = _flat(np.roll(np.rot90(features, turn, axes=(1, 2)), -turn * _BINS // 4, axis=3))
        gram = gram + turned.T @ turned
        columns.append(turned.sum(0))
    return gram, np.stack(columns, axis=1)


def _flat(features: Any) -> Any:
    """(N, ...) -> (N, D + 1): a row each, and a constant."""
    rows = features.reshape(len(features), -1)
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])
