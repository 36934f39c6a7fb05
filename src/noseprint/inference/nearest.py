"""The gallery images most similar to each query."""

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import blocks, clip_cosines

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
_GALLERY_BLOCK, _QUERY_BLOCK = 2**14, 256


def nearest_images(queries: Floats, gallery: Floats, *, k: int) -> tuple[Rows, Floats]:
    """Find the `k` gallery rows most similar to each query.

    The search is exact: the similarities are those of `row_similarities`, whatever the block sizes and the number of
    threads. The gallery is read once, block by block, so it can be a `numpy.memmap`.

    Args:
        queries: (Q, D), rows of length 1 at most.
        gallery: (N, D), rows of length 1 at most.
        k: Images to find for each query; at most N are found.

    Returns:
        Gallery rows (Q, k) and their similarities (Q, k), the most similar first. Equal similarities stand in the order
        of the gallery.

    Raises:
        NoseprintError: The widths differ, there is nothing to find, or an embedding is not finite.
    """
    k = check_searchable(queries, gallery, k=k)
    queries = np.ascontiguousarray(queries)
    rows = np.full((len(queries), k), -1, dtype=np.intp)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    error = np.float32(queries.shape[1] * 2**-22)  # a product of two rows and their similarity differ by less
    for start in range(0, len(gallery), _GALLERY_BLOCK):
        block = np.asarray(gallery[start : start + _GALLERY_BLOCK])
        if not np.isfinite(block.sum()):
            raise NoseprintError("an embedding of the gallery is not finite: its weights are damaged; embed it again")
        for first in range(0, len(queries), _QUERY_BLOCK):
            part = slice(first, first + _QUERY_BLOCK)
            product = queries[part] @ block.T
            kth_best = similarity[part, -1]
            if start == 0 and k < len(block):
                kth_best = np.partition(product, -k, axis=1)[:, -k] - error
            query, column = np.divmod(np.flatnonzero(product >= (kth_best - error)[:, None]), len(block))
            rows[part], similarity[part] = _best_of(
                np.concatenate([np.repeat(np.arange(len(product)), k), query]),
                np.concatenate([rows[part].ravel(), start + column]),
                np.concatenate([similarity[part].ravel(), _similarities(queries[part], block, query, column)]),
                k=k,
            )
    return rows, similarity


def rank_candidates(queries: Floats, gallery: Floats, candidates: Rows, *, k: int) -> tuple[Rows, Floats]:
    """Find the `k` most similar of each query's `candidates` (Q, C): distinct gallery rows, or -1 for none.

    Returns gallery rows and similarities as `nearest_images` does; -1 and -inf if a query has too few candidates.
    """
    rows = np.empty((len(queries), k), dtype=np.intp)
    similarity = np.empty((len(queries), k), dtype=np.float32)
    for first in range(0, len(queries), _QUERY_BLOCK):
        part = slice(first, first + _QUERY_BLOCK)
        row = candidates[part].ravel()
        query = np.repeat(np.arange(len(row) // candidates.shape[1]), candidates.shape[1])
        value = np.where(row < 0, -np.inf, _similarities(queries[part], gallery, query, row))
        rows[part], similarity[part] = _best_of(query, row, value, k=k)
    return rows, similarity


def expand_queries(queries: Floats, gallery: Floats, *, k: int) -> Floats:
    """Move each query towards its `k` nearest gallery images (alpha query expansion, alpha = 3).

    The moved query is the normalised sum of the query and of s**3 g for each of these images g, where s is its
    similarity to the query. Images with a negative similarity have no weight. Source: Radenović et al., "Fine-tuning
    CNN image retrieval with no human annotation", arXiv 1711.02512.

    Args:
        queries: (Q, D), rows of length 1.
        gallery: (N, D), rows of length 1.
        k: Images that a query is moved towards.

    Returns:
        (Q, D) float32, rows of length 1.

    Raises:
        NoseprintError: As for `nearest_images`.
    """
    rows, similarity = nearest_images(queries, gallery, k=k)
    expanded = np.array(queries, dtype=np.float32)
    for row, weight in zip(rows.T, np.clip(similarity.T, 0, None) ** 3, strict=True):  # one neighbour of every query
        expanded += weight[:, None] * gallery[row]
    length = np.linalg.norm(expanded, axis=1, keepdims=True)
    return np.asarray(expanded / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)


def check_searchable(queries: Floats, gallery: Floats, *, k: int) -> int:
    """Return how many images can be found for each query: `k`, or as many as the gallery has.

    Raises NoseprintError if the widths differ, there is nothing to find, or a query is not finite.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise NoseprintError(
            f"the queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}: "
            "embed both with the same networks"
        )
    if k < 1 or not len(gallery):
        raise NoseprintError("nothing to search: the gallery is empty, or fewer than one result was requested")
    if not np.isfinite(queries.sum()):
        raise NoseprintError("an embedding of the queries is not finite: the network's weights are damaged")
    return min(k, len(gallery))


def _similarities(queries: Floats, gallery: Floats, query: Rows, row: Rows) -> Floats:
    """Similarities (P,) of the pairs (query, row), as by `row_similarities`."""
    out = np.empty(len(query), dtype=np.float32)
    for part in blocks(np.arange(len(query)), queries.shape[1]):
        out[part] = clip_cosines(np.einsum("pd,pd->p", queries[query[part]], gallery[row[part]]))
    return out


def _best_of(query: Rows, row: Rows, similarity: Floats, *, k: int) -> tuple[Rows, Floats]:
    """The `k` best of the pairs (query, row) of each query: rows and similarities (Q, k), equal ones by row.

    Every query 0..Q-1 must have `k` pairs at least.
    """
    order = np.lexsort((row, -similarity, query))
    first = np.searchsorted(query[order], np.arange(query.max(initial=-1) + 1))
    best = order[first[:, None] + np.arange(k)]
    return row[best], similarity[best]
