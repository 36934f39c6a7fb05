"""Cosine similarities of pairs of images, and the array types and blocks that all metrics use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

Embeddings = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Labels = Sequence[str] | npt.NDArray[Any]
BLOCK_VALUES = 2**22
"""Values in one block of a large matrix, such as queries x gallery or replicates x pairs."""
_ROUNDING = 1e-3  # as much as the length of a stored embedding may differ from 1


class Pairs(Protocol):
    """Two columns of image names, such as `noseprint.data.tables.PairTable`."""

    @property
    def image_a(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def image_b(self) -> Sequence[str]: ...  # noqa: D102


def blocks(items: Indices, width: int) -> Iterator[Indices]:
    """Split `items` so that a block of items x `width` has at most BLOCK_VALUES values (but at least one item)."""
    step = max(1, BLOCK_VALUES // max(1, width))
    return (items[start : start + step] for start in range(0, len(items), step))


def clip_cosines(values: Floats) -> Floats:
    """`values`, in place: cosines that rounding put just outside -1..1 become -1 or 1. Others are left as they are."""
    size = np.abs(values)
    return np.clip(values, -1, 1, out=values, where=size < 1 + _ROUNDING)


def row_similarities(embeddings: Embeddings, a: Indices, b: Indices) -> npt.NDArray[np.float32]:
    """Dot products of rows `a` (P,) and `b` (P,) of `embeddings` (N, D): the cosines if rows have length 1.

    Returns (P,) float32. A pair's value is the same bit for bit wherever it stands, and if `a` and `b` are swapped.
    """
    out = np.empty(len(a), dtype=np.float32)
    for rows in blocks(np.arange(len(a)), embeddings.shape[1]):
        out[rows] = clip_cosines(np.einsum("pd,pd->p", embeddings[a[rows]], embeddings[b[rows]]))
    return out


def pair_similarities(embeddings: Embeddings, index: Mapping[str, int], pairs: Pairs) -> npt.NDArray[np.float32]:
    """Cosine similarity of each pair, (P,) float32.

    embeddings: (N, D), rows of length 1. index: image name -> row of `embeddings`. pairs: names of P pairs of images.
    Raises NoseprintError for an image without an embedding and for a similarity that is not finite.
    """
    names = zip(pairs.image_a, pairs.image_b, strict=True)
    unknown = [(row, name) for row, pair in enumerate(names, start=1) for name in pair if name not in index]
    if unknown:
        row, name = unknown[0]
        raise NoseprintError(
            f"no embedding for image {name!r} (pair {row}; {len({name for _, name in unknown})} such images): "
            "embed every image that the pairs name"
        )
    a = np.fromiter((index[name] for name in pairs.image_a), dtype=np.intp, count=len(pairs.image_a))
    b = np.fromiter((index[name] for name in pairs.image_b), dtype=np.intp, count=len(pairs.image_b))
    similarity = row_similarities(embeddings, a, b)
    wrong = np.flatnonzero(~np.isfinite(similarity))
    if len(wrong):
        row = int(wrong[0])
        raise NoseprintError(
            f"{len(wrong)} of {len(similarity)} similarities are not finite, first that of {pairs.image_a[row]!r} and "
            f"{pairs.image_b[row]!r} (pair {row + 1}: {similarity[row]}): the weights are damaged or the training "
            "diverged; train again with a lower learning rate, or use another checkpoint"
        )
    return similarity


def ensemble_embeddings(members: Mapping[str, Embeddings]) -> Embeddings:
    """Concatenate the members' embeddings (..., D): cosines of the result are the means of the members' cosines."""
    return np.concatenate([e / np.float32(np.sqrt(len(members))) for e in members.values()], axis=-1)
