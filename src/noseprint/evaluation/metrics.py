"""Verification and retrieval scores, with intervals over identities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.matching.groups import DisjointSets
from noseprint.matching.pairs import Pairs

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]
Labels = Sequence[str] | npt.NDArray[Any]
_BLOCK_VALUES = 2**22  # values of a block of queries x gallery, or replicates x pairs


@dataclass(frozen=True)
class RetrievalScores:
    """Means over the Q queries that have a true match in the gallery, and the values of each for an interval.

    `query` (Q,) are rows of the embeddings, `hit` and `average_precision` (Q,) lie in 0..1; `left_out` queries had no
    match.
    """

    recall_at_1: float
    map: float
    query: Indices
    hit: npt.NDArray[np.float64]
    average_precision: npt.NDArray[np.float64]
    left_out: int


def roc_auc(scores: Floats, same: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores (P,): the chance that a same pair scores above a different one, ties half.

    Raises NoseprintError unless there are both same and different pairs, and for a score that is not finite.
    """
    scores, same = _checked(scores, same)
    return float(_weighted_auc(scores, same, np.ones((1, len(same))))[0])


def balanced_pairs(
    identities: Labels, *, seed: int, max_pairs: int = 20_000
) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Pairs of images, half of the same identity: rows a (P,), b (P,) with a < b, and same (P,), same pairs first.

    All same pairs and as many different ones, or a seeded uniform sample where that is more than `max_pairs`. No image
    is paired with itself, no pair is there twice. Where different pairs are fewer than same ones, they set the number.

    Raises NoseprintError where there is no same pair or no different one.
    """
    order = np.argsort(np.asarray(identities), kind="stable")
    _, size = np.unique(np.asarray(identities), return_counts=True)
    end = np.repeat(np.cumsum(size), size)  # of each image's identity, in sorted order
    place = np.arange(len(order))
    same_partners, other_partners = end - place - 1, len(order) - end
    number = int(min(same_partners.sum(), other_partners.sum(), max_pairs // 2))
    if number == 0:
        raise NoseprintError(
            f"{len(order)} images of {len(size)} identities give {int(same_partners.sum())} same and "
            f"{int(other_partners.sum())} different pairs: two identities, one of them with two images, are the least"
        )
    rng = np.random.default_rng(seed)
    drawn = [_draw(same_partners, place + 1, number, rng), _draw(other_partners, end, number, rng)]
    first, second = (order[np.concatenate([pair[side] for pair in drawn])] for side in (0, 1))
    return np.minimum(first, second), np.maximum(first, second), np.repeat([True, False], number)


def _draw(partners: Indices, start: Indices, number: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw `number` pairs (i, j): image i has the partners start[i] ... start[i] + partners[i] - 1."""
    last = np.cumsum(partners)
    rank = np.sort(rng.choice(int(last[-1]), size=number, replace=False, shuffle=False))
    first = np.searchsorted(last, rank, side="right")
    return first, start[first] + rank - (last[first] - partners[first])


