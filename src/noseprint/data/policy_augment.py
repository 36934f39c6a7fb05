"""RandAugment and AutoAugment of timm, with randomness that depends on the sample alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import PIL.Image
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

from noseprint.data.decoding import Image
from noseprint.data.transforms import A

PolicyName = Literal["randaugment", "autoaugment"]
RAND_AUGMENT = "rand-m9-n2-mstd0.5-inc1"
"""Two operations of strength 9 of 10 (arXiv 1909.13719), as timm's recipes write them."""
AUTO_AUGMENT = "original"
"""The policy that was found for ImageNet (arXiv 1805.09501, table 9)."""
_GREY = (128, 128, 128)  # fills where an operation moves the image away


class PolicyAugment(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped to mypy
    """Change the shape and colours of an image (H, W, 3) as RandAugment or AutoAugment does."""

    def __init__(self, name: PolicyName) -> None:
        super().__init__(p=1.0)
        make, policy = {
            "randaugment": (rand_augment_transform, RAND_AUGMENT),
            "autoaugment": (auto_augment_transform, AUTO_AUGMENT),
        }[name]
        self._change = make(policy, {"img_mean": _GREY})

    def get_params(self) -> dict[str, Any]:
        """Draw the seed of the policy."""
        return {"seed": self.py_random.getrandbits(32)}

    def apply(self, img: Image, *, seed: int, **_: Any) -> Image:
        """Apply the policy."""
        with _seeded(seed):
            return np.array(self._change(PIL.Image.fromarray(img)))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators of `random` and numpy, which timm draws from; afterwards they are as before."""
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)  # noqa: NPY002
