"""Retrieval: how well queries find their identity in a gallery."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Embeddings, Indices, Labels, blocks

RANKS = (1, 5, 10)
_PRECISION_DEPTH = 5  # of Precision@5


@dataclass(frozen=True)
class RetrievalScores:
    """The scores of each of the Q queries that have a true match in the gallery.

    query: (Q,) rows of the embeddings. hit: (Q, len(RANKS)), 1 if a true match is among the first k, else 0; in between
    for ties. average_precision, precision_at_5: (Q,), 0..1. left_out: number of queries without a true match.
    """

    query: Indices
    hit: npt.NDArray[np.float64]
    average_precision: npt.NDArray[np.float64]
    precision_at_5: npt.NDArray[np.float64]
    left_out: int

    @property
    def rank_1(self) -> float:
        """Rank-1: the share of queries whose first answer is right."""
        return float(np.mean(self.hit[:, 0]))

    @property
    def map(self) -> float:
        """Mean average precision."""
        return float(np.mean(self.average_precision))


def retrieval_metrics(
    embeddings: Embeddings,
    identities: Labels,
    *,
    queries: npt.ArrayLike | None = None,
    gallery: npt.ArrayLike | None = None,
    encounters: Labels | None = None,
) -> RetrievalScores:
    """Rank-k, average precision and Precision@5 of queries against a gallery, ranked by cosine similarity.

    - Rank-k (cumulative match characteristic): a true match is among the first k.
    - Average precision: mean over the true matches of the precision at each one's similarity, as in scikit-learn; equal
      similarities are retrieved together.
    - Precision@5: the share of true matches among the first min(5, number of true matches), as in the Google Universal
      Image Embedding challenge (2022).

    If equal similarities leave the order open, Rank-k and Precision@5 are the means over all orders. So embeddings that
    are all alike score chance. Memory is bounded: N x N similarities are never held at once.

    embeddings: (N, D), rows of length 1. identities: (N,). queries, gallery: rows or a mask of the embeddings; None:
    every image. An image is never its own match. encounters: (N,). A gallery image of the query's identity and
    encounter is ignored: it is the "junk" of Market-1501 (Zheng et al. 2015).
    Raises NoseprintError if no query has a true match, or an embedding is not finite.
    """
    _, label = np.unique(np.asarray(identities), return_inverse=True)
    rows = np.arange(len(label))
    encounter = rows if encounters is None else np.unique(np.asarray(encounters), return_inverse=True)[1]
    query_rows = rows if queries is None else rows[np.asarray(queries)]
    gallery_rows = rows if gallery is None else rows[np.asarray(gallery)]
    if not np.isfinite(np.einsum("nd->", embeddings, dtype=np.float64)):
        raise NoseprintError("an embedding is not finite: the training diverged; lower the learning rate")
    gallery_embeddings = embeddings if gallery is None else embeddings[gallery_rows]
    counts = np.bincount(label[gallery_rows], minlength=int(label.max(initial=-1)) + 1)
    images_of_label = np.split(np.argsort(label[gallery_rows], kind="stable"), np.cumsum(counts)[:-1])
    scored, hit, average_precision, precision_at_5 = [], [], [], []
    for block in blocks(query_rows, len(gallery_rows)):
        similarity = embeddings[block] @ gallery_embeddings.T
        for row, image in zip(similarity, block, strict=True):
            matches = images_of_label[label[image]]
            junk = encounter[gallery_rows[matches]] == encounter[image]
            row[matches[junk]] = -np.inf
            matches = matches[~junk]
            if len(matches) == 0:
                continue
            true = np.sort(row[matches])
            ranked = np.sort(row[row >= true[0]])  # the rest cannot change any score
            retrieved = len(ranked) - np.searchsorted(ranked, true, side="left")
            right = len(true) - np.searchsorted(true, true, side="left")
            scored.append(image)
            hit.append(_hits(ranked, true))
            average_precision.append(float(np.mean(right / retrieved)))
            precision_at_5.append(_precision(ranked, true))
    if not scored:
        apart = "" if encounters is None else " from another encounter"
        raise NoseprintError(
            f"none of {len(query_rows)} queries has a true match{apart} among {len(gallery_rows)} gallery images"
        )
    return RetrievalScores(
        query=np.asarray(scored, dtype=np.intp),
        hit=np.asarray(hit),
        average_precision=np.asarray(average_precision),
        precision_at_5=np.asarray(precision_at_5),
        left_out=len(query_rows) - len(scored),
    )


def _hits(ranked: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> list[float]:
    """For each k in RANKS, the probability that one of `true` is among the first k of `ranked`, ties in random order.

    Both are sorted, lowest first.
    """
    above = len(ranked) - int(np.searchsorted(ranked, true[-1], side="right"))
    tied = int(np.sum(ranked == true[-1]))
    wrong = tied - int(np.sum(true == true[-1]))
    chances = []
    for k in RANKS:
        drawn = np.arange(min(max(k - above, 0), tied))  # ranks that are filled from the best true match's tie
        chances.append(1 - float(np.prod(np.maximum(wrong - drawn, 0) / (tied - drawn))))
    return chances


def _precision(ranked: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """The expected share of `true` among the first min(5, len(true)) of `ranked`, ties in random order."""
    first = min(_PRECISION_DEPTH, len(true))
    last = ranked[-first]
    above, right = np.sum(ranked > last), np.sum(true > last)
    share = np.sum(true == last) / np.sum(ranked == last)
    return float(right + (first - above) * share) / first
