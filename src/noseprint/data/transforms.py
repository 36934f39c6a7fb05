"""Albumentations as the recipes use it: seeded for each sample, and without its version check over the network."""

import os
import random
from typing import TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it looks for a newer version

import albumentations as A
import cv2
import numpy as np

from noseprint.data.decoding import Image

cv2.setNumThreads(0)  # the loader's workers are parallel already

__all__ = ["A", "Transform", "apply_transform"]

Transform: TypeAlias = A.BasicTransform | A.BaseCompose


def apply_transform(transform: Transform, image: Image, seed: tuple[int, ...]) -> Image:
    """Apply `transform` to `image` (H, W, 3), with randomness that depends on `seed` only.

    All transforms inside draw from the same two generators in turn, so that they decide independently.
    `Compose.set_random_seed` would seed each transform alike: blur and JPEG compression, say, would always come
    together.
    """
    generator = np.random.default_rng(seed)
    transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    result: Image = transform(image=image)["image"]
    return result
