"""95 % confidence intervals from a bootstrap over identities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Flags, Floats, Labels, blocks
from noseprint.metrics.verification import AcceptedWeights, Weights, accepted_weights, check_scores

Interval = tuple[float, float]
MIN_IDENTITIES = 5
"""With fewer identities an interval is the whole range of its score."""


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_pairs(
    metrics: Sequence[Callable[[AcceptedWeights], Weights]],
    scores: Floats,
    same: Flags,
    identity_a: Labels,
    identity_b: Labels,
    *,
    seed: int,
    replicates: int = 1000,
) -> list[Interval]:
    """95 % percentile interval of each of `metrics` of P pairs.

    Pairs that share an identity are not independent, so resampling pairs would give intervals that are too narrow. A
    replicate instead draws as many identities as there are, with replacement. A pair of two identities has the weight
    (times the first was drawn) x (times the second was drawn). A pair within one identity has the weight (times it was
    drawn). See Owen 2007, "The pigeonhole bootstrap". Replicates without a same pair or a different pair are left out.

    metrics: functions such as `roc_aucs`. scores, same: (P,). identity_a, identity_b: (P,) identities of each pair's
    two images. seed: of the draws. replicates: number of draws.
    Raises NoseprintError as `roc_curve` does, and if no replicate is left.
    """
    scores, same = check_scores(scores, same)
    if len(np.union1d(identity_a, identity_b)) < MIN_IDENTITIES:
        return [(0.0, 1.0)] * len(metrics)
    values: list[list[Weights]] = []
    for weight in resampled_pair_weights(identity_a, identity_b, seed=seed, replicates=replicates):
        curve = accepted_weights(scores, same, weight)
        values.append([metric(curve) for metric in metrics])
    return [percentile_interval(np.concatenate(found)) for found in zip(*values, strict=True)]


def resampled_pair_weights(
    identity_a: Labels, identity_b: Labels, *, seed: int, replicates: int = 1000
) -> Iterator[npt.NDArray[np.float64]]:
    """The weights of the pairs in each replicate of `bootstrap_pairs`, in blocks (R, P) of at most 32 MiB."""
    names, identity = np.unique(np.concatenate([np.asarray(identity_a), np.asarray(identity_b)]), return_inverse=True)
    a, b = np.split(identity, 2)
    for times in _times_drawn(len(names), replicates, len(a), seed=seed):
        yield times[:, a] * np.where(a == b, 1.0, times[:, b])


def resampled_weights(groups: Labels, *, seed: int, replicates: int = 1000) -> Iterator[npt.NDArray[np.float64]]:
    """How often each of N items is drawn in each replicate, in blocks (R, N) of at most 32 MiB.

    A replicate draws as many groups as there are, with replacement, and each with all its items. groups: (N,).
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    for times in _times_drawn(len(names), replicates, len(group), seed=seed):
        yield times[:, group]


def percentile_interval(
    values: npt.NDArray[np.float64], *, identities: int | None = None, coverage: float = 0.95
) -> Interval:
    """The percentile interval of the replicates (R,) of a score; values that are not finite are left out.

    identities: how many were resampled, at least two. With this argument the interval is wider, because a plain one of
    few identities is too narrow. This is the "expanded percentile interval" of Hesterberg 2015, "What Teachers Should
    Know About the Bootstrap". coverage: how often the interval should hold the score, in 0..1.
    """
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise NoseprintError("no interval: there are too few identities for a replicate with same and different pairs")
    tail = (1 - coverage) / 2
    if identities is not None:
        tail = float(ndtr(np.sqrt(identities / (identities - 1)) * stdtrit(identities - 1, tail)))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_mean(values: Floats, identities: Labels, *, seed: int, replicates: int = 1000) -> Interval:
    """95 % percentile interval of the mean of values (Q,) in 0..1, resampling their identities (Q,).

    (0, 1) with fewer than MIN_IDENTITIES identities. Raises NoseprintError if there are no values.
    """
    return _mean_interval(values, identities, seed=seed, replicates=replicates, unknown=(0.0, 1.0))


def bootstrap_difference(
    now: Floats, then: Floats, identities: Labels, *, seed: int, replicates: int = 1000, coverage: float = 0.95
) -> Score:
    """The mean of now - then, scores (Q,) in 0..1 of the same Q queries, with its interval as `bootstrap_mean`.

    The interval is a paired one: what makes a query easy or hard both times cancels out. It is (-1, 1) with fewer than
    MIN_IDENTITIES identities. coverage: see `percentile_interval`.
    """
    difference = np.asarray(now, dtype=np.float64) - np.asarray(then, dtype=np.float64)
    low, high = _mean_interval(
        difference, identities, seed=seed, replicates=replicates, unknown=(-1.0, 1.0), coverage=coverage
    )
    return Score(float(difference.mean()), low, high)


def _mean_interval(
    values: Floats, identities: Labels, *, seed: int, replicates: int, unknown: Interval, coverage: float = 0.95
) -> Interval:
    names, identity = np.unique(np.asarray(identities), return_inverse=True)
    if len(identity) == 0:
        raise NoseprintError("there are no values to give an interval for: no query was scored")
    if len(names) < MIN_IDENTITIES:
        return unknown
    total = np.bincount(identity, weights=np.asarray(values, dtype=np.float64))
    size = np.bincount(identity).astype(np.float64)
    means = [(times @ total) / (times @ size) for times in _times_drawn(len(names), replicates, len(names), seed=seed)]
    return percentile_interval(np.concatenate(means), coverage=coverage)


def _times_drawn(identities: int, replicates: int, width: int, *, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each identity is drawn in each replicate: blocks (R, identities) with a bounded R x width."""
    rng = np.random.default_rng(seed)
    chance = np.full(identities, 1 / identities)
    for block in blocks(np.arange(replicates), max(identities, width)):
        yield rng.multinomial(identities, chance, size=len(block)).astype(np.float64)
