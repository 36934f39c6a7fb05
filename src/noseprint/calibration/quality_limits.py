"""Limits on the quality of a photograph: too small, too blurred or too dark to verify."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from noseprint.data.decoding import Image, decode
from noseprint.data.photo_quality import Quality, measure_quality
from noseprint.data.tables import ImageTable
from noseprint.metrics.similarity import Embeddings, Indices

MAX_FALSE_MATCHES = 3.0
"""A level of degradation fails if its false match rate is this many times the promised one, ..."""
MIN_TRUE_MATCHES = 0.5
"""... or if its true match rate is at most this share of the undegraded one."""
MAX_REFUSED = 0.01
"""A limit refuses at most this share of the undegraded photographs from which it was learned."""

MEASURES: Mapping[str, tuple[str, str]] = {
    "short_side": ("too small", "short side {:.0f} px"),
    "sharpness": ("too blurred", "sharpness {:.1f}"),
    "brightness": ("too dark", "mean grey {:.0f} of 255"),
}
"""Field of `Quality` -> what a photograph below the limit is, and the format of the value."""


@dataclass(frozen=True)
class Level:
    """One level of degradation.

    measured: median of the measure over the degraded photographs. tmr: true match rate between a degraded and an
    undegraded photograph. fmr: false match rate between two degraded photographs, at the threshold that gives
    undegraded ones the promised rate.
    """

    measured: float
    tmr: float
    fmr: float


@dataclass(frozen=True)
class Limit:
    """The lowest value at which a photograph can be verified; None if no level that was tried does harm.

    `levels`: what was tried, the undegraded photographs first.
    """

    least: Annotated[float, Field(ge=0)] | None
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Limits:
    """A limit on each measure of `Quality`, learned from a number of photographs at a false match rate."""

    fmr: float
    photographs: int
    short_side: Limit
    sharpness: Limit
    brightness: Limit


@dataclass(frozen=True)
class Shortfall:
    """A photograph below a limit: the measure, its value and the limit."""

    measure: str
    value: float
    least: float

    def __str__(self) -> str:
        problem, value = MEASURES[self.measure]
        return f"{problem} ({value.format(self.value)}; below {self.least:.3g} this verifier is not reliable)"


def shortfalls(quality: Quality, limits: Limits) -> tuple[Shortfall, ...]:
    """The limits that a photograph is below."""
    found = []
    for measure in MEASURES:
        value, least = float(getattr(quality, measure)), getattr(limits, measure).least
        if least is not None and value < least:
            found.append(Shortfall(measure, value, least))
    return tuple(found)


def degraded_copies(image: Image) -> list[Image]:
    """All DEGRADATIONS of an image (H, W, 3), in order; it is shrunk to 512 px first, which bounds the time."""
    image = _shrink(image, 512)
    return [degrade(image, level) for degrade, levels in DEGRADATIONS.values() for level in levels]


def learn_limits(
    table: ImageTable, rows: Indices, *, embeddings: Embeddings, copies: Embeddings, threshold: float, fmr: float
) -> Limits:
    """Learn the limits from degraded copies of some photographs.

    table: N photographs. rows: (K,) of the table, the photographs that were degraded. embeddings: (N, D) of the table.
    copies: (L, K, D) of the `degraded_copies`. threshold: the similarity from which a pair is called the same. fmr: the
    false match rate promised at that threshold.
    """
    names = np.asarray(table.identities)
    eligible = rows[:, None] != np.arange(len(table))[None]
    if table.encounters is not None:
        encounters = np.asarray(table.encounters)
        eligible &= encounters[rows][:, None] != encounters[None]
    match = (names[rows][:, None] == names[None]) & eligible
    mismatch = np.triu(names[rows][:, None] != names[rows][None], 1)
    # The few held-out identities may be easier or harder to tell apart than others. To see what degradation does to
    # false matches, use the threshold that gives the promised rate among these identities alone.
    different = np.triu(names[:, None] != names[None], 1)
    own_threshold = float(np.quantile((embeddings @ embeddings.T)[different], 1 - fmr))
    undegraded, degraded = list[Quality](), list[list[Quality]]()
    for row in rows:
        image = decode(table.paths[row])
        undegraded.append(measure_quality(image))
        degraded.append([measure_quality(copy) for copy in degraded_copies(image)])

    def level(of_level: Embeddings, values: list[float]) -> Level:
        return Level(
            measured=float(np.median(values)),
            tmr=_share_reaching((of_level @ embeddings.T)[match], threshold),
            fmr=_share_reaching((of_level @ of_level.T)[mismatch], own_threshold),
        )

    limits: dict[str, Limit] = {}
    number = 0
    for measure, (_, strengths) in DEGRADATIONS.items():
        values = [float(getattr(quality, measure)) for quality in undegraded]
        levels = [level(embeddings[rows], values)]
        for copy in range(number, number + len(strengths)):
            copy_values = [float(getattr(qualities[copy], measure)) for qualities in degraded]
            if np.median(copy_values) < levels[-1].measured:  # a small photograph is not shrunk to a larger size
                levels.append(level(copies[copy], copy_values))
        number += len(strengths)
        limits[measure] = learn_limit(levels, fmr=fmr, undegraded=values)
    return Limits(fmr=fmr, photographs=len(rows), **limits)


def learn_limit(levels: Sequence[Level], *, fmr: float, undegraded: Sequence[float]) -> Limit:
    """Learn the limit on one measure.

    A level fails by MAX_FALSE_MATCHES or MIN_TRUE_MATCHES. The limit lies between the first level that fails and the
    one before it, where the worse of the two ratios reaches 1 (by linear interpolation of logarithms), but no higher
    than MAX_REFUSED allows.

    levels: in order of increasing degradation, the undegraded photographs first. fmr: the promised false match rate.
    undegraded: the measure of each undegraded photograph.
    """
    least = None
    failure = [_failure(level, levels[0], fmr) for level in levels]
    for i in range(1, len(levels)):
        if failure[i] >= 0:
            rise = failure[i] - failure[i - 1]
            share = min(max(-failure[i - 1] / rise, 0.0), 1.0) if rise > 0 else 0.0
            low, high = (math.log(max(level.measured, 1e-3)) for level in levels[i - 1 : i + 1])
            least = float(min(math.exp(low + share * (high - low)), np.quantile(undegraded, MAX_REFUSED)))
            break
    return Limit(least, tuple(levels))


def _failure(level: Level, undegraded: Level, fmr: float) -> float:
    """Logarithm of the worse of the two ratios; a level fails from 0."""
    lost = MIN_TRUE_MATCHES * max(undegraded.tmr, 1e-3) / max(level.tmr, 1e-3)
    return math.log(max(lost, level.fmr / (MAX_FALSE_MATCHES * fmr), 1e-3))


def _share_reaching(similarity: npt.NDArray[np.float32], threshold: float) -> float:
    return float(np.mean(similarity >= threshold)) if len(similarity) else 0.0


def _shrink(image: Image, side: float) -> Image:
    """Resize so that the short side is at most `side` px."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def _blur(image: Image, share: float) -> Image:
    blurred: Image = cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2]))
    return blurred


def _darken(image: Image, factor: float) -> Image:
    darker: Image = cv2.convertScaleAbs(image, alpha=factor)
    return darker


DEGRADATIONS: Mapping[str, tuple[Callable[[Image, float], Image], tuple[float, ...]]] = {
    "short_side": (_shrink, (64, 32, 16, 8)),  # px
    "sharpness": (_blur, (0.01, 0.02, 0.04, 0.08)),  # standard deviation of a Gaussian, in short sides
    "brightness": (_darken, (0.5, 0.25, 0.125, 0.0625)),  # remaining share of the light
}
"""Measure -> the function that degrades it, and its strengths in increasing order."""
