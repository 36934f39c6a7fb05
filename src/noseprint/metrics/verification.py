"""Verification: how well a threshold on the similarity separates same pairs from different pairs.

A pair is accepted (called the same) if its score reaches the threshold, so pairs of equal score are accepted together.
Between two thresholds a curve is linear, as if some of a tie's pairs were accepted at random. A network that gives all
pairs one score therefore scores chance: area 0.5, equal error rate 0.5, true match rate = false match rate.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Flags, Floats

ERRORS_NEEDED = 30
"""False matches that are needed to state a false match rate: see `least_fmr`."""
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """The ROC curve at T + 1 thresholds on the score, which fall from infinity.

    fmr: false match rate, the share of different pairs with score >= threshold; rises from 0 to 1.
    tmr: true match rate, the same share of the same pairs.
    """

    fmr: npt.NDArray[np.float64]
    tmr: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]


@dataclass(frozen=True)
class AcceptedWeights:
    """The total weight of accepted same and different pairs, each (R, T + 1), at T + 1 falling thresholds.

    Each of the R rows is one weighting of the pairs, such as a replicate of a bootstrap. The last threshold accepts
    all pairs.
    """

    same: Weights
    different: Weights

    def rates(self) -> tuple[Weights, Weights]:
        """False and true match rates, each (R, T + 1); nan in rows without a same pair or without a different pair."""
        with np.errstate(invalid="ignore"):
            return self.different / self.different[:, -1:], self.same / self.same[:, -1:]


def roc_curve(scores: Floats, same: Flags) -> Roc:
    """The ROC curve of scores (P,), with a threshold at each distinct score (Fawcett 2006, algorithm 1).

    Raises NoseprintError unless there are same and different pairs and all scores are finite.
    """
    scores, same = check_scores(scores, same)
    fmr, tmr = accepted_weights(scores, same, np.ones((1, len(same)))).rates()
    return Roc(fmr[0], tmr[0], np.append(np.inf, np.unique(scores)[::-1]))


def roc_auc(scores: Floats, same: Flags) -> float:
    """Area under the ROC curve of scores (P,): the probability that a same pair outscores a different one.

    A tie counts half. Raises NoseprintError as `roc_curve` does.
    """
    return float(roc_aucs(_unweighted(scores, same))[0])


def equal_error_rate(scores: Floats, same: Flags) -> float:
    """The error rate, 0..1, at the point of the ROC curve where FMR = 1 - TMR.

    Raises NoseprintError as `roc_curve` does.
    """
    return float(equal_error_rates(_unweighted(scores, same))[0])


def tmr_at_fmr(scores: Floats, same: Flags, fmr: float) -> float:
    """True match rate at a false match rate `fmr`: the ROC curve at `fmr`.

    Raises NoseprintError as `roc_curve` does, for an `fmr` outside (0, 1], and for one below `least_fmr`.
    """
    if not 0 < fmr <= 1:
        raise NoseprintError(f"false match rate {fmr} is outside 0..1: 0.01 accepts one different pair in a hundred")
    curve = _unweighted(scores, same)
    different = int(curve.different[0, -1])
    if problem := why_fmr_unsupported(different, fmr):
        raise NoseprintError(problem)
    return float(tmrs_at_fmr(curve, fmr)[0])


def least_fmr(different: int) -> float:
    """The lowest false match rate that this number of different pairs supports: 30 of them accepted. May exceed 1.

    With 30 errors, the true rate lies within 30 % of the measured one at 90 % confidence if the pairs are independent
    (the rule of 30: Doddington et al. 2000, "The NIST speaker recognition evaluation").
    """
    return ERRORS_NEEDED / different if different else np.inf


def least_fmr_rounded_up(different: int) -> float | None:
    """`least_fmr` rounded up to two digits, so that the pairs support it; None if they support no rate."""
    if different < ERRORS_NEEDED:
        return None
    return float(Context(prec=2, rounding=ROUND_CEILING).divide(ERRORS_NEEDED, different))


def why_fmr_unsupported(different: int, fmr: float) -> str | None:
    """Why this number of different pairs does not support a false match rate (see `least_fmr`); None if it does."""
    if fmr >= least_fmr(different):
        return None
    lowest = least_fmr_rounded_up(different)
    supported = "none" if lowest is None else f"{lowest:g} at the lowest"
    return (
        f"{different} different pairs do not support a false match rate of {fmr:g}, which takes "
        f"{ERRORS_NEEDED / fmr:.0f} (rule of 30): they support {supported}"
    )


def accepted_weights(scores: Weights, same: Flags, weight: Weights) -> AcceptedWeights:
    """What each threshold accepts of scores (P,), for each row of weights (R, P)."""
    order = np.argsort(-scores, kind="stable")
    start = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of each run of equal scores
    sorted_weight, sorted_same = weight[:, order], same[order]

    def cumulated(weights: Weights) -> Weights:
        sums = np.zeros((len(weight), len(start) + 1))
        np.cumsum(np.add.reduceat(weights, start, axis=1), axis=1, out=sums[:, 1:])
        return sums

    return AcceptedWeights(cumulated(sorted_weight * sorted_same), cumulated(sorted_weight * ~sorted_same))


def roc_aucs(curve: AcceptedWeights) -> Weights:
    """Each row's area under the ROC curve (R,); nan in rows without a same pair or without a different pair."""
    doubled = (np.diff(curve.different, axis=1) * (curve.same[:, 1:] + curve.same[:, :-1])).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(doubled / 2 / (curve.same[:, -1] * curve.different[:, -1]))


