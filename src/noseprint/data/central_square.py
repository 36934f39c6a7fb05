"""The middle of a photograph as a small square: preprocessing that every runtime computes alike.

It consists of a slice and two matrix products, so that an exported network can hold it inside its graph.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.data.decoding import Image
from noseprint.data.transforms import A

KEPT = (7, 8)
"""The side of the square is 7/8 of the photograph's shorter side, rounded down, and at least a pixel."""
ROUNDING = 0.499
"""What is added to a pixel before its fraction is cut off. Halves are common, and a runtime that sums in another order
may find them a little lower."""


class CentralSquare(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped to mypy
    """Cut out the central square of an image, and resize it to `size` pixels, with antialiasing."""

    def __init__(self, size: int) -> None:
        super().__init__(p=1.0)
        self.size = size

    def apply(self, img: Image, **_: Any) -> Image:
        """(H, W, 3) uint8 -> (size, size, 3) uint8."""
        pixels = central_square(img, self.size)
        rounded: Image = (pixels + np.float32(ROUNDING)).astype(np.uint8)  # a mean of pixels: within 0..255
        return rounded


def central_square(image: Image, size: int) -> npt.NDArray[np.float32]:
    """The central square of an image (H, W, 3), resized to (size, size, 3), not rounded.

    It equals torch's `interpolate` in float64 with mode="bilinear" and antialias=True up to rounding.
    """
    height, width = image.shape[:2]
    side = max(min(height, width) * KEPT[0] // KEPT[1], 1)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side].astype(np.float32)
    weights = triangle_weights(side, size)
    rows = (weights @ square.reshape(side, -1)).reshape(size, side, 3)
    return np.ascontiguousarray(np.matmul(rows.transpose(2, 0, 1), weights.T).transpose(1, 2, 0))


def triangle_weights(side: int, size: int) -> npt.NDArray[np.float32]:
    """The weights (size, side) of `side` pixels in each of `size` new ones; each row sums to 1.

    A triangle filter, as wide as the new pixels where there are fewer, and as wide as the old ones where there are
    more: there it is linear interpolation.
    """
    # 1 - distance / width in whole numbers, up to a factor: exact in every runtime, also in one that computes in bf16.
    middles, centres = (2 * np.arange(side) + 1) * size, (2 * np.arange(size) + 1) * side
    heights = np.maximum(2 * max(side, size) - np.abs(middles - centres[:, None]), 0)
    rows: npt.NDArray[np.float32] = heights.astype(np.float32) / heights.sum(axis=1, keepdims=True).astype(np.float32)
    return rows
