"""The similarity from which on pairs are the same, and how sure that is.

This stands below `evaluation`, which offers it under `evaluation.calibration`, because pseudo-labels need it here.
"""

import math

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

_TWO_SIDED_95 = 1.959963984540054  # standard normal quantile of 0.975


def wilson_interval(successes: int, trials: int, *, z: float = _TWO_SIDED_95) -> tuple[float, float]:
    """Wilson's score interval of a share (J. Am. Stat. Assoc. 22, 1927); 95 % two-sided unless `z` says otherwise.

    Unlike the normal approximation it has width at 0 and at `trials` successes. (0, 1) for no trials.
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def threshold_at_precision(
    similarity: npt.NDArray[np.floating], same: npt.NDArray[np.bool_], precision: float = 0.95
) -> float | None:
    """The lowest similarity from which on (>=) at least the share `precision` of the pairs are the same, else None.

    `similarity` (P,) and `same` (P,) are balanced hold-out pairs: the share holds for a table that is half the same.
    The share is judged by the lower end of Wilson's interval at z = 1 (one-sided 84 %), not by the share itself: with
    that, the top pair alone (1 of 1) proves nothing, and 0.95 takes at least 19 pairs without a fault. z = 1.64 would
    ask for 52, more than eight held-out identities of three images can ever give; and for the hundreds of pairs of a
    usual hold-out the two differ little. Lower thresholds that dip below the share and recover do count.

    Raises NoseprintError for a precision outside (0, 1).
    """
    if not 0 < precision < 1:
        raise NoseprintError(f"precision {precision} is not between 0 and 1: 0.95 asks that 95 % of the pairs be right")
    values, group = np.unique(np.asarray(similarity, dtype=np.float64), return_inverse=True)
    of_value = np.bincount(group, minlength=len(values))
    same_of_value = np.bincount(group, weights=np.asarray(same, dtype=np.float64), minlength=len(values))
    trials = np.cumsum(of_value[::-1])[::-1]  # pairs at or above each value
    successes = np.cumsum(same_of_value[::-1])[::-1]
    for value, good, count in zip(values, successes, trials, strict=True):
        if wilson_interval(int(good), int(count), z=1.0)[0] >= precision:
            return float(value)
    return None


def separating_similarity(similarity: npt.NDArray[np.floating], same: npt.NDArray[np.bool_]) -> float:
    """The similarity that parts same from different pairs best.

    At or above it lies the largest share of the same pairs less that of the different ones (Youden's index, Cancer 3,
    1950); it is moved halfway down to the next lower pair, so that a gap is cut in its middle.

    Raises NoseprintError unless there are both same and different pairs.
    """
    similarity, same = np.asarray(similarity, dtype=np.float64), np.asarray(same, dtype=bool)
    if same.all() or not same.any():
        raise NoseprintError(f"{int(same.sum())} of {len(same)} hold-out pairs are the same: both kinds are needed")
    values, group = np.unique(similarity, return_inverse=True)
    sames = np.bincount(group[same], minlength=len(values))[::-1].cumsum()[::-1] / same.sum()
    others = np.bincount(group[~same], minlength=len(values))[::-1].cumsum()[::-1] / (~same).sum()
    best = int(np.argmax(sames - others))
    return float(values[best] if best == 0 else (values[best] + values[best - 1]) / 2)
