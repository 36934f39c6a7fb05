"""Thresholds on the similarity, chosen on labelled hold-out pairs."""

import numpy as np

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Flags, Floats


def threshold_at_precision(similarity: Floats, same: Flags, precision: float = 0.95) -> float | None:
    """The lowest threshold at which at least the share `precision` of the accepted pairs (>=) are the same, or None.

    The share is not taken at face value but as the lower end of its Wilson score interval (J. Am. Stat. Assoc. 22,
    1927) at z = 1, one-sided 84 %. So the top pair alone (1 of 1) proves nothing, and 0.95 needs at least 19 pairs
    without an error. z = 1.64 would need 52, more than eight held-out identities with three images each can give; with
    the hundreds of pairs of a usual hold-out, the two differ little. A lower threshold counts even if a higher one
    falls below the precision.

    similarity, same: (P,) of balanced hold-out pairs, so the precision holds for pairs half of which are the same.
    Raises NoseprintError for a precision outside (0, 1).
    """
    if not 0 < precision < 1:
        raise NoseprintError(f"precision {precision} is not between 0 and 1: 0.95 means that 95 % of pairs are right")
    values, group = np.unique(np.asarray(similarity, dtype=np.float64), return_inverse=True)
    size = np.bincount(group, minlength=len(values))
    hits = np.bincount(group, weights=np.asarray(same, dtype=np.float64), minlength=len(values))
    n = np.cumsum(size[::-1])[::-1]  # pairs at or above each value
    share = np.cumsum(hits[::-1])[::-1] / n
    lower = (share + 1 / (2 * n) - np.sqrt(share * (1 - share) / n + 1 / (4 * n * n))) / (1 + 1 / n)
    enough = np.flatnonzero(lower >= precision)
    return float(values[enough[0]]) if len(enough) else None


def separating_similarity(similarity: Floats, same: Flags) -> float:
    """The threshold that separates same from different pairs (P,) best.

    It maximises the share of same pairs minus the share of different pairs at or above it (Youden's index, Cancer 3,
    1950), and lies halfway to the next lower pair, so that it cuts a gap in the middle.

    Raises NoseprintError unless there are same and different pairs.
    """
    similarity, same = np.asarray(similarity, dtype=np.float64), np.asarray(same, dtype=bool)
    if same.all() or not same.any():
        raise NoseprintError(f"{int(same.sum())} of {len(same)} hold-out pairs are the same: both kinds are needed")
    values, group = np.unique(similarity, return_inverse=True)
    same_share = np.bincount(group[same], minlength=len(values))[::-1].cumsum()[::-1] / same.sum()
    different_share = np.bincount(group[~same], minlength=len(values))[::-1].cumsum()[::-1] / (~same).sum()
    best = int(np.argmax(same_share - different_share))
    return float(values[best] if best == 0 else (values[best] + values[best - 1]) / 2)
