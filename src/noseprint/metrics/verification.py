"""Verification: how well a threshold on the similarity tells same pairs from different ones.

Pairs are accepted from a threshold up, pairs of equal score together; between two thresholds a curve is straight, which
is what accepting a tie's pairs at random would give on average. So a network that says the same of every pair scores
chance: an area of 0.5, an equal error rate of 0.5, at each false match rate a true match rate as large.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.blocks import Floats

ERRORS_NEEDED = 30
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """The ROC curve: of each of T + 1 thresholds, falling from inf, the shares of pairs that are accepted.

    Accepted are scores >= `threshold`. `fmr`: the share of different pairs (false match rate), `tmr`: of same pairs
    (true match rate); both rise from 0 to 1.
    """

    fmr: npt.NDArray[np.float64]
    tmr: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]


@dataclass(frozen=True)
class AcceptedWeights:
    """The weight of the accepted same and different pairs (R, T + 1) at each of T + 1 falling thresholds.

    A row is one weighting of the pairs: a replicate of a bootstrap. The last threshold accepts all.
    """

    same: Weights
    different: Weights

    def rates(self) -> tuple[Weights, Weights]:
        """False and true match rates, each (R, T + 1); nan in rows without a same or without a different pair."""
        with np.errstate(invalid="ignore"):
            return self.different / self.different[:, -1:], self.same / self.same[:, -1:]


def roc_curve(scores: Floats, same: npt.NDArray[np.bool_]) -> Roc:
    """The ROC curve of scores (P,), a threshold for each distinct score (Fawcett 2006, algorithm 1).

    Raises NoseprintError unless there are both same and different pairs, and for a score that is not finite.
    """
    scores, same = check_scores(scores, same)
    fmr, tmr = accepted_weights(scores, same, np.ones((1, len(same)))).rates()
    return Roc(fmr[0], tmr[0], np.append(np.inf, np.unique(scores)[::-1]))


def roc_auc(scores: Floats, same: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores (P,): the chance that a same pair scores above a different one, ties half.

    Raises NoseprintError as `roc_curve`.
    """
    return float(roc_aucs(_unweighted(scores, same))[0])


def equal_error_rate(scores: Floats, same: npt.NDArray[np.bool_]) -> float:
    """The error rate where as large a share of different pairs is accepted as of same pairs is refused, 0..1.

    Where the ROC curve meets FMR = 1 - TMR. Raises NoseprintError as `roc_curve`.
    """
    return float(equal_error_rates(_unweighted(scores, same))[0])


def tmr_at_fmr(scores: Floats, same: npt.NDArray[np.bool_], fmr: float) -> float:
    """The share of same pairs that are accepted when `fmr` of the different ones are: the ROC curve at `fmr`.

    Raises NoseprintError as `roc_curve`, for a `fmr` outside (0, 1], and for one below `least_fmr`.
    """
    if not 0 < fmr <= 1:
        raise NoseprintError(f"false match rate {fmr} is outside 0..1: 0.01 accepts one different pair in a hundred")
    curve = _unweighted(scores, same)
    different = int(curve.different[0, -1])
    if problem := why_fmr_unsupported(different, fmr):
        raise NoseprintError(problem)
    return float(tmrs_at_fmr(curve, fmr)[0])


def least_fmr(different: int) -> float:
    """The lowest false match rate that a number of different pairs supports: 30 of them are accepted. May exceed 1.

    With 30 errors the true rate lies within 30 % of the measured one at 90 % confidence, were the pairs independent
    (the rule of 30: Doddington et al. 2000, "The NIST speaker recognition evaluation").
    """
    return ERRORS_NEEDED / different if different else np.inf


def why_fmr_unsupported(different: int, fmr: float) -> str | None:
    """Why a number of different pairs does not support a false match rate, or None where it does: see `least_fmr`."""
    if fmr >= least_fmr(different):
        return None
    lowest = least_fmr_rounded_up(different)
    supported = "none" if lowest is None else f"{lowest:g} at the lowest"
    return (
        f"{different} different pairs do not support a false match rate of {fmr:g}, which takes "
        f"{ERRORS_NEEDED / fmr:.0f} (rule of 30): they support {supported}"
    )


