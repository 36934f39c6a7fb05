"""Photographs that a verifier cannot tell apart: too small, too blurred or too dark, by limits learnt from others."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from noseprint.data.decoding import Image
from noseprint.data.photo_quality import Quality

FALSE_MATCHES = 3.0
"""A level fails where two photographs of it match falsely this many times as often as promised, ..."""
TRUE_MATCHES = 0.5
"""... or where one of it finds no more than this share of the matches that it finds undegraded."""
SPARED = 0.01
"""A limit never refuses more than this share of the undegraded photographs it was learnt from."""
_LARGEST = 512  # px of the short side that is degraded: larger photographs are reduced first

KINDS: Mapping[str, tuple[str, str]] = {
    "short_side": ("too small", "short side {:.0f} px"),
    "sharpness": ("too blurred", "sharpness {:.1f}"),
    "brightness": ("too dark", "mean grey {:.0f} of 255"),
}
"""Of each measure what a photograph below its limit is, and how its value is said."""


@dataclass(frozen=True)
class Level:
    """One step of degradation: the median of the `measured` values, and what verification makes of it.

    `tmr`: share of the true matches found between a degraded and an undegraded photograph; `fmr`: share of the
    different pairs of two degraded photographs that match, where of undegraded ones the promised rate would.
    """

    measured: float
    tmr: float
    fmr: float


@dataclass(frozen=True)
class Limit:
    """A photograph that measures less than `least` cannot be told; None: no level that was tried hurts.

    `levels`: what was tried, the undegraded photographs first.
    """

    least: float | None
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Limits:
    """A limit on each measure of `Quality`, learnt from a number of photographs at a false match rate."""

    fmr: float
    photographs: int
    short_side: Limit
    sharpness: Limit
    brightness: Limit


@dataclass(frozen=True)
class Shortfall:
    """A photograph beyond a limit: the measure, its value, and the least value that can be told."""

    measure: str
    value: float
    least: float

    def __str__(self) -> str:
        what, how = KINDS[self.measure]
        return f"{what} ({how.format(self.value)}; below {self.least:.3g} this verifier is not to be relied on)"


def shortfalls(quality: Quality, limits: Limits) -> tuple[Shortfall, ...]:
    """The limits that a photograph falls short of."""
    found = []
    for measure in KINDS:
        value, limit = float(getattr(quality, measure)), getattr(limits, measure)
        if limit.least is not None and value < limit.least:
            found.append(Shortfall(measure, value, limit.least))
    return tuple(found)


def learn_limit(levels: Sequence[Level], *, fmr: float, undegraded: Sequence[float]) -> Limit:
    """The limit on a measure, from what verification makes of ever stronger degradation.

    levels: the undegraded photographs first. fmr: the promised false match rate. undegraded: what they measure, one by
    one. A level fails by FALSE_MATCHES or TRUE_MATCHES; the limit lies between the first that fails and the one before,
    where the worse of the two ratios, straight in logarithms, reaches 1; SPARED lowers it.
    """
    least = None
    failure = [_failure(level, levels[0], fmr) for level in levels]
    for (before, f0), (level, f1) in zip(
        zip(levels, failure, strict=True), list(zip(levels, failure, strict=True))[1:], strict=False
    ):
        if f1 >= 0:
            share = min(max(-f0 / (f1 - f0), 0.0), 1.0) if f1 > f0 else 0.0
            low, high = (math.log(max(x.measured, 1e-3)) for x in (before, level))
            least = float(min(math.exp(low + share * (high - low)), np.quantile(undegraded, SPARED)))
            break
    return Limit(least, tuple(levels))


def _failure(level: Level, undegraded: Level, fmr: float) -> float:
    """Above 0 where a level fails: the logarithm of the worse ratio."""
    lost = TRUE_MATCHES * max(undegraded.tmr, 1e-3) / max(level.tmr, 1e-3)
    return math.log(max(lost, level.fmr / (FALSE_MATCHES * fmr), 1e-3))


def reduced(image: Image) -> Image:
    """`image`, its short side 512 px at most, so that degrading it costs the same whatever its size."""
    return _shrunk(image, _LARGEST)


def _shrunk(image: Image, side: float) -> Image:
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def _blurred(image: Image, share: float) -> Image:
    blurred: Image = cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2]))
    return blurred


def _darkened(image: Image, factor: float) -> Image:
    darker: Image = cv2.convertScaleAbs(image, alpha=factor)
    return darker


DEGRADATIONS: Mapping[str, tuple[Callable[[Image, float], Image], tuple[float, ...]]] = {
    "short_side": (_shrunk, (64, 32, 16, 8)),
    "sharpness": (_blurred, (0.01, 0.02, 0.04, 0.08)),
    "brightness": (_darkened, (0.5, 0.25, 0.125, 0.0625)),
}
"""Of each measure what degrades it, ever stronger: a short side in px, Gaussian blur of a standard deviation in short
sides, light as a share of what it was."""
