"""Are probabilities right? Proper scores, calibration error, and the curve that shows where they are not."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.calibration.thresholds import wilson_interval
from noseprint.errors import NoseprintError
from noseprint.metrics.blocks import Labels
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Interval, Score, percentile_interval, resampled_pair_weights

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
_LEAST = 1e-15  # a probability of 0 for what happens costs -ln of this, not infinity


@dataclass(frozen=True)
class Reliability:
    """The reliability curve: of each of K bins the mean probability, the share that are the same, and the pairs.

    `low` and `high` (K,) bound the share, 95 %.
    """

    probability: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    pairs: npt.NDArray[np.intp]


@dataclass(frozen=True)
class ReliabilityScores:
    """How right probabilities are, each with its interval; 0 is best. Of even odds all the way: 0.693, 0.25, 0."""

    log_loss: Score
    brier: Score
    calibration_error: Score


def brier(probability: Floats, same: Flags) -> float:
    """Mean of (probability - same)^2 over pairs (P,), 0..1 (Brier, Monthly Weather Review 78, 1950).

    Raises NoseprintError as `reliability_curve`.
    """
    p, y = _checked(probability, same)
    return float(np.mean((p - y) ** 2))


def log_loss(probability: Floats, same: Flags) -> float:
    """Mean of -ln of the probability of what was so, in nats; a probability of 0 counts as 1e-15.

    Raises NoseprintError as `reliability_curve`.
    """
    return float(np.mean(_surprise(*_checked(probability, same))))


def expected_calibration_error(probability: Floats, same: Flags, bins: int = 10) -> float:
    """Mean over the pairs of |share of same pairs - mean probability| of their bin, 0..1.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015), with bins of equal mass
    in place of equal width: probabilities crowd at 0 and 1, where equal widths would leave a few pairs to most bins.
    Even perfect probabilities have an error above 0, the larger the fewer pairs a bin has. Raises NoseprintError as
    `reliability_curve`.
    """
    p, y = _checked(probability, same)
    return float(_calibration_errors(p, y, np.ones((1, len(p))), bins)[0])


def reliability_curve(
    probability: Floats,
    same: Flags,
    *,
    identity_a: Labels | None = None,
    identity_b: Labels | None = None,
    bins: int = 10,
    seed: int = 0,
) -> Reliability:
    """The share of same pairs against the probability they were given, in up to `bins` bins of equal mass.

    Bins are parted at the quantiles of the probabilities (P,), equal ones stay together (scikit-learn's
    `calibration_curve` with strategy "quantile"). `identity_a`, `identity_b` (P,): the two images' identities, over
    which the bounds are bootstrapped; they are (0, 1) for a bin without a replicate, and where there are fewer than
    MIN_IDENTITIES of them. Without them Wilson's score interval, which takes pairs for independent and is too narrow
    where they share identities.

    Raises NoseprintError where there are no pairs or a probability is outside 0..1.
    """
    p, y = _checked(probability, same)
    bin_of = _bins(p, bins)
    size = np.bincount(bin_of)
    share = np.bincount(bin_of, y) / size
    if identity_a is None or identity_b is None:
        low, high = _wilson(share, size)
    elif _few(identity_a, identity_b):
        low, high = np.zeros(len(size)), np.ones(len(size))
    else:
        one_hot = np.eye(len(size))[bin_of]
        shares = []
        for weight in resampled_pair_weights(identity_a, identity_b, seed=seed):
            with np.errstate(invalid="ignore"):
                shares.append((weight * y) @ one_hot / (weight @ one_hot))
        low, high = np.array([_bounds(column) for column in np.concatenate(shares).T]).T
    return Reliability(np.bincount(bin_of, p) / size, share, low, high, size)


def reliability_scores(
    probability: Floats, same: Flags, identity_a: Labels, identity_b: Labels, *, bins: int = 10, seed: int = 0
) -> ReliabilityScores:
    """Log loss, Brier score and calibration error of pairs (P,), with 95 % intervals from a bootstrap over identities.

    Resampling adds noise to the bins, and noise only adds to the calibration error, so its replicates lie too high:
    what their mean is above the value is taken off its interval, which is cut to 0..1. The value itself has such a
    noise, too, and stays: with 20 identities the interval holds the true error less often than 95 % of the time.
    Of fewer identities than MIN_IDENTITIES the intervals are all that can be, 0 to 1, and 0 to 34.5 for the log loss.
    Raises NoseprintError as `reliability_curve`.
    """
    p, y = _checked(probability, same)
    surprise, error = _surprise(p, y), (p - y) ** 2
    found: list[npt.NDArray[np.float64]] = []
    for weight in resampled_pair_weights(identity_a, identity_b, seed=seed):
        drawn = weight[weight.any(axis=1)]
        total = drawn.sum(axis=1)
        scores = [drawn @ surprise / total, drawn @ error / total, _calibration_errors(p, y, drawn, bins)]
        found.append(np.stack(scores))
    calibration = expected_calibration_error(p, same, bins)
    replicates = np.concatenate(found, axis=1)
    replicates[2] -= replicates[2].mean() - calibration
    bounds = [percentile_interval(values) for values in replicates]
    bounds[2] = max(0.0, bounds[2][0]), min(1.0, bounds[2][1])
    if _few(identity_a, identity_b):
        bounds = [(0.0, float(-np.log(_LEAST))), (0.0, 1.0), (0.0, 1.0)]
    return ReliabilityScores(
        Score(float(surprise.mean()), *bounds[0]),
        Score(float(error.mean()), *bounds[1]),
        Score(calibration, *bounds[2]),
    )


def _calibration_errors(
    p: npt.NDArray[np.float64], y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], bins: int
) -> npt.NDArray[np.float64]:
    """The calibration error (R,) under each row of weights (R, P); the bins are those of the unweighted pairs."""
    bin_of = _bins(p, bins)
    one_hot = np.eye(bin_of.max() + 1)[bin_of]
    return np.asarray(np.abs((weight * (y - p)) @ one_hot).sum(axis=1) / weight.sum(axis=1))


def _bins(p: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.intp]:
    """Each pair's bin, 0 ... K - 1, none of them empty."""
    if bins < 1:
        raise NoseprintError(f"{bins} bins: must be at least 1")
    edges = np.quantile(p, np.linspace(0, 1, bins + 1))
    return np.unique(np.searchsorted(edges[1:-1], p), return_inverse=True)[1]


def _surprise(p: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(-np.log(np.maximum(np.where(y == 1, p, 1 - p), _LEAST)))


def _few(identity_a: Labels, identity_b: Labels) -> bool:
    return len(np.union1d(identity_a, identity_b)) < MIN_IDENTITIES


def _bounds(values: npt.NDArray[np.float64]) -> Interval:
    return percentile_interval(values) if np.isfinite(values).any() else (0.0, 1.0)


def _wilson(
    share: npt.NDArray[np.float64], size: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    bounds = [wilson_interval(round(s * n), int(n)) for s, n in zip(share, size, strict=True)]
    low, high = np.array(bounds).T
    return low, high


def _checked(probability: Floats, same: Flags) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    p, y = np.asarray(probability, np.float64), np.asarray(same, np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(f"probability {p.shape} and same {y.shape} are not two lists of one length")
    if len(p) == 0 or not ((p >= 0) & (p <= 1)).all():
        raise NoseprintError(f"of {len(p)} probabilities each must be in 0..1, and there must be one: calibrate again")
    return p, y
