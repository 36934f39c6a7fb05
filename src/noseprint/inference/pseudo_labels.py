"""Pseudo-labels: unlabelled images that very likely show the same individual become training identities."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.calibration.operating_points import PAIRS_NEEDED
from noseprint.calibration.thresholds import separating_similarity, threshold_at_precision
from noseprint.data.names import alike_form
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES, percentile_interval, resampled_pair_weights
from noseprint.metrics.holdout_scores import HoldoutPairs
from noseprint.metrics.similarity import Pairs, pair_similarities, row_similarities

Pair = tuple[str, str]
Similarities = npt.NDArray[np.floating]
Cross = Callable[[Sequence[str], Sequence[str]], Similarities]


@dataclass(frozen=True)
class Refusal:
    """A pair that was chosen, but would have joined two images that are too dissimilar."""

    pair: Pair
    similarity: float
    contradiction: Pair
    """The least similar images that the pair would have joined."""
    contradiction_similarity: float


@dataclass(frozen=True)
class Merge:
    """Groups of images that pairs were merged into."""

    groups: list[list[str]]
    """Each image is in one group at most."""
    refused: list[Refusal]
    merged: int
    """How many pairs enlarged a group."""


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels, and how they were made."""

    rows: list[tuple[str, str]]
    """(identity, image) of each row of pseudo.csv."""
    summary: dict[str, Any]
    """Content of pseudo.json."""


def select_pseudo_pairs(
    similarity: Similarities, *, threshold: float | None = None, count: int | None = None
) -> npt.NDArray[np.intp]:
    """The rows of `similarity` (P,) with at least `threshold`, or the `count` best rows (all, if there are fewer).

    The most similar comes first; equal ones stand in their order. Raises ValueError unless exactly one of `threshold`
    and `count` is given.
    """
    if (threshold is None) == (count is None):
        raise ValueError("give either threshold or count")
    order = np.argsort(-np.asarray(similarity, dtype=np.float64), kind="stable")
    if threshold is None:
        return order[:count]
    return order[np.asarray(similarity, dtype=np.float64)[order] >= threshold]


def cross_similarities(embeddings: npt.NDArray[np.float32], index: Mapping[str, int]) -> Cross:
    """Make a function that returns the similarities (A, B) of A and B image names, as `pair_similarities` would."""

    def similarity_of(images_a: Sequence[str], images_b: Sequence[str]) -> Similarities:
        a = np.repeat([index[name] for name in images_a], len(images_b))
        b = np.tile([index[name] for name in images_b], len(images_a))
        return row_similarities(embeddings, a, b).reshape(len(images_a), len(images_b))

    return similarity_of


