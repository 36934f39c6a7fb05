"""Are probabilities right? Log loss, Brier score, calibration error, and the reliability curve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score, percentile_interval, resampled_pair_weights
from noseprint.metrics.calibration_error import (
    LEAST_PROBABILITY,
    calibration_error_interval,
    calibration_errors,
    check_probabilities,
    expected_calibration_error,
    probability_bins,
)
from noseprint.metrics.similarity import Flags, Labels

Floats = npt.NDArray[np.float64]


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
    p, y = check_probabilities(probability, same)
    bin_of = probability_bins(p, bins)
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

    `calibration_error_interval` makes that of the calibration error: with 20 identities it contains the true error less
    often than 95 % of the time. With fewer identities than MIN_IDENTITIES the intervals are the whole range: 0 to 1,
    and 0 to 34.5 for the log loss. Arguments and errors are those of `reliability_curve`.
    """
    p, y = check_probabilities(probability, same)
    log_losses = np.asarray(-np.log(np.maximum(np.where(y == 1, p, 1 - p), LEAST_PROBABILITY)))
    squared_errors = (p - y) ** 2
    blocks: list[Floats] = []
    for weight in resampled_pair_weights(identity_a, identity_b, seed=seed):
        drawn = weight[weight.any(axis=1)]
        total = drawn.sum(axis=1)
        scores = [drawn @ log_losses / total, drawn @ squared_errors / total, calibration_errors(p, y, drawn, bins)]
        blocks.append(np.stack(scores))
    calibration_error = expected_calibration_error(p, same, bins)
    replicates = np.concatenate(blocks, axis=1)
    intervals = [percentile_interval(values) for values in replicates[:2]]
    intervals.append(calibration_error_interval(replicates[2], calibration_error))
    if _too_few(identity_a, identity_b):
        intervals = [(0.0, float(-np.log(LEAST_PROBABILITY))), (0.0, 1.0), (0.0, 1.0)]
    return ReliabilityScores(
        Score(float(log_losses.mean()), *intervals[0]),
        Score(float(squared_errors.mean()), *intervals[1]),
        Score(calibration_error, *intervals[2]),
    )


def _too_few(identity_a: Labels, identity_b: Labels) -> bool:
    return len(np.union1d(identity_a, identity_b)) < MIN_IDENTITIES
