"""Photographs that are one photograph: saved again, shrunk, brightened or cropped a little.

A perceptual hash (the signs of the 255 lowest frequencies) proposes pairs; a second look lays one thumbnail over the
other and asks how far their details agree, because nose prints have alike hashes. Mirrored and turned copies are not
found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from noseprint.data.decoding import in_threads
from noseprint.inspection.summaries import SIDE, PhotoSummary, Thumbnail

Hashes = np.ndarray[tuple[int, int], np.dtype[np.uint64]]

MAX_DISTANCE = 76  # of 255 bits: copies cropped by 3 % reach it rarely, pairs of different photographs in a thousand
NEAREST = 8  # later photographs that one is compared with closely: bounds time and memory whatever the data
MIN_CORRELATION = 0.8  # copies: above 0.84; different photographs of different individuals: below 0.65
_BLOCK = 128  # rows of the table of distances that exist at a time
_FREQUENCIES = 16  # in either direction


@dataclass(frozen=True)
class Copy:
    """Two photographs (their positions, first < second) that are one."""

    first: int
    second: int
    correlation: float
    """Of their details, MIN_CORRELATION..1; 1 for equal pixels."""


def find_copies(looks: Sequence[PhotoSummary], *, known: int = 0) -> list[Copy]:
    """Every copy with the first of its equals, every near-copy with its original.

    known: the first so many are not compared with one another, only with the others.
    Time grows with the square of the number of photographs (seconds for 24,000), memory with the number.
    """
    first_of: dict[bytes, int] = {}
    exact = [(first_of.setdefault(look.digest, k), k) for k, look in enumerate(looks)]
    distinct = list(first_of.values())
    hashes = _hashes([looks[k].thumbnail for k in distinct])
    pairs = [(distinct[i], distinct[j]) for i, j in _alike(hashes, known=sum(k < known for k in distinct))]

    def compare(pair: tuple[int, int]) -> Copy:
        return Copy(*pair, _agreement(*(looks[k].thumbnail for k in pair)))

    found = [copy for copy in in_threads(compare, pairs, label="likely copies") if copy.correlation >= MIN_CORRELATION]
    found += [Copy(i, j, 1.0) for i, j in exact if i != j and j >= known]
    return sorted(found, key=lambda copy: (copy.first, copy.second))


def _hashes(thumbnails: Sequence[Thumbnail]) -> Hashes:
    """(N, 4): 256 bits, of which the first, the mean brightness, is always 0."""
    bits = np.zeros((len(thumbnails), _FREQUENCIES**2), bool)
    for row, thumbnail in zip(bits, thumbnails, strict=True):
        row[1:] = cv2.dct(thumbnail.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()[1:] > 0
    return np.packbits(bits, axis=1).view(np.uint64)


def _alike(hashes: Hashes, *, known: int) -> Iterator[tuple[int, int]]:
    """Pairs of at most MAX_DISTANCE differing bits: each row with its NEAREST later ones beyond the `known`."""
    for start in range(0, len(hashes), _BLOCK):
        first = max(start, known)
        block, later = hashes[start : start + _BLOCK], hashes[first:]
        words = range(hashes.shape[1])
        distance = sum(np.bitwise_count(block[:, None, w] ^ later[None, :, w]).astype(np.uint16) for w in words)
        for i, row in enumerate(np.asarray(distance), start=start):
            own = max(i + 1 - first, 0)
            near = own + np.flatnonzero(row[own:] <= MAX_DISTANCE)
            for j in near[np.argsort(row[near], kind="stable")[:NEAREST]]:
                yield i, first + int(j)


def _agreement(one: Thumbnail, other: Thumbnail) -> float:
    """Correlation of the details of two thumbnails after the best affine registration (ECC, Evangelidis 2008)."""
    a, b = _details(one), _details(other)
    warp: Any = np.eye(2, 3, dtype=np.float32)
    smooth_a, smooth_b = (cv2.GaussianBlur(x, (0, 0), 2) for x in (a, b))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:
        _, warp = cv2.findTransformECC(smooth_a, smooth_b, warp, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # nothing in common, or nothing there: one grey
        return 0.0
    b = cv2.warpAffine(b, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    edge = SIDE // 16  # where the other has nothing
    a, b = (x[edge:-edge, edge:-edge] for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))


def _details(thumbnail: Thumbnail) -> Any:
    grey = thumbnail.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)