def merge_pairs(pairs: Sequence[Pair], similarity: Similarities, similarity_of: Cross, *, refuse_below: float) -> Merge:
    """Merge pairs that share images into groups, the most similar pair first.

    A pair joins the groups of its two images, unless an image of one group and an image of the other are less similar
    than `refuse_below`. So a chain of look-alikes breaks at its weakest link, and does not become one individual. A
    refused pair changes no group. A pair of an image with itself is ignored.

    Args:
        pairs: P pairs of image names.
        similarity: (P,); equal ones are merged in their order.
        similarity_of: Returns the similarities of any images (see `cross_similarities`).
        refuse_below: The lowest similarity that two images of a group may have.

    Returns:
        Groups of two or more images, in the order in which the pairs first name one of their images.
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


def produce_pseudo_labels(
    pairs: Pairs,
    embeddings: npt.NDArray[np.float32],
    index: Mapping[str, int],
    *,
    holdout: HoldoutPairs | None,
    precision: float = 0.95,
    count: int | None = None,
    labelled: Collection[str] = (),
) -> PseudoLabels:
    """Choose pairs that are very likely the same, merge them, and name the identities `pseudo-0000` and so on.

    By default, every pair is chosen whose similarity reaches the threshold at which `precision` of the balanced
    hold-out pairs are the same (`threshold_at_precision`). With `count`, the `count` most similar distinct pairs are
    chosen, as in 2022; that needs no hold-out, but takes wrong pairs from a small table and leaves good ones in a large
    table.

    A merge is refused if it would join two images that are less similar than the similarity that best separates same
    from different hold-out pairs (`separating_similarity`), or than the threshold if that is lower. Without a hold-out,
    the limit is the similarity of the worst chosen pair.

    The precision in the summary is that of the hold-out. The true one is lower if the unlabelled photographs are worse
    than the labelled ones, or if fewer than half of their pairs are the same.

    Args:
        pairs: Pairs of unlabelled images.
        embeddings: (N, D), rows of length 1.
        index: Row of each image in `embeddings`.
        holdout: Balanced pairs of the hold-out; None if there is none.
        precision: Share of same pairs that is required of the chosen ones, 0..1.
        count: Choose this many pairs instead.
        labelled: Identities in use; the prefix is repeated until none of them starts with it or is alike to a new one.

    Returns:
        Rows that start with the identity of the most similar pair, and a summary.

    Raises:
        NoseprintError: There is neither a hold-out nor a `count`, `count` is below 1, or as for `pair_similarities`.
    """
    if count is not None and count < 1:
        raise NoseprintError(f"count {count}: must be at least 1")
    if holdout is None and count is None:
        raise NoseprintError(
            "there are no hold-out pairs to set the threshold by: hold out identities (a share above 0), "
            "or give the number of pairs to choose with a count"
        )
    similarity = pair_similarities(embeddings, index, pairs)
    names, first_rows = _distinct_pairs(pairs)
    similarity = similarity[first_rows]
    if count is not None:
        chosen = select_pseudo_pairs(similarity, count=count)
        threshold = float(similarity[chosen[-1]]) if len(chosen) else None
    else:
        assert holdout is not None
        threshold = threshold_at_precision(holdout.similarity, holdout.same, precision)
        chosen = select_pseudo_pairs(similarity, threshold=np.inf if threshold is None else threshold)
    refuse_below = threshold
    if holdout is not None:
        refuse_below = separating_similarity(holdout.similarity, holdout.same)
        if count is None and threshold is not None:
            refuse_below = min(refuse_below, threshold)
    merge = merge_pairs(
        [names[row] for row in chosen],
        similarity[chosen],
        cross_similarities(embeddings, index),
        refuse_below=-np.inf if refuse_below is None else refuse_below,
    )
    rows = _name_groups(merge.groups, labelled)
    summary = {
        "rule": "count" if count is not None else "precision",
        "asked": count if count is not None else precision,
        "pairs": len(pairs.image_a),
        "distinct_pairs": len(names),
        "threshold": threshold,
        "refuse_below": refuse_below,
        "accepted": len(chosen),
        "merged": merge.merged,
        "refused": [_describe(refusal) for refusal in merge.refused],
        "identities": len(merge.groups),
        "images": len(rows),
        "estimated_precision": _precision(holdout, threshold),
    }
    return PseudoLabels(rows, summary)


def _distinct_pairs(pairs: Pairs) -> tuple[list[Pair], npt.NDArray[np.intp]]:
    """Pairs of two different images, each once in either order, and the first row of each."""
    first: dict[frozenset[str], int] = {}
    for row, pair in enumerate(zip(pairs.image_a, pairs.image_b, strict=True)):
        if pair[0] != pair[1]:
            first.setdefault(frozenset(pair), row)
    rows = np.fromiter(first.values(), dtype=np.intp, count=len(first))
    return [(pairs.image_a[row], pairs.image_b[row]) for row in rows], rows


def _name_groups(groups: list[list[str]], labelled: Collection[str]) -> list[tuple[str, str]]:
    prefix = "pseudo-"
    while any(
        identity.startswith(prefix) or re.fullmatch(rf"{alike_form(prefix)}\d+", alike_form(identity))
        for identity in labelled
    ):
        prefix = "pseudo-" + prefix
    return [(f"{prefix}{number:04d}", image) for number, group in enumerate(groups) for image in group]


def _describe(refusal: Refusal) -> dict[str, Any]:
    (a, b), (c, d) = refusal.pair, refusal.contradiction
    return {
        "imageA": a,
        "imageB": b,
        "similarity": refusal.similarity,
        "reason": f"would join {c} and {d}, whose similarity is {refusal.contradiction_similarity:.4f}",
    }


def _precision(holdout: HoldoutPairs | None, threshold: float | None) -> dict[str, float | int] | None:
    """Share of same pairs among the hold-out pairs that reach the threshold, with a 95 % interval; None if none do.

    The interval is from a bootstrap over individuals. Where nearly all pairs are right it would be too narrow, so it
    also reaches down to 1 - 3 / individuals (the rule of three, see `least_supported_fmr`).
    """
    if holdout is None or threshold is None:
        return None
    above = np.asarray(holdout.similarity, dtype=np.float64) >= threshold
    if not above.any():
        return None
    same = np.asarray(holdout.same, dtype=bool)[above]
    a, b = np.asarray(holdout.identity_a)[above], np.asarray(holdout.identity_b)[above]
    individuals, precision = len(np.union1d(a, b)), float(same.mean())
    low, high = 0.0, 1.0
    if individuals >= MIN_IDENTITIES:
        weights = resampled_pair_weights(a, b, seed=0)
        with np.errstate(invalid="ignore"):  # a replicate without any of these pairs
            shares = np.concatenate([weight @ same / weight.sum(axis=1) for weight in weights])
        low, high = percentile_interval(shares, identities=individuals)
        low = max(min(low, precision, 1 - PAIRS_NEEDED / individuals), 0.0)
    return {
        "precision": precision,
        "low": low,
        "high": max(high, precision),
        "pairs": len(same),
        "same": int(same.sum()),
        "individuals": individuals,
    }
