"""A balanced sample of same and different pairs."""

import numpy as np

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Flags, Indices, Labels


def balanced_pairs(
    identities: Labels, *, seed: int, max_pairs: int = 20_000, encounters: Labels | None = None
) -> tuple[Indices, Indices, Flags]:
    """Choose pairs of images, half of the same identity and half of different ones.

    All same pairs and equally many different ones, or a uniform sample if that is more than `max_pairs`. No pair occurs
    twice. If there are fewer different pairs than same pairs, their number decides.

    identities: (N,) of the images. max_pairs: same and different pairs together. encounters: (N,) of the images; two
    images of one identity and one encounter do not make a same pair.
    Returns rows a (P,) and b (P,) with a < b, and same (P,); same pairs come first.
    Raises NoseprintError if there is no same pair or no different pair.
    """
    _, label, size = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    encounter = np.arange(len(label))
    if encounters is not None:
        encounter = np.unique(np.asarray(encounters), return_inverse=True)[1]
    # Sorted by identity and encounter, an image's same partners lie between the end of its encounter and the end of its
    # identity, its different partners after that. So each pair is counted once, at the image that comes first.
    order = np.lexsort((encounter, label))
    identity_end = np.repeat(np.cumsum(size), size)
    starts = np.flatnonzero(np.diff(label[order], prepend=-1) | np.diff(encounter[order], prepend=-1))
    encounter_size = np.diff(starts, append=len(order))
    encounter_end = np.repeat(starts + encounter_size, encounter_size)
    same_partners, different_partners = identity_end - encounter_end, len(order) - identity_end
    number = int(min(same_partners.sum(), different_partners.sum(), max_pairs // 2))
    if number == 0:
        apart = "" if encounters is None else " from two encounters"
        raise NoseprintError(
            f"{len(order)} images of {len(size)} identities give {int(same_partners.sum())} same and "
            f"{int(different_partners.sum())} different pairs: at least two identities are needed, one of them "
            f"with two images{apart}"
        )
    rng = np.random.default_rng(seed)
    drawn = [_draw(same_partners, encounter_end, number, rng), _draw(different_partners, identity_end, number, rng)]
    first, second = (order[np.concatenate([pair[side] for pair in drawn])] for side in (0, 1))
    return np.minimum(first, second), np.maximum(first, second), np.repeat([True, False], number)


def _draw(partners: Indices, start: Indices, number: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw `number` pairs (i, j), where image i has the partners start[i] ... start[i] + partners[i] - 1."""
    last = np.cumsum(partners)
    rank = np.sort(rng.choice(int(last[-1]), size=number, replace=False, shuffle=False))
    first = np.searchsorted(last, rank, side="right")
    return first, start[first] + rank - (last[first] - partners[first])
