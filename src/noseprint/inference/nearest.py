"""The most similar gallery images of each query."""

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from noseprint.errors import NoseprintError
from noseprint.inference.sieve import Sieve, coarse_type, float_sieve
from noseprint.metrics.similarity import row_similarities

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
_GALLERY_BLOCK, _QUERY_BLOCK = 2**14, 256
_FEW = 16  # queries for which a block is not worth rounding


def search(queries: Floats, gallery: Floats, *, k: int) -> tuple[Rows, Floats]:
    """The `k` rows of `gallery` (N, D) most similar to each of `queries` (Q, D): rows (Q, k), similarities (Q, k).

    Exact: similarities are those of `row_similarities`, falling, and equal ones stand in the order of the gallery. The
    result depends neither on blocks nor on threads. Rows have length 1 at most. The gallery may lie on disk
    (`numpy.memmap`), it is read once; memory beyond input and output is about 2**14 rows of D and 2**14 x 256 numbers.
    k is cut to N. Raises NoseprintError for another width, no gallery, and embeddings that are not finite.
    """
    nearest = Nearest(queries, width=gallery.shape[1], k=min(k, len(gallery)))
    sieve = float_sieve(queries, coarse_type() if len(queries) > _FEW else torch.float32)
    everyone = np.arange(len(queries))
    for start in range(0, len(gallery), _GALLERY_BLOCK):
        block = gallery[start : start + _GALLERY_BLOCK]
        exact = torch.from_numpy(block if block.flags.writeable else block.copy())
        if not torch.isfinite(exact.sum()):
            raise NoseprintError("an embedding of the gallery is not finite: its weights are damaged; embed again")
        nearest.offer(everyone, exact.to(sieve.queries.dtype), sieve, gallery, np.arange(start, start + len(block)))
    return nearest.rows, nearest.similarity


def expand_queries(queries: Floats, gallery: Floats, *, k: int) -> Floats:
    """Queries (Q, D) moved towards their `k` nearest rows of `gallery` (N, D): n(q + sum of s**3 g), (Q, D) float32.

    s is the similarity of g to q, and n the L2 normalisation: alpha query expansion, Radenovic et al., arXiv
    1711.02512, with alpha 3. Rows that point away from the query weigh nothing. Raises NoseprintError as `search`.
    """
    rows, similarity = search(queries, gallery, k=k)
    expanded = np.array(queries, dtype=np.float32)
    for row, weight in zip(rows.T, np.clip(similarity.T, 0, None) ** 3, strict=True):  # a neighbour of all at a time
        expanded += weight[:, None] * gallery[row]
    length = np.linalg.norm(expanded, axis=1, keepdims=True)
    return np.asarray(expanded / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)


class Nearest:
    """The k most similar gallery rows of each query among those offered so far; -1 and -inf where fewer were.

    Several threads may offer at a time: one that sieves by what another is just raising lets more pass, never less.
    """

    def __init__(self, queries: Floats, *, width: int, k: int) -> None:
        if queries.shape[1] != width:
            raise NoseprintError(
                f"queries have {queries.shape[1]} dimensions, the gallery {width}: embed both with one network"
            )
        if k < 1:
            raise NoseprintError("nothing to search: the gallery is empty, or fewer than one result is asked for")
        if not np.isfinite(queries.sum()):
            raise NoseprintError("an embedding of the queries is not finite: its weights are damaged")
        self._queries, self._k = np.ascontiguousarray(queries), k
        self._measuring = threading.Lock()
        self.rows = np.full((len(queries), k), -1, dtype=np.intp)
        self.similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)

    def offer(self, who: Rows, block: torch.Tensor, sieve: Sieve, gallery: Floats, rows: Rows) -> None:
        """Compare the queries `who` (W,) with `rows` (R,) of `gallery`, which `block` holds as the `sieve` needs them.

        All that may be among the best by the sieve are measured again in float32, one by one. `block` (>= R, D) may
        have further rows, which are passed over.
        """
        for part in np.split(who, range(_QUERY_BLOCK, len(who), _QUERY_BLOCK)):
            product = sieve.product(part, block)[:, : len(rows)]
            floor = self.similarity[part, -1]
            if len(rows) >= self._k and np.isneginf(floor).any():
                floor = np.maximum(floor, sieve.at_least_kth(product, part, self._k))
            passed = sieve.may_reach(product, part, floor)
            if len(passed):
                query, column = np.divmod(passed, len(rows))
                with self._measuring:
                    self._measure(part[query], rows[column], gallery)

    def _measure(self, query: Rows, row: Rows, gallery: Floats) -> None:
        """Take the pairs (query, row), sorted by query, into account."""
        distinct, slot = np.unique(query, return_inverse=True)
        similarity = _dots(self._queries, gallery, query, row)
        slots = np.concatenate([np.repeat(np.arange(len(distinct)), self._k), slot])
        values = np.concatenate([self.similarity[distinct].ravel(), similarity])
        found = np.concatenate([self.rows[distinct].ravel(), row])
        order = np.lexsort((found, -values, slots))
        first = np.searchsorted(slots[order], np.arange(len(distinct)))
        best = order[first[:, None] + np.arange(self._k)]
        self.similarity[distinct], self.rows[distinct] = values[best], found[best]


def _dots(queries: Floats, gallery: Floats, query: Rows, row: Rows) -> Floats:
    """`row_similarities` of rows that lie in two arrays."""
    out = np.empty(len(query), dtype=np.float32)
    for part in _blocks(len(query), queries.shape[1]):
        pairs = np.concatenate([queries[query[part]], gallery[row[part]]])
        count = len(pairs) // 2
        out[part] = row_similarities(pairs, np.arange(count), np.arange(count, 2 * count))
    return out


def _blocks(count: int, width: int) -> Iterator[slice]:
    step = max(1, 2**20 // width)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
