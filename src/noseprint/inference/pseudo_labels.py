"""Pseudo-identities: pairs of unlabelled images that are very likely the same become training identities."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from noseprint.calibration.thresholds import separating_similarity, threshold_at_precision
from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Pairs, pair_similarities, row_similarities

Pair = tuple[str, str]
Similarities = npt.NDArray[np.floating]
Cross = Callable[[Sequence[str], Sequence[str]], Similarities]


@dataclass(frozen=True)
class Refusal:
    """A pair that was accepted by its similarity, but would have joined images that contradict it."""

    pair: Pair
    similarity: float
    contradiction: Pair
    contradiction_similarity: float


@dataclass(frozen=True)
class Merge:
    """Groups of images (each image in one group at most), the refused pairs, and how many pairs grew a group."""

    groups: list[list[str]]
    refused: list[Refusal]
    merged: int


@dataclass(frozen=True)
class PseudoLabels:
    """Rows (identity, image) of the pseudo-labelled table, and the summary that goes beside it as JSON."""

    rows: list[tuple[str, str]]
    summary: dict[str, Any]


def select_pseudo_pairs(
    similarity: Similarities, *, threshold: float | None = None, count: int | None = None
) -> npt.NDArray[np.intp]:
    """Rows of `similarity` (P,) that are at least `threshold`, or the best `count` (all, if fewer).

    Exactly one of the two is given. In order of falling similarity, ties in the order of the input.
    """
    if (threshold is None) == (count is None):
        raise ValueError("give either threshold or count")
    order = np.argsort(-np.asarray(similarity, dtype=np.float64), kind="stable")
    if threshold is None:
        return order[:count]
    return order[np.asarray(similarity, dtype=np.float64)[order] >= threshold]


def cross_similarities(embeddings: npt.NDArray[np.float32], index: Mapping[str, int]) -> Cross:
    """A function of two lists of image names that gives their similarities (A, B), as `pair_similarities` does."""

    def similarity_of(images_a: Sequence[str], images_b: Sequence[str]) -> Similarities:
        a = np.repeat([index[name] for name in images_a], len(images_b))
        b = np.tile([index[name] for name in images_b], len(images_a))
        return row_similarities(embeddings, a, b).reshape(len(images_a), len(images_b))

    return similarity_of


def merge_pairs(pairs: Sequence[Pair], similarity: Similarities, similarity_of: Cross, *, refuse_below: float) -> Merge:
    """Make groups of `pairs` that share images, best pair first (`similarity` (P,); ties in the order of the input).

    A pair joins the groups of its two images unless some image of the one and some image of the other are less similar
    than `refuse_below`: of a chain of look-alikes the weakest link is refused, not one dog made of many. A refused pair
    is dropped; what its images were in before stays. A pair of an image with itself is passed over.
    Groups have at least two images and stand in the order in which the pairs, best first, name one of their images.
    """
    group_of: dict[str, list[str]] = {}
    refused, merged = [], 0
    for row in np.argsort(-np.asarray(similarity, dtype=np.float64), kind="stable"):
        a, b = pairs[row]
        group_a, group_b = (group_of.setdefault(image, [image]) for image in (a, b))
        if group_a is group_b:
            continue
        cross = similarity_of(group_a, group_b)
        worst = int(np.argmin(cross))
        if cross.flat[worst] < refuse_below:
            contradiction = group_a[worst // len(group_b)], group_b[worst % len(group_b)]
            refused.append(Refusal((a, b), float(similarity[row]), contradiction, float(cross.flat[worst])))
            continue
        merged += len(group_a) + len(group_b) > 2
        larger, smaller = (group_a, group_b) if len(group_a) >= len(group_b) else (group_b, group_a)
        larger.extend(smaller)
        group_of.update(dict.fromkeys(smaller, larger))
    groups = {id(group): group for group in group_of.values()}.values()
    return Merge([group for group in groups if len(group) > 1], refused, merged)


def produce_pseudo(
    pairs: Pairs,
    embeddings: npt.NDArray[np.float32],
    index: Mapping[str, int],
    *,
    holdout_similarity: Similarities | None,
    holdout_same: npt.NDArray[np.bool_] | None,
    precision: float = 0.95,
    count: int | None = None,
    labelled: Collection[str] = (),
) -> PseudoLabels:
    """Choose pairs that are the same, merge them, name the identities `pseudo-0000`, ... from the best pair on.

    The default rule takes every pair from the similarity on at which `precision` of the balanced hold-out pairs are
    right (`threshold_at_precision`), be that none or all. A fixed best 500 is no judgement: it takes every pair of a
    table that holds 500 pairs, however wrong, and most of the good ones of a larger table it leaves. `count` still
    asks for it: the best `count` distinct pairs, for runs without a hold-out and for repeating the original.

    A merge is refused where two images are less similar than the similarity that parts same from different on the
    hold-out best (`separating_similarity`; the threshold, if lower). So `count` does not force in pairs that look
    different. Without a hold-out nothing tells how far apart one dog's photographs lie: the worst chosen pair counts.
    `labelled` are the identities in use: the prefix is made longer until no name of theirs begins with it.
    The precision reported is the hold-out's. Where the unlabelled photographs are worse than the labelled ones, or
    fewer than half of their pairs are the same, the true one is lower.

    Raises NoseprintError for `count` and hold-out both missing, a `count` below 1, and as `pair_similarities`.
    """
    if count is not None and count < 1:
        raise NoseprintError(f"count {count} is below 1: ask for at least one pair")
    holdout = None if holdout_similarity is None or holdout_same is None else (holdout_similarity, holdout_same)
    if holdout is None and count is None:
        raise NoseprintError(
            "there are no hold-out pairs to choose a similarity by: hold out identities (a share above 0), "
            "or say how many of the best pairs to take with a count"
        )
    similarity = pair_similarities(embeddings, index, pairs)
    names, first_rows = _distinct(pairs)
    similarity = similarity[first_rows]
    if count is not None:
        chosen = select_pseudo_pairs(similarity, count=count)
        threshold = float(similarity[chosen[-1]]) if len(chosen) else None
    else:
        assert holdout is not None
        threshold = threshold_at_precision(*holdout, precision)
        chosen = select_pseudo_pairs(similarity, threshold=np.inf if threshold is None else threshold)
    refuse_below = threshold
    if holdout is not None:
        refuse_below = separating_similarity(*holdout)
        if count is None and threshold is not None:
            refuse_below = min(refuse_below, threshold)
    merge = merge_pairs(
        [names[row] for row in chosen],
        similarity[chosen],
        cross_similarities(embeddings, index),
        refuse_below=-np.inf if refuse_below is None else refuse_below,
    )
    rows = _named(merge.groups, labelled)
    summary = {
        "rule": "count" if count is not None else "precision",
        "asked": count if count is not None else precision,
        "pairs": len(pairs.image_a),
        "distinct_pairs": len(names),
        "threshold": threshold,
        "refuse_below": refuse_below,
        "accepted": len(chosen),
        "merged": merge.merged,
        "refused": [_described(refusal) for refusal in merge.refused],
        "identities": len(merge.groups),
        "images": len(rows),
        "estimated_precision": _precision(holdout, threshold),
    }
    return PseudoLabels(rows, summary)


def _distinct(pairs: Pairs) -> tuple[list[Pair], npt.NDArray[np.intp]]:
    """Pairs of two images, each once whichever comes first, and the row it stands on first."""
    first: dict[frozenset[str], int] = {}
    for row, pair in enumerate(zip(pairs.image_a, pairs.image_b, strict=True)):
        if pair[0] != pair[1]:
            first.setdefault(frozenset(pair), row)
    rows = np.fromiter(first.values(), dtype=np.intp, count=len(first))
    return [(pairs.image_a[row], pairs.image_b[row]) for row in rows], rows


def _named(groups: list[list[str]], labelled: Collection[str]) -> list[tuple[str, str]]:
    prefix = "pseudo-"
    while any(identity.startswith(prefix) for identity in labelled):
        prefix = "pseudo-" + prefix
    return [(f"{prefix}{number:04d}", image) for number, group in enumerate(groups) for image in group]


def _described(refusal: Refusal) -> dict[str, Any]:
    (a, b), (c, d) = refusal.pair, refusal.contradiction
    return {
        "imageA": a,
        "imageB": b,
        "similarity": refusal.similarity,
        "reason": f"would join {c} and {d}, whose similarity is {refusal.contradiction_similarity:.4f}",
    }


def _precision(
    holdout: tuple[Similarities, npt.NDArray[np.bool_]] | None, threshold: float | None
) -> dict[str, float | int] | None:
    """Share of hold-out pairs at or above the threshold that are the same, with its 95 % interval; None if none are."""
    if holdout is None or threshold is None:
        return None
    above = np.asarray(holdout[1], dtype=bool)[np.asarray(holdout[0], dtype=np.float64) >= threshold]
    if len(above) == 0:
        return None
    low, high = binomtest(int(above.sum()), len(above)).proportion_ci(method="wilson")
    return {"precision": float(above.mean()), "low": low, "high": high, "pairs": len(above), "same": int(above.sum())}
