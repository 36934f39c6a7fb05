"""The probability above which enough of a classifier's answers are right; below it, the answer is "cannot tell"."""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit
from scipy.stats import beta

from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.metrics.similarity import Flags, Labels

CANNOT_TELL = "cannot tell"
"""The answer where the probability is below the threshold."""
Floats = npt.NDArray[np.float64]
RISK = 0.05
"""The allowed probability that fewer answers are right than promised."""
STARTS = (0.4, 0.7)
"""Each search starts with this share of the images, the most probable answers, and then adds answers."""


def answering_threshold(
    confidence: npt.NDArray[np.floating], right: Flags, *, least: float, groups: Labels | None = None
) -> float | None:
    """The lowest threshold above which at least the share `least` of the answers is right, with 95 % confidence.

    An answer is given if its confidence is at least the threshold: selective classification (Geifman and El-Yaniv,
    arXiv 1705.08500). 0.0 means that every answer is given. None: no threshold does it, or there are too few groups.

    Thresholds are tested from high to low, and the first that fails ends the search: trying many then does not weaken
    the promise ("fixed sequence testing" from several starts, each with its part of RISK; Angelopoulos et al.,
    "Learn then test", arXiv 2110.01052, section 4). A threshold passes if the lower Clopper-Pearson bound of the share
    of right answers is `least` or more. Images of one group are not independent: they count as fewer images, by the
    design effect (Korn and Graubard, Survey Methodology 24, 1998).

    confidence: (N,) the probability of each answer. right: (N,). groups: (N,), such as the photographer.
    """
    if not len(right):
        return None
    order = np.argsort(-confidence, kind="stable")
    confidence, hits = confidence[order].astype(np.float64), np.asarray(right)[order].astype(np.float64)
    group = np.arange(len(order)) if groups is None else np.unique(np.asarray(groups)[order], return_inverse=True)[1]
    alone = within_groups(hits, group)
    ends = [*np.flatnonzero(np.diff(confidence)), len(order) - 1]  # equal confidences are answered together
    best = -1
    for share in STARTS:
        for end in ends[int(np.searchsorted(ends, math.ceil(share * len(order)) - 1)) :]:
            given = slice(0, end + 1)
            if lower_bound(hits[given], group[given], correlation=alone, risk=RISK / len(STARTS)) < least:
                break
            best = max(best, end)
    if best < 0:
        return None
    # Halfway to the next, so that the rounding of another runtime changes no decision.
    return 0.0 if best == len(order) - 1 else float(confidence[best : best + 2].mean())


def lower_bound(right: Floats, group: npt.NDArray[np.intp], *, correlation: float, risk: float) -> float:
    """The lower bound of the share of right answers, wrong with probability `risk`; 0 with few groups.

    right, group: (N,). correlation: of two images of one group, see `within_groups`.
    """
    sizes = np.bincount(group)
    sizes = sizes[sizes > 0]
    if len(sizes) < MIN_IDENTITIES:
        return 0.0
    n, share = len(right), right.mean()
    if len(sizes) < n:
        few_groups = (ndtri(risk) / stdtrit(len(sizes) - 1, risk)) ** 2
        n *= few_groups / (1 + correlation * max(0.0, (sizes**2).sum() / n - 1))
    return float(beta.ppf(risk, n * share, n * (1 - share) + 1)) if share else 0.0


def within_groups(right: Floats, group: npt.NDArray[np.intp]) -> float:
    """How alike two answers of one group are, right or wrong: 0..1, from the design effect over all images."""
    sizes = np.bincount(group)
    excess = float((sizes**2).sum() / len(right) - 1)  # the mean size of an image's group, minus 1
    share = right.mean()
    if excess <= 0 or share in (0, 1):
        return 0.0
    residuals = np.bincount(group, right - share)
    effect = (residuals**2).sum() / (len(right) * share * (1 - share)) * len(sizes) / max(1, len(sizes) - 1)
    return float(np.clip((effect - 1) / excess, 0, 1))
