"""95 % intervals by a bootstrap over identities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.blocks import Floats, Indices, Labels, blocks
from noseprint.metrics.groups import DisjointSets
from noseprint.metrics.similarity import Pairs
from noseprint.metrics.verification import AcceptedWeights, Weights, accepted_weights, check_scores

Interval = tuple[float, float]
MIN_IDENTITIES = 5
"""Identities below which an interval says nothing: all figures here lie in 0..1, and so wide is it then."""


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval, from a bootstrap over identities."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def identity_clusters(pairs: Pairs, same: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """A number for the identity of each pair's image A (P,) and image B (P,), where only the pairs are labelled.

    Images that a chain of same pairs connects are one identity; that may be finer than the truth, never coarser.
    """
    sets: DisjointSets[str] = DisjointSets()
    for image_a, image_b, together in zip(pairs.image_a, pairs.image_b, same, strict=True):
        if together:
            sets.join(image_a, image_b)
        else:
            sets.add(image_a, image_b)
    number = {image: cluster for cluster, images in enumerate(sets.sets()) for image in images}
    return (
        np.array([number[image] for image in pairs.image_a], dtype=np.intp),
        np.array([number[image] for image in pairs.image_b], dtype=np.intp),
    )


def bootstrap_pairs(
    figures: Sequence[Callable[[AcceptedWeights], Weights]],
    scores: Floats,
    same: npt.NDArray[np.bool_],
    cluster_a: Labels,
    cluster_b: Labels,
    *,
    seed: int,
    replicates: int = 1000,
) -> list[Interval]:
    """95 % percentile interval of each of `figures` (such as `metrics.roc_aucs`) of pairs (P,), resampling identities.

    Pairs that share an identity are not independent, so a bootstrap over pairs would be too sure. `cluster_a`,
    `cluster_b` (P,) are the identities of the two images. A replicate draws as many identities as there are, with
    replacement; a pair weighs the product of how often its two were drawn (Owen 2007, "The pigeonhole bootstrap"), a
    pair within one identity how often that one was. Replicates that drew no same or no different pair are left out.

    Raises NoseprintError as `metrics.roc_curve`, and where no replicate is left.
    """
    scores, same = check_scores(scores, same)
    if len(np.union1d(cluster_a, cluster_b)) < MIN_IDENTITIES:
        return [(0.0, 1.0)] * len(figures)
    values: list[list[Weights]] = []
    for weight in resampled_pair_weights(cluster_a, cluster_b, seed=seed, replicates=replicates):
        curve = accepted_weights(scores, same, weight)
        values.append([figure(curve) for figure in figures])
    return [percentile_interval(np.concatenate(found)) for found in zip(*values, strict=True)]


def resampled_pair_weights(
    cluster_a: Labels, cluster_b: Labels, *, seed: int, replicates: int = 1000
) -> Iterator[npt.NDArray[np.float64]]:
    """What each pair weighs in each replicate of `bootstrap_pairs`, in blocks (R, P) of up to 32 MiB."""
    names, cluster = np.unique(np.concatenate([np.asarray(cluster_a), np.asarray(cluster_b)]), return_inverse=True)
    a, b = np.split(cluster, 2)
    for times in _resampled(len(names), replicates, len(a), seed=seed):
        yield times[:, a] * np.where(a == b, 1.0, times[:, b])


def percentile_interval(values: npt.NDArray[np.float64]) -> Interval:
    """95 % percentile interval of a figure's replicates (R,); those that are not finite are left out."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise NoseprintError(
            "no replicate holds both same and different pairs: there are too few identities for an interval"
        )
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_mean(values: Floats, clusters: Labels, *, seed: int, replicates: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the mean of values (Q,) in 0..1, resampling the identities `clusters` (Q,) of them.

    With fewer identities than MIN_IDENTITIES, (0, 1). Raises NoseprintError where there are no values.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    if len(cluster) == 0:
        raise NoseprintError("there are no values to give an interval for: no query was scored")
    if len(names) < MIN_IDENTITIES:
        return 0.0, 1.0
    total = np.bincount(cluster, weights=np.asarray(values, dtype=np.float64))
    size = np.bincount(cluster).astype(np.float64)
    means = [(times @ total) / (times @ size) for times in _resampled(len(names), replicates, len(names), seed=seed)]
    return percentile_interval(np.concatenate(means))


def _resampled(clusters: int, replicates: int, width: int, *, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each cluster is drawn in each replicate, in blocks (R, clusters) that leave room for (R, width)."""
    rng = np.random.default_rng(seed)
    chance = np.full(clusters, 1 / clusters)
    for part in blocks(np.arange(replicates), max(clusters, width)):
        yield rng.multinomial(clusters, chance, size=len(part)).astype(np.float64)
