"""Are probabilities right? Log loss, Brier score, calibration error, and the reliability curve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score, percentile_interval, resampled_pair_weights
from noseprint.metrics.similarity import Flags, Labels

Floats = npt.NDArray[np.float64]
_MIN_PROBABILITY = 1e-15  # the smallest probability in the log loss, which would be infinite for 0


@dataclass(frozen=True)
class ReliabilityCurve:
    """The share of same pairs in K bins of similar probability.

    probability: (K,) mean probability. share: (K,) share of same pairs. low, high: (K,) ends of the 95 % interval of
    `share`. pairs: (K,) number of pairs.
    """

    probability: Floats
    share: Floats
    low: Floats
    high: Floats
    pairs: npt.NDArray[np.intp]


@dataclass(frozen=True)
class ReliabilityScores:
    """How right probabilities are, with 95 % intervals. 0 is best.

    log_loss: mean of -ln(probability given to the truth), in nats; a constant 0.5 scores 0.693. brier: mean of
    (probability - truth)^2, 0..1 (Brier, Monthly Weather Review 78, 1950); a constant 0.5 scores 0.25.
    calibration_error: see `expected_calibration_error`.
    """

    log_loss: Score
    brier: Score
    calibration_error: Score


def expected_calibration_error(probability: Floats, same: Flags, bins: int = 10) -> float:
    """Mean over the pairs (P,) of their bin's |share of same pairs - mean probability|, 0..1.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015), but with
    equally many pairs in each bin: most probabilities are near 0 or 1, so most bins of equal width would have few.
    Even perfect probabilities have an error above 0; it is larger if a bin has fewer pairs. Raises NoseprintError as
    `reliability_curve` does.
    """
    p, y = _check_probabilities(probability, same)
    return float(_calibration_errors(p, y, np.ones((1, len(p))), bins)[0])


def reliability_curve(
    probability: Floats, same: Flags, *, identity_a: Labels, identity_b: Labels, bins: int = 10, seed: int = 0
) -> ReliabilityCurve:
    """The share of same pairs against their predicted probability, in up to `bins` bins with equal numbers of pairs.

    Bins are separated at quantiles of the probabilities; equal probabilities share a bin (scikit-learn's
    `calibration_curve` with strategy "quantile"). Intervals are from a bootstrap over identities: (0, 1) for a bin that
    is empty in every replicate, and for all bins with fewer than MIN_IDENTITIES identities.

    probability, same: (P,) of pairs of images. identity_a, identity_b: (P,) identities of each pair's two images. bins:
    at most this many. seed: of the bootstrap.
    Raises NoseprintError if there are no pairs or a probability is outside 0..1.
    """
    p, y = _check_probabilities(probability, same)
    bin_of = _bins(p, bins)
    size = np.bincount(bin_of)
    share = np.bincount(bin_of, y) / size
    if _too_few(identity_a, identity_b):
        low, high = np.zeros(len(size)), np.ones(len(size))
    else:
        one_hot = np.eye(len(size))[bin_of]
        shares = []
        for weight in resampled_pair_weights(identity_a, identity_b, seed=seed):
            with np.errstate(invalid="ignore"):
                shares.append((weight * y) @ one_hot / (weight @ one_hot))
        intervals = [
            percentile_interval(column) if np.isfinite(column).any() else (0.0, 1.0)
            for column in np.concatenate(shares).T
        ]
        low, high = np.array(intervals).T
    return ReliabilityCurve(np.bincount(bin_of, p) / size, share, low, high, size)


def reliability_scores(
    probability: Floats, same: Flags, identity_a: Labels, identity_b: Labels, *, bins: int = 10, seed: int = 0
) -> ReliabilityScores:
    """Log loss, Brier score and calibration error of pairs (P,), with 95 % intervals from a bootstrap over identities.

    Resampling adds noise to the bins, and noise only increases the calibration error, so its replicates are too high.
    The excess of their mean over the value is subtracted from the interval, which is then clipped to 0..1. The value
    itself contains such noise, too, and is not corrected: with 20 identities the interval contains the true error less
    often than 95 % of the time. With fewer identities than MIN_IDENTITIES the intervals are the whole range: 0 to 1,
    and 0 to 34.5 for the log loss. Arguments and errors are those of `reliability_curve`.
    """
    p, y = _check_probabilities(probability, same)
    log_losses = np.asarray(-np.log(np.maximum(np.where(y == 1, p, 1 - p), _MIN_PROBABILITY)))
    squared_errors = (p - y) ** 2
    blocks: list[Floats] = []
    for weight in resampled_pair_weights(identity_a, identity_b, seed=seed):
        drawn = weight[weight.any(axis=1)]
        total = drawn.sum(axis=1)
        scores = [drawn @ log_losses / total, drawn @ squared_errors / total, _calibration_errors(p, y, drawn, bins)]
        blocks.append(np.stack(scores))
    calibration_error = expected_calibration_error(p, same, bins)
    replicates = np.concatenate(blocks, axis=1)
    replicates[2] -= replicates[2].mean() - calibration_error
    intervals = [percentile_interval(values) for values in replicates]
    intervals[2] = max(0.0, intervals[2][0]), min(1.0, intervals[2][1])
    if _too_few(identity_a, identity_b):
        intervals = [(0.0, float(-np.log(_MIN_PROBABILITY))), (0.0, 1.0), (0.0, 1.0)]
    return ReliabilityScores(
        Score(float(log_losses.mean()), *intervals[0]),
        Score(float(squared_errors.mean()), *intervals[1]),
        Score(calibration_error, *intervals[2]),
    )


def _calibration_errors(p: Floats, y: Floats, weight: Floats, bins: int) -> Floats:
    """The calibration error (R,) for each row of weights (R, P), in the bins of the unweighted pairs."""
    bin_of = _bins(p, bins)
    one_hot = np.eye(bin_of.max() + 1)[bin_of]
    return np.asarray(np.abs((weight * (y - p)) @ one_hot).sum(axis=1) / weight.sum(axis=1))


def _bins(p: Floats, bins: int) -> npt.NDArray[np.intp]:
    """Each pair's bin, 0 ... K - 1; no bin is empty."""
    if bins < 1:
        raise NoseprintError(f"{bins} bins: must be at least 1")
    edges = np.quantile(p, np.linspace(0, 1, bins + 1))
    return np.unique(np.searchsorted(edges[1:-1], p), return_inverse=True)[1]


def _too_few(identity_a: Labels, identity_b: Labels) -> bool:
    return len(np.union1d(identity_a, identity_b)) < MIN_IDENTITIES


def _check_probabilities(probability: Floats, same: Flags) -> tuple[Floats, Floats]:
    p, y = np.asarray(probability, np.float64), np.asarray(same, np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"probability has shape {p.shape} and same {y.shape}: they must be lists of equal length")
    if len(p) == 0 or not ((p >= 0) & (p <= 1)).all():
        raise NoseprintError(f"{len(p)} probabilities: there must be at least one, and all in 0..1; calibrate again")
    return p, y