def least_fmr_rounded_up(different: int) -> float | None:
    """`least_fmr` to two digits, rounded up, so that what is said to be supported is; None where nothing is."""
    if different < ERRORS_NEEDED:
        return None
    return float(Context(prec=2, rounding=ROUND_CEILING).divide(ERRORS_NEEDED, different))


def accepted_weights(scores: Weights, same: npt.NDArray[np.bool_], weight: Weights) -> AcceptedWeights:
    """What each threshold accepts of scores (P,), under each row of weights (R, P)."""
    order = np.argsort(-scores, kind="stable")
    start = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of each run of equal scores
    sorted_weight, sorted_same = weight[:, order], same[order]

    def cumulated(of: Weights) -> Weights:
        sums = np.zeros((len(weight), len(start) + 1))
        np.cumsum(np.add.reduceat(of, start, axis=1), axis=1, out=sums[:, 1:])
        return sums

    return AcceptedWeights(cumulated(sorted_weight * sorted_same), cumulated(sorted_weight * ~sorted_same))


def roc_aucs(curve: AcceptedWeights) -> Weights:
    """The area under each ROC curve (R,); nan in rows without a same or without a different pair."""
    doubled = (np.diff(curve.different, axis=1) * (curve.same[:, 1:] + curve.same[:, :-1])).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(doubled / 2 / (curve.same[:, -1] * curve.different[:, -1]))


def equal_error_rates(curve: AcceptedWeights) -> Weights:
    """Each row's equal error rate (R,); nan as in `roc_aucs`."""
    fmr, tmr = curve.rates()
    return _crossing(fmr + tmr - 1, 0, fmr)


def tmrs_at_fmr(curve: AcceptedWeights, fmr: float) -> Weights:
    """Each row's true match rate at a false match rate (R,), the largest where there are several; nan as in `roc_aucs`.

    No refusal: that is for the data, not for a replicate of it.
    """
    rates, tmr = curve.rates()
    return _crossing(rates, fmr, tmr)


def check_scores(scores: Floats, same: npt.NDArray[np.bool_]) -> tuple[Weights, npt.NDArray[np.bool_]]:
    """The two as arrays. Raises NoseprintError unless there are both kinds of pairs and every score is finite."""
    values, same = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    if values.shape != same.shape or values.ndim != 1:
        raise ValueError(f"scores {values.shape} and same {same.shape} are not two lists of one length")
    positives = int(same.sum())
    if positives in (0, len(same)):
        raise NoseprintError(
            f"verification needs same and different pairs, there are {positives} and {len(same) - positives}"
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise NoseprintError(
            f"{len(wrong)} of {len(values)} scores are not finite, first pair {wrong[0] + 1} ({values[wrong[0]]}): "
            "check the weights that gave them"
        )
    return values, same


def _unweighted(scores: Floats, same: npt.NDArray[np.bool_]) -> AcceptedWeights:
    scores, same = check_scores(scores, same)
    return accepted_weights(scores, same, np.ones((1, len(same))))


def _crossing(x: Weights, at: float, y: Weights) -> Weights:
    """Each row of y (R, T + 1) where that of x, which never falls, last is `at`; between two thresholds straight."""
    row = np.arange(len(x))
    left = np.maximum((x <= at).sum(axis=1) - 1, 0)
    right = np.minimum(left + 1, x.shape[1] - 1)
    x0, x1, y0, y1 = x[row, left], x[row, right], y[row, left], y[row, right]
    with np.errstate(invalid="ignore"):
        share = np.where(right > left, (at - x0) / np.where(x1 > x0, x1 - x0, 1), 0)
    return np.asarray(y0 + share * (y1 - y0))
