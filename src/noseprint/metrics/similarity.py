"""Similarities of pairs of images."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

Embeddings = npt.NDArray[np.float32]
_BLOCK_VALUES = 2**22  # float32 values gathered at a time: 16 MiB a side


class Pairs(Protocol):
    """Two columns of image names, such as `noseprint.data.tables.PairTable`."""

    @property
    def image_a(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def image_b(self) -> Sequence[str]: ...  # noqa: D102


def row_similarities(
    embeddings: npt.NDArray[np.float32], a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Dot products of rows `a` (P,) and `b` (P,) of `embeddings` (N, D): (P,) float32, cosines if rows have length 1.

    A pair's value depends neither on its place nor on which image comes first, to the last bit.
    """
    block = max(1, _BLOCK_VALUES // max(1, embeddings.shape[1]))
    out = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), block):
        rows = slice(start, start + block)
        out[rows] = np.einsum("pd,pd->p", embeddings[a[rows]], embeddings[b[rows]])
    return out


def pair_similarities(
    embeddings: npt.NDArray[np.float32], index: Mapping[str, int], pairs: Pairs
) -> npt.NDArray[np.float32]:
    """Similarity of each pair, (P,) float32: the cosine, since embeddings (N, D) have length 1.

    `index` maps an image name to its row of `embeddings`. Memory beyond input and output is bounded.
    Raises NoseprintError for an image without an embedding and for an embedding that is not finite.
    """
    _check_known(index, pairs)
    a = np.fromiter((index[name] for name in pairs.image_a), dtype=np.intp, count=len(pairs.image_a))
    b = np.fromiter((index[name] for name in pairs.image_b), dtype=np.intp, count=len(pairs.image_b))
    similarity = row_similarities(embeddings, a, b)
    wrong = np.flatnonzero(~np.isfinite(similarity))
    if len(wrong):
        row = int(wrong[0])
        raise NoseprintError(
            f"the similarity of {pairs.image_a[row]!r} and {pairs.image_b[row]!r} (pair {row + 1}) is "
            f"{similarity[row]}, as are {len(wrong)} of {len(similarity)}: "
            "the network's weights are damaged or its training diverged; "
            "train again with a lower learning rate, or take another checkpoint"
        )
    return similarity


def ensemble_embeddings(members: Mapping[str, Embeddings]) -> Embeddings:
    """The ensemble as one embedding (N, sum of D): its cosines are the means of the members' cosines."""
    return np.concatenate([e / np.float32(np.sqrt(len(members))) for e in members.values()], axis=1)


def _check_known(index: Mapping[str, int], pairs: Pairs) -> None:
    names = zip(pairs.image_a, pairs.image_b, strict=True)
    unknown = [(row, name) for row, pair in enumerate(names, start=1) for name in pair if name not in index]
    if unknown:
        row, name = unknown[0]
        raise NoseprintError(
            f"no embedding for image {name!r} (pair {row}; {len({name for _, name in unknown})} such images): "
            "embed every image that the pairs name"
        )