def equal_error_rates(curve: AcceptedWeights) -> Weights:
    """Each row's equal error rate (R,); nan as in `roc_aucs`."""
    fmr, tmr = curve.rates()
    return _interpolated(fmr + tmr - 1, 0, fmr)


def tmrs_at_fmr(curve: AcceptedWeights, fmr: float) -> Weights:
    """Each row's true match rate at a false match rate (R,), the highest if there are several; nan as in `roc_aucs`.

    Unlike `tmr_at_fmr` this refuses no rate: whether a rate is supported depends on the data, not on a replicate.
    """
    rates, tmr = curve.rates()
    return _interpolated(rates, fmr, tmr)


def check_scores(scores: Floats, same: Flags) -> tuple[Weights, Flags]:
    """Both as arrays. Raises NoseprintError unless there are same and different pairs and all scores are finite."""
    values, same = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    if values.shape != same.shape or values.ndim != 1:
        raise ValueError(f"scores has shape {values.shape} and same {same.shape}: they must be lists of equal length")
    positives = int(same.sum())
    if positives in (0, len(same)):
        raise NoseprintError(
            f"verification needs same and different pairs, but there are {positives} and {len(same) - positives}"
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise NoseprintError(
            f"{len(wrong)} of {len(values)} scores are not finite, first pair {wrong[0] + 1} ({values[wrong[0]]}): "
            "check the weights that gave them"
        )
    return values, same


def _unweighted(scores: Floats, same: Flags) -> AcceptedWeights:
    scores, same = check_scores(scores, same)
    return accepted_weights(scores, same, np.ones((1, len(same))))


def _interpolated(x: Weights, at: float, y: Weights) -> Weights:
    """Each row of y (R, T + 1) where x, which never falls, is `at` for the last time; linear between thresholds."""
    row = np.arange(len(x))
    left = np.maximum((x <= at).sum(axis=1) - 1, 0)
    right = np.minimum(left + 1, x.shape[1] - 1)
    x0, x1, y0, y1 = x[row, left], x[row, right], y[row, left], y[row, right]
    with np.errstate(invalid="ignore"):
        share = np.where(right > left, (at - x0) / np.where(x1 > x0, x1 - x0, 1), 0)
    return np.asarray(y0 + share * (y1 - y0))
