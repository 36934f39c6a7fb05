"""Albumentations as the recipes use it: without its network version check, and seeded sample by sample."""

import os
import random
from typing import TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version

import albumentations as A
import cv2
import numpy as np

from noseprint.data.decoding import Image

cv2.setNumThreads(0)  # parallelism comes from the loader's workers

__all__ = ["A", "Transform", "apply_transform"]

Transform: TypeAlias = A.BasicTransform | A.BaseCompose


def apply_transform(transform: Transform, image: Image, seed: tuple[int, ...]) -> Image:
    """Apply `transform` to `image` (H, W, 3) with randomness that depends on `seed` alone.

    All transforms inside draw from the same two generators, one after the other, so that they decide independently;
    `Compose.set_random_seed` gives every transform generators of the same seed, which would make, say, blur and JPEG
    compression come and go together.
    """
    generator = np.random.default_rng(seed)
    transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    result: Image = transform(image=image)["image"]
    return result
