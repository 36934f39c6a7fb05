"""The size of the input that suits the photographs: the one at which the untrained network finds identities best."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noseprint.data.tables import ImageTable
from noseprint.data.transforms import Transform
from noseprint.distributed import World, from_main
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.models.embed import embed_images
from noseprint.models.network import Network, SupConNet

SIZES = (160, 192, 224, 256)
"""Sides in pixels. A side 1.4 times as long makes a step take twice as long."""
USUAL_SIZE = 192
"""A smaller side must be better than this one. A larger one must be worth its time, see GAIN_OF_DOUBLE."""
GAIN_OF_DOUBLE = 1.06
"""Above the usual size, twice the side must multiply the mAP by this."""
SMALL_TRAIN_SHARE = 0.75
"""With --small, the side of the training images as a share of the input's side. Convolutional networks are best at a
size above the one that they were trained at (arXiv 1906.06423)."""
MOST_PHOTOGRAPHS = 300
"""At most this many photographs are searched."""
MOST_OF_EACH = 4
"""At most this many photographs of one identity are searched."""


def training_side(network: Network, *, requested: int | None, small: bool) -> int:
    """Side in pixels of the training images: `requested`, or else that of the input, but with --small less.

    Raises NoseprintError as `Network.training_size` does.
    """
    if small and requested is None and network.backbone.fixed_size is None:
        return max(32, round(SMALL_TRAIN_SHARE * network.image_size / 32) * 32)
    return network.training_size(requested)


def choose_image_size(
    network: SupConNet,
    table: ImageTable,
    *,
    transform: Callable[[int], Transform],
    world: World,
    workers: int,
    cache: Path | None = None,
) -> tuple[int, dict[int, float]]:
    """The best of SIZES for photographs like those of `table`, and the mAP at each size that was tried.

    Searches up to MOST_PHOTOGRAPHS of them with `network` as it is, which must take any size. Stops after two sizes in
    a row that are no better. If no photograph has a match in `table`, nothing is tried, and the size stays as it is.
    Every rank calls it.
    """
    sample = draw_sample(table)
    if not len(sample):
        return network.image_size, {}
    found: dict[int, float] = {}
    size_before = network.image_size
    for size in SIZES:
        network.image_size = size
        embeddings = embed_images(
            network,
            sample.paths,
            transform=transform(size),
            device=world.device,
            workers=workers,
            cache=cache,
            label=f"{size} px",
        )
        score = 0.0
        if world.is_main:
            score = retrieval_metrics(embeddings, sample.identities, encounters=sample.encounters).map
        (found[size],) = from_main([score], world.device)
        if best_size(found) in list(found)[:-2]:
            break
    network.image_size = size_before
    return best_size(found), found


def best_size(found: dict[int, float]) -> int:
    """The size with the highest mAP for its time, the larger of equal ones; `found`: size -> mAP."""
    exponent = np.log2(GAIN_OF_DOUBLE)
    return max(found, key=lambda size: (found[size] / max(size, USUAL_SIZE) ** exponent, size))


def draw_sample(table: ImageTable) -> ImageTable:
    """Up to MOST_PHOTOGRAPHS of identities with two or more, at most MOST_OF_EACH of one identity; always the same.

    With encounters, at most one photograph of each encounter is drawn, since photographs of one encounter are not
    searched for each other. Without matches the sample is empty.
    """
    order = np.random.default_rng(0).permutation(len(table.paths))
    if table.encounters is not None:
        first: dict[tuple[str, str], int] = {}
        for row in order:
            first.setdefault((table.identities[row], table.encounters[row]), row)
        order = np.array(list(first.values()), int)
    numbers = Counter(table.identities[row] for row in order)
    several = {identity for identity, number in numbers.items() if number > 1}
    taken: dict[str, list[int]] = {}
    for row in order:
        identity = table.identities[row]
        if identity in several and len(taken.setdefault(identity, [])) < MOST_OF_EACH:
            taken[identity].append(int(row))
    rows: list[int] = []
    for own in taken.values():
        if len(rows) + len(own) > MOST_PHOTOGRAPHS:
            break
        rows += own
    chosen = set(rows)
    return table.where(row in chosen for row in range(len(table.paths)))
