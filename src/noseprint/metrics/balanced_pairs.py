"""Balanced pairs of labelled images."""

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.blocks import Indices, Labels


def balanced_pairs(
    identities: Labels, *, seed: int, max_pairs: int = 20_000, encounters: Labels | None = None
) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Pairs of images, half of the same identity: rows a (P,), b (P,) with a < b, and same (P,), same pairs first.

    All same pairs and as many different ones, or a seeded uniform sample where that is more than `max_pairs`. No image
    is paired with itself, no pair is there twice, no same pair is of one of `encounters` (P,). Where different pairs
    are fewer than same ones, they set the number.

    Raises NoseprintError where there is no same pair or no different one.
    """
    _, label, size = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    met = np.arange(len(label)) if encounters is None else np.unique(np.asarray(encounters), return_inverse=True)[1]
    order = np.lexsort((met, label))
    end = np.repeat(np.cumsum(size), size)  # of each image's identity, in sorted order
    begins = np.flatnonzero(np.diff(label[order], prepend=-1) | np.diff(met[order], prepend=-1))
    together = np.diff(begins, append=len(order))
    other = np.repeat(begins + together, together)  # where the next encounter or identity begins
    same_partners, other_partners = end - other, len(order) - end
    number = int(min(same_partners.sum(), other_partners.sum(), max_pairs // 2))
    if number == 0:
        elsewhere = "" if encounters is None else " of two encounters"
        raise NoseprintError(
            f"{len(order)} images of {len(size)} identities give {int(same_partners.sum())} same and "
            f"{int(other_partners.sum())} different pairs: two identities, one of them with two images{elsewhere}, "
            "are the least"
        )
    rng = np.random.default_rng(seed)
    drawn = [_draw(same_partners, other, number, rng), _draw(other_partners, end, number, rng)]
    first, second = (order[np.concatenate([pair[side] for pair in drawn])] for side in (0, 1))
    return np.minimum(first, second), np.maximum(first, second), np.repeat([True, False], number)


def _draw(partners: Indices, start: Indices, number: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw `number` pairs (i, j): image i has the partners start[i] ... start[i] + partners[i] - 1."""
    last = np.cumsum(partners)
    rank = np.sort(rng.choice(int(last[-1]), size=number, replace=False, shuffle=False))
    first = np.searchsorted(last, rank, side="right")
    return first, start[first] + rank - (last[first] - partners[first])
