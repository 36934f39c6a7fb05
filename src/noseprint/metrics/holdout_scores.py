"""What held-out photographs say of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.metrics.similarity import row_similarities
from noseprint.metrics.verification import roc_auc


@dataclass(frozen=True)
class HoldoutScores:
    """ROC AUC on balanced pairs, Rank-1 and mAP (each image against all others), and the pairs for calibration."""

    auc: float
    rank_1: float
    map: float
    similarity: npt.NDArray[np.float32]
    same: npt.NDArray[np.bool_]
    identity_a: npt.NDArray[np.str_]
    identity_b: npt.NDArray[np.str_]


def evaluate_holdout(
    embeddings: npt.NDArray[np.float32],
    identities: Sequence[str],
    *,
    seed: int,
    max_pairs: int = 20_000,
    encounters: Sequence[str] | None = None,
) -> HoldoutScores:
    """Score embeddings (N, D) of held-out images; `identities` (N,). The pairs depend on the seed alone.

    Two photographs of one identity from one of `encounters` (N,) are near copies and flatter: they are no pair, and in
    the search neither right nor wrong.
    Raises NoseprintError where there is no same pair or no different one, or an embedding is not finite.
    """
    retrieval = retrieval_metrics(embeddings, identities, encounters=encounters)
    a, b, same = balanced_pairs(identities, seed=seed, max_pairs=max_pairs, encounters=encounters)
    similarity = row_similarities(embeddings, a, b)
    names = np.asarray(identities)
    auc = roc_auc(similarity, same)
    return HoldoutScores(auc, retrieval.rank_1, retrieval.map, similarity, same, names[a], names[b])
