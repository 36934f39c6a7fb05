"""How well queries find their identity in a gallery."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.blocks import Indices, Labels, blocks

RANKS = (1, 5, 10)
_DEPTH = 5  # of Precision@5


@dataclass(frozen=True)
class RetrievalScores:
    """What each of the Q queries that have a true match in the gallery scored, for means and their intervals.

    `query` (Q,) are rows of the embeddings; `hit` (Q, len(RANKS)) says whether a true match is among the first k,
    `average_precision` and `precision_at_5` (Q,) lie in 0..1; `left_out` queries had no match.
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
    embeddings: npt.NDArray[np.float32],
    identities: Labels,
    *,
    queries: npt.ArrayLike | None = None,
    gallery: npt.ArrayLike | None = None,
    encounters: Labels | None = None,
) -> RetrievalScores:
    """Rank-k, average precision and Precision@5 of queries against a gallery, by dot products of embeddings (N, D).

    `queries` and `gallery` are rows or masks of the embeddings; without them each image is sought among all others. An
    image is never its own match. Of one identity and one of `encounters` (N,) a gallery image is neither right nor
    wrong for the query: not there (the "junk" of Market-1501, Zheng et al. 2015).

    Rank-k: whether one of the first k is right (cumulative match characteristic). Average precision: the mean over the
    true matches of the precision at each one's similarity (scikit-learn's definition); ties count as retrieved
    together. Precision@5: the share of right ones among the first min(5, true matches) (Google Universal Image
    Embedding challenge, 2022). Where a tie leaves open which images are first, Rank-k and Precision@5 are their mean
    over all orders, so embeddings that are all alike score chance. Queries without a true match are left out and
    counted. Memory: a block of queries x gallery, never N x N.

    Raises NoseprintError where no query has a true match, and for embeddings that are not finite.
    """
    _, label = np.unique(np.asarray(identities), return_inverse=True)
    rows = np.arange(len(label))
    met = rows if encounters is None else np.unique(np.asarray(encounters), return_inverse=True)[1]
    query = rows if queries is None else rows[np.asarray(queries)]
    found = rows if gallery is None else rows[np.asarray(gallery)]
    if not np.isfinite(np.einsum("nd->", embeddings, dtype=np.float64)):
        raise NoseprintError("an embedding is not finite: the training diverged; lower the learning rate")
    target = embeddings if gallery is None else embeddings[found]
    counts = np.bincount(label[found], minlength=int(label.max(initial=-1)) + 1)
    members = np.split(np.argsort(label[found], kind="stable"), np.cumsum(counts)[:-1])  # gallery images by label
    hit, precision, first_right, kept = [], [], [], []
    for part in blocks(query, len(found)):
        similarity = embeddings[part] @ target.T
        for row, image in zip(similarity, part, strict=True):
            matches = members[label[image]]
            junk = met[found[matches]] == met[image]
            row[matches[junk]] = -np.inf
            matches = matches[~junk]
            if len(matches) == 0:
                continue
            true = np.sort(row[matches])
            ranked = np.sort(row[row >= true[0]])  # what no match needs to pass is not sorted
            retrieved = len(ranked) - np.searchsorted(ranked, true, side="left")
            right = len(true) - np.searchsorted(true, true, side="left")
            kept.append(image)
            precision.append(float(np.mean(right / retrieved)))
            hit.append(_hits(ranked, true))
            first_right.append(_precision(ranked, true))
    if not kept:
        elsewhere = "" if encounters is None else " of another encounter"
        raise NoseprintError(
            f"none of {len(query)} queries has a true match{elsewhere} among {len(found)} gallery images"
        )
    return RetrievalScores(
        query=np.asarray(kept, dtype=np.intp),
        hit=np.asarray(hit),
        average_precision=np.asarray(precision),
        precision_at_5=np.asarray(first_right),
        left_out=len(query) - len(kept),
    )


def _hits(ranked: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> list[float]:
    """The chance that one of `true` is among the first k of `ranked` (both rising) for each of RANKS, ties shuffled."""
    above = len(ranked) - int(np.searchsorted(ranked, true[-1], side="right"))
    tied = int(np.sum(ranked == true[-1]))
    wrong = tied - int(np.sum(true == true[-1]))
    chances = []
    for k in RANKS:
        drawn = np.arange(min(max(k - above, 0), tied))  # from the tie, which holds the best true match
        chances.append(1 - float(np.prod(np.maximum(wrong - drawn, 0) / (tied - drawn))))
    return chances


def _precision(ranked: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """The share of `true` expected among the first min(5, len(true)) of `ranked` (both rising), ties shuffled."""
    first = min(_DEPTH, len(true))
    last = ranked[-first]
    above, right = np.sum(ranked > last), np.sum(true > last)
    share = np.sum(true == last) / np.sum(ranked == last)
    return float(right + (first - above) * share) / first
