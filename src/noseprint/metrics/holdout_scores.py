"""Verification and retrieval on the hold-out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.metrics.similarity import Embeddings, Flags, row_similarities
from noseprint.metrics.verification import roc_auc


@dataclass(frozen=True)
class HoldoutPairs:
    """Balanced pairs (P,) of held-out images: their similarities, whether both show one identity, and the two."""

    similarity: npt.NDArray[np.floating]
    same: Flags
    identity_a: npt.NDArray[np.str_]
    identity_b: npt.NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class HoldoutScores(HoldoutPairs):
    """ROC AUC on the balanced pairs, Rank-1 and mAP of each image against all others.

    average_precision, queried: the average precision and the identity of each image that has a match (Q,).
    """

    auc: float
    rank_1: float
    map: float
    average_precision: npt.NDArray[np.float64]
    queried: npt.NDArray[np.str_]


def evaluate_holdout(
    embeddings: Embeddings,
    identities: Sequence[str],
    *,
    seed: int,
    max_pairs: int = 20_000,
    encounters: Sequence[str] | None = None,
) -> HoldoutScores:
    """Score embeddings (N, D) of held-out images.

    embeddings: (N, D), rows of length 1. identities: (N,). seed: of the balanced pairs, which depend on nothing else.
    encounters: (N,). Two photographs of one identity and one encounter are near copies: they are no pair, and the
    search ignores them.
    Raises NoseprintError if there is no same pair or no different pair, or an embedding is not finite.
    """
    retrieval = retrieval_metrics(embeddings, identities, encounters=encounters)
    a, b, same = balanced_pairs(identities, seed=seed, max_pairs=max_pairs, encounters=encounters)
    similarity = row_similarities(embeddings, a, b)
    names = np.asarray(identities)
    auc = roc_auc(similarity, same)
    return HoldoutScores(
        auc=auc,
        rank_1=retrieval.rank_1,
        map=retrieval.map,
        average_precision=retrieval.average_precision,
        queried=names[retrieval.query],
        similarity=similarity,
        same=same,
        identity_a=names[a],
        identity_b=names[b],
    )
