"""Albumentations as the recipes use it: without its network version check, and seeded sample by sample."""

import os
from typing import TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version

import albumentations as A
import cv2
import numpy as np

from noseprint.data.images import Image

cv2.setNumThreads(0)  # parallelism comes from the loader's workers

__all__ = ["A", "View", "apply_view"]

View: TypeAlias = A.BasicTransform | A.BaseCompose


def apply_view(view: View, image: Image, seed: tuple[int, ...]) -> Image:
    """Apply `view` to `image` (H, W, 3) with randomness that depends on `seed` alone.

    Each transform inside gets a stream of its own: `Compose.set_random_seed` hands every transform the same seed, which
    would make, say, blur and JPEG compression come and go together.
    """
    nodes = _nodes(view)
    for node, node_seed in zip(nodes, np.random.SeedSequence(seed).generate_state(len(nodes)), strict=True):
        node.random_generator = np.random.default_rng(node_seed)
        node.py_random.seed(int(node_seed))
    result: Image = view(image=image)["image"]
    return result


def _nodes(view: View) -> list[View]:
    children = view.transforms if isinstance(view, A.BaseCompose) else []
    return [view, *(node for child in children for node in _nodes(child))]
