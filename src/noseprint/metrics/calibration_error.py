"""The calibration error: how far probabilities are from the share of answers that are right."""

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Interval, percentile_interval
from noseprint.metrics.similarity import Flags

Floats = npt.NDArray[np.float64]
LEAST_PROBABILITY = 1e-15
"""The smallest probability in a log loss, which would be infinite for 0."""


def expected_calibration_error(probability: Floats, right: Flags, bins: int = 10) -> float:
    """Mean over the answers (P,) of their bin's |share of right answers - mean probability|, 0..1.

    probability, right: (P,) of pairs, the probability that they are the same, and whether they are; of a classifier,
    its confidence in the class that it gives, and whether that is the right one.
    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015), but with equally many
    answers in each bin: most probabilities are near 0 or 1, so most bins of equal width would have few.
    Even perfect probabilities have an error above 0; it is larger if a bin has fewer answers. Raises NoseprintError as
    `check_probabilities` and `probability_bins` do.
    """
    p, y = check_probabilities(probability, right)
    return float(calibration_errors(p, y, np.ones((1, len(p))), bins)[0])


def calibration_errors(p: Floats, y: Floats, weight: Floats, bins: int) -> Floats:
    """The calibration error (R,) for each row of weights (R, P), in the bins of the unweighted answers."""
    bin_of = probability_bins(p, bins)
    one_hot = np.eye(bin_of.max() + 1)[bin_of]
    return np.asarray(np.abs((weight * (y - p)) @ one_hot).sum(axis=1) / weight.sum(axis=1))


def calibration_error_interval(replicates: Floats, value: float) -> Interval:
    """95 % interval of a calibration error from its bootstrap replicates (R,).

    Resampling adds noise to the bins, and noise only increases the calibration error, so its replicates are too high.
    The excess of their mean over the value is subtracted from the interval, which is then clipped to 0..1. The value
    itself contains such noise, too, and is not corrected.
    """
    low, high = percentile_interval(replicates - (replicates.mean() - value))
    return max(0.0, low), min(1.0, high)


def probability_bins(p: Floats, bins: int) -> npt.NDArray[np.intp]:
    """The bin of each probability (P,), 0 ... K - 1; about as many in each, and none is empty.

    Raises NoseprintError for fewer than one bin.
    """
    if bins < 1:
        raise NoseprintError(f"{bins} bins: must be at least 1")
    edges = np.quantile(p, np.linspace(0, 1, bins + 1))
    return np.unique(np.searchsorted(edges[1:-1], p), return_inverse=True)[1]


def check_probabilities(probability: Floats, right: Flags) -> tuple[Floats, Floats]:
    """Both as float64 (P,). Raises NoseprintError if there are none, or one is outside 0..1."""
    p, y = np.asarray(probability, np.float64), np.asarray(right, np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"probability has shape {p.shape} and right {y.shape}: they must be lists of equal length")
    if len(p) == 0 or not ((p >= 0) & (p <= 1)).all():
        raise NoseprintError(f"{len(p)} probabilities: there must be at least one, and all in 0..1; calibrate again")
    return p, y
