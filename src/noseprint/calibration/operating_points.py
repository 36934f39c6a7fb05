"""Operating points: the thresholds that keep a promised false match rate."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from noseprint.metrics.bootstrap import Interval, Score, percentile_interval
from noseprint.metrics.similarity import Flags, Indices
from noseprint.metrics.verification import least_fmr, roc_curve

FMRS = (0.1, 0.01, 0.001)
"""False match rates that a verifier offers, if the hold-out supports them."""
PAIRS_NEEDED = 3
"""A false match rate needs this many pairs of individuals, divided by the rate: see `least_supported_fmr`."""
_REPLICATES = 1000


def _check_rate(score: Score) -> Score:
    if not 0 <= score.low <= score.value <= score.high <= 1:
        raise ValueError("not a rate within its interval")
    return score


Similarity = Annotated[float, Field(ge=-2, le=2)]  # 2: above every cosine
Rate = Annotated[Score, AfterValidator(_check_rate)]


@dataclass(frozen=True)
class OperatingPoint:
    """The two thresholds for one false match rate. Between them the answer is "cannot tell".

    fmr: the promised false match rate. threshold: a pair is called the same from this similarity on; it is the lowest
    one at which the 95 % interval of the hold-out's false match rate, over identities, ends at `fmr` or below.
    measured_fmr, tmr: the hold-out's false and true match rates at `threshold`. fnmr_threshold: a pair below this (and
    below `threshold`) is called different. At most the share `fmr` of the hold-out's same pairs lies below it; if they
    are fewer than 1 / fmr, none.
    """

    fmr: Annotated[float, Field(gt=0, lt=1)]
    threshold: Similarity
    measured_fmr: Rate
    tmr: Rate
    fnmr_threshold: Similarity

    @property
    def different_below(self) -> float:
        """A pair is called different below this similarity."""
        return min(self.threshold, self.fnmr_threshold)


def least_supported_fmr(same: Flags, identity_a: Indices, identity_b: Indices) -> float:
    """The lowest false match rate that pairs (P,) support, as in `choose_operating_points`. May exceed 1.

    A rate needs as many different pairs of photographs as `least_fmr` says, and PAIRS_NEEDED / FMR different pairs of
    individuals. If none of N independent pairs matches, the rate may still be 3 / N, at 95 % confidence (the rule of
    three: Hanley & Lippman-Hand 1983, "If nothing goes wrong, is everything all right?").
    """
    a, b = identity_a[~same].astype(np.int64), identity_b[~same]
    individuals = len(np.unique(np.minimum(a, b) * 2**32 + np.maximum(a, b)))
    return max(least_fmr(len(a)), PAIRS_NEEDED / max(individuals, 1))


def choose_operating_points(
    similarity: npt.NDArray[np.float32], same: Flags, identity_a: Indices, identity_b: Indices
) -> tuple[OperatingPoint, ...]:
    """The operating point for each of FMRS that the different pairs support; if none, for the lowest rate they support.

    Intervals are from a bootstrap over identities, as in `bootstrap_pairs`, but wider: they allow for the small number
    of held-out identities (see `percentile_interval`). similarity, same: (P,) of pairs of images. identity_a,
    identity_b: (P,) numbers of the identities of each pair's two images, from 0; all of `identity_a` are held out.
    Returns the highest rate first; () if the pairs support no rate.
    """
    least = least_supported_fmr(same, identity_a, identity_b)
    fmrs = [fmr for fmr in FMRS if fmr >= least]
    if not fmrs and (rounded_up := math.ceil(100 * least) / 100) < 1:
        fmrs = [rounded_up]
    identities = int(max(identity_a.max(), identity_b.max())) + 1
    held_out = len(np.unique(identity_a))
    chance = np.full(identities, 1 / identities)
    times = np.random.default_rng(0).multinomial(identities, chance, size=_REPLICATES).astype(np.float64)

    def resampled_weight(pairs: Flags) -> npt.NDArray[np.float64]:
        """The total weight of some pairs in each replicate. There are too many pairs to weight them one by one."""
        cells = np.bincount(identity_a[pairs] * identities + identity_b[pairs], minlength=identities**2)
        count = cells.reshape(identities, identities).astype(np.float64)
        within = np.diag(count).copy()
        np.fill_diagonal(count, 0)
        return np.asarray(((times @ count) * times).sum(axis=1) + times @ within)

    total_different, total_same = resampled_weight(~same), resampled_weight(same)

    def rate_interval(accepted: Flags, total: npt.NDArray[np.float64]) -> Interval:
        with np.errstate(invalid="ignore"):
            return percentile_interval(resampled_weight(accepted) / total, identities=held_out)

    curve = roc_curve(similarity, same)
    thresholds = np.minimum(curve.threshold, 2.0)  # the first accepts nothing
    sorted_same = np.sort(similarity[same])
    points = []
    for fmr in fmrs:
        # Bisect: as the threshold falls, the interval's upper end never does.
        good, bad = 0, int(np.searchsorted(curve.fmr, fmr, side="right"))
        while bad - good > 1:
            middle = (good + bad) // 2
            upper = rate_interval((similarity >= thresholds[middle]) & ~same, total_different)[1]
            good, bad = (middle, bad) if upper <= fmr else (good, middle)
        accepted = similarity >= thresholds[good]
        point = OperatingPoint(
            fmr=fmr,
            threshold=float(thresholds[good]),
            measured_fmr=_score(float(curve.fmr[good]), rate_interval(accepted & ~same, total_different)),
            tmr=_score(float(curve.tmr[good]), rate_interval(accepted & same, total_same)),
            fnmr_threshold=float(sorted_same[math.floor(fmr * len(sorted_same))]),
        )
        points.append(point)
    return tuple(points)


def _score(value: float, interval: Interval) -> Score:
    """Widen the interval to hold the value, which percentiles over few unequal identities may not."""
    return Score(value, min(value, interval[0]), max(value, interval[1]))