def retrieval_metrics(
    embeddings: npt.NDArray[np.float32],
    identities: Labels,
    *,
    queries: npt.ArrayLike | None = None,
    gallery: npt.ArrayLike | None = None,
) -> RetrievalScores:
    """Recall@1 and mean average precision of queries against a gallery, by the dot products of embeddings (N, D).

    `queries` and `gallery` are rows or masks of the embeddings; without them each image is sought among all others. An
    image is never its own match. Average precision is the mean over the true matches of the precision at each one's
    similarity (scikit-learn's definition); ties count as retrieved together, and a tie at the top gives the share of
    true matches in it, so that embeddings that are all alike score chance. Queries without a true match are left out
    and counted. Memory: a block of queries x gallery, never N x N.

    Raises NoseprintError where no query has a true match, and for embeddings that are not finite.
    """
    _, label = np.unique(np.asarray(identities), return_inverse=True)
    rows = np.arange(len(label))
    query = rows if queries is None else rows[np.asarray(queries)]
    found = rows if gallery is None else rows[np.asarray(gallery)]
    if not np.isfinite(np.einsum("nd->", embeddings, dtype=np.float64)):
        raise NoseprintError("an embedding is not finite: the training diverged; lower the learning rate")
    target = embeddings if gallery is None else embeddings[found]
    column = np.full(len(label), -1)  # where in the gallery an image stands
    column[found] = np.arange(len(found))
    members = [found_at for _, found_at in _by_label(label[found], int(label.max(initial=-1)) + 1)]
    hit, precision, kept = [], [], []
    for part in _blocks(query, len(found)):
        similarity = embeddings[part] @ target.T
        own = column[part]
        similarity[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        for row, image in enumerate(part):
            matches = members[label[image]]
            matches = matches[matches != own[row]]
            if len(matches) == 0:
                continue
            true = np.sort(similarity[row, matches])
            ranked = np.sort(similarity[row][similarity[row] >= true[0]])  # what no match needs to pass is not sorted
            retrieved = len(ranked) - np.searchsorted(ranked, true, side="left")
            right = len(true) - np.searchsorted(true, true, side="left")
            top = ranked[-1]
            kept.append(image)
            precision.append(float(np.mean(right / retrieved)))
            hit.append(float(np.sum(true == top) / np.sum(ranked == top)))
    if not kept:
        raise NoseprintError(f"none of {len(query)} queries has a true match among {len(found)} gallery images")
    return RetrievalScores(
        recall_at_1=float(np.mean(hit)),
        map=float(np.mean(precision)),
        query=np.asarray(kept, dtype=np.intp),
        hit=np.asarray(hit),
        average_precision=np.asarray(precision),
        left_out=len(query) - len(kept),
    )


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


def bootstrap_auc(
    scores: Floats,
    same: npt.NDArray[np.bool_],
    cluster_a: Labels,
    cluster_b: Labels,
    *,
    seed: int,
    replicates: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval of `roc_auc`, resampling identities, since pairs that share one are not independent.

    `cluster_a`, `cluster_b` (P,) are the identities of the two images. A replicate draws as many identities as there
    are, with replacement; a pair weighs the product of how often its two were drawn, a pair within one identity how
    often that one was. Replicates that drew no same or no different pair are left out.

    Raises NoseprintError as `roc_auc`, and where no replicate is left.
    """
    scores, same = _checked(scores, same)
    names, cluster = np.unique(np.concatenate([np.asarray(cluster_a), np.asarray(cluster_b)]), return_inverse=True)
    a, b = cluster[: len(same)], cluster[len(same) :]
    values = []
    for times in _resampled(len(names), replicates, len(same), seed=seed):
        weight = times[:, a] * np.where(a == b, 1.0, times[:, b])
        values.append(_weighted_auc(scores, same, weight))
    return _interval(np.concatenate(values))


def bootstrap_mean(values: Floats, clusters: Labels, *, seed: int, replicates: int = 1000) -> tuple[float, float]:
    """95 % percentile interval of the mean of values (Q,), resampling the identities `clusters` (Q,) they belong to.

    Raises NoseprintError where there are no values.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    if len(cluster) == 0:
        raise NoseprintError("there are no values to give an interval for: no query was scored")
    total = np.bincount(cluster, weights=np.asarray(values, dtype=np.float64))
    size = np.bincount(cluster).astype(np.float64)
    means = [(times @ total) / (times @ size) for times in _resampled(len(names), replicates, len(names), seed=seed)]
    return _interval(np.concatenate(means))


def _resampled(clusters: int, replicates: int, width: int, *, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """How often each cluster is drawn in each replicate, in blocks (R, clusters) that leave room for (R, width)."""
    rng = np.random.default_rng(seed)
    chance = np.full(clusters, 1 / clusters)
    for part in _blocks(np.arange(replicates), max(clusters, width)):
        yield rng.multinomial(clusters, chance, size=len(part)).astype(np.float64)


def _weighted_auc(
    scores: npt.NDArray[np.float64], same: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """AUC (R,) of scores (P,) under each row of weights (R, P); nan where same or different pairs weigh nothing."""
    order = np.argsort(scores, kind="stable")
    start = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of each run of equal scores
    sorted_weight, sorted_same = weight[:, order], same[order]
    positive = np.add.reduceat(sorted_weight * sorted_same, start, axis=1)
    negative = np.add.reduceat(sorted_weight * ~sorted_same, start, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        raise NoseprintError(
            "no replicate holds both same and different pairs: there are too few identities for an interval"
        )
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _checked(scores: Floats, same: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, same = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    if values.shape != same.shape or values.ndim != 1:
        raise ValueError(f"scores {values.shape} and same {same.shape} are not two lists of one length")
    positives = int(same.sum())
    if positives in (0, len(same)):
        raise NoseprintError(
            f"ROC AUC needs same and different pairs, there are {positives} and {len(same) - positives}"
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise NoseprintError(
            f"{len(wrong)} of {len(values)} scores are not finite, first pair {wrong[0] + 1} ({values[wrong[0]]}): "
            "check the weights that gave them"
        )
    return values, same


def _blocks(items: Indices, width: int) -> Iterator[Indices]:
    step = max(1, _BLOCK_VALUES // max(1, width))
    return (items[start : start + step] for start in range(0, len(items), step))


def _by_label(label: Indices, count: int) -> Iterator[tuple[int, Indices]]:
    """The rows of each label 0 ... count - 1."""
    order = np.argsort(label, kind="stable")
    return enumerate(np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1]))
