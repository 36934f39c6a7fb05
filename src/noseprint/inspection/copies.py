"""Near copies: one photograph saved again, shrunk, brightened or slightly cropped.

A perceptual hash (the signs of the 255 lowest frequencies) proposes pairs. Nose prints have similar hashes, so each
proposed pair is registered and compared in its details. Mirrored and turned copies are not found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from noseprint.data.decoding import in_threads
from noseprint.inspection.summaries import THUMBNAIL_SIDE, PhotoSummary, Thumbnail

Hashes = np.ndarray[tuple[int, int], np.dtype[np.uint64]]

MAX_DISTANCE = 76  # bits of 255: few copies cropped by 3 % differ in more bits, 1 of 1,000 other pairs in fewer
MAX_NEIGHBOURS = 8  # later photographs that one is compared with: bounds time and memory for any data
MIN_CORRELATION = 0.8  # copies: above 0.84; photographs of two individuals: below 0.65
_BLOCK_ROWS = 128  # of the table of distances that is in memory
_FREQUENCIES = 16  # in either direction


@dataclass(frozen=True)
class Copy:
    """Two copies of one photograph, by their positions: first < second."""

    first: int
    second: int
    correlation: float
    """Of their details, MIN_CORRELATION..1; 1 for equal pixels."""


def find_copies(summaries: Sequence[PhotoSummary], *, known: int = 0) -> list[Copy]:
    """Pair each exact copy with the first photograph equal to it, and find the near copies among distinct ones.

    known: the first so many photographs are compared with the others only, not with one another.
    Time grows with the square of the number of photographs (seconds for 24,000), memory with the number.
    """
    first_of: dict[bytes, int] = {}
    exact = [(first_of.setdefault(summary.digest, k), k) for k, summary in enumerate(summaries)]
    distinct = list(first_of.values())
    hashes = _hashes([summaries[k].thumbnail for k in distinct])
    pairs = [(distinct[i], distinct[j]) for i, j in _near_pairs(hashes, known=sum(k < known for k in distinct))]

    def compare(pair: tuple[int, int]) -> Copy:
        return Copy(*pair, _correlation(*(summaries[k].thumbnail for k in pair)))

    copies = [copy for copy in in_threads(compare, pairs, label="likely copies") if copy.correlation >= MIN_CORRELATION]
    copies += [Copy(i, j, 1.0) for i, j in exact if i != j and j >= known]
    return sorted(copies, key=lambda copy: (copy.first, copy.second))


def _hashes(thumbnails: Sequence[Thumbnail]) -> Hashes:
    """(N, 4): 256 bits each; the first, for the mean brightness, is always 0."""
    bits = np.zeros((len(thumbnails), _FREQUENCIES**2), bool)
    for row, thumbnail in zip(bits, thumbnails, strict=True):
        row[1:] = cv2.dct(thumbnail.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()[1:] > 0
    return np.packbits(bits, axis=1).view(np.uint64)


def _near_pairs(hashes: Hashes, *, known: int) -> Iterator[tuple[int, int]]:
    """Pair each row with up to MAX_NEIGHBOURS later rows, beyond the `known`, that differ in MAX_DISTANCE bits at most.

    The nearest come first.
    """
    for start in range(0, len(hashes), _BLOCK_ROWS):
        first = max(start, known)
        block, later = hashes[start : start + _BLOCK_ROWS], hashes[first:]
        words = range(hashes.shape[1])
        distance = sum(np.bitwise_count(block[:, None, w] ^ later[None, :, w]).astype(np.uint16) for w in words)
        for i, row in enumerate(np.asarray(distance), start=start):
            own = max(i + 1 - first, 0)
            near = own + np.flatnonzero(row[own:] <= MAX_DISTANCE)
            for j in near[np.argsort(row[near], kind="stable")[:MAX_NEIGHBOURS]]:
                yield i, first + int(j)


def _correlation(one: Thumbnail, other: Thumbnail) -> float:
    """Correlation of the details of two thumbnails after the best affine registration (ECC, Evangelidis 2008)."""
    a, b = _details(one), _details(other)
    warp: Any = np.eye(2, 3, dtype=np.float32)
    smooth_a, smooth_b = (cv2.GaussianBlur(x, (0, 0), 2) for x in (a, b))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:
        _, warp = cv2.findTransformECC(smooth_a, smooth_b, warp, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # they have nothing in common, or one is a uniform grey
        return 0.0
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    b = cv2.warpAffine(b, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    edge = THUMBNAIL_SIDE // 16  # where the registered thumbnail may be empty
    a, b = (x[edge:-edge, edge:-edge] for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))


def _details(thumbnail: Thumbnail) -> Any:
    grey = thumbnail.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)
