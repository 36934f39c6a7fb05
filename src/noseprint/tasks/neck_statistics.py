"""Statistics for the BatchNorm of a classifier's neck, which is frozen while it trains."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from noseprint.data.transforms import Transform
from noseprint.distributed import World, from_main
from noseprint.models.classifier import ClassifierNet, Neck
from noseprint.models.embed import embed_with, run_on

NECK_IMAGES = 1024
"""Training images, at most, from which the BatchNorm gets its statistics."""


def set_neck_statistics(
    network: ClassifierNet,
    paths: Sequence[Path],
    *,
    transform: Transform,
    world: World,
    workers: int,
    seed: int,
    cache: Path | None,
) -> None:
    """Give the neck's BatchNorm its statistics, if there is one that has none.

    Rank 0 measures them on up to NECK_IMAGES of the training photographs `paths`, drawn by `seed`, as the training's
    `transform` shows them.
    """
    neck, device = network.neck, world.device
    if not (isinstance(neck, Neck) and neck.needs_statistics):
        return
    network.to(device).eval()
    linear = neck.linear.weight.detach()
    values = [0.0] * (2 * len(linear))
    if world.is_main:
        rows = np.random.default_rng(seed).permutation(len(paths))[:NECK_IMAGES]
        pooled = embed_with(
            run_on(network.pooled, device),
            [paths[row] for row in rows],
            transform=transform,
            workers=workers,
            batch_size=16,
            seed=seed,
            label="statistics of the neck",
            cache=cache,
        )
        found = torch.from_numpy(pooled).double() @ linear.cpu().double().T
        values = torch.cat([found.mean(0), found.var(0, correction=0)]).tolist()
    mean, variance = torch.tensor(from_main(values, device), device=device).chunk(2)
    neck.set_statistics(mean, variance)
    network.train()
