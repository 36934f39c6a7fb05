"""Motion blur as albumentations draws it, applied about twenty times faster."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from albumentations.augmentations.blur.functional import sample_odd_from_range

from noseprint.data.decoding import Image
from noseprint.data.transforms import A

Tap = tuple[int, int]
"""Offset (rows down, columns right) from a pixel to one that is averaged into it."""

MAX_TAPS = 257
"""The sum of 257 values of 255 is 65,535, the largest that 16 bits hold."""


class MotionBlur(A.MotionBlur):  # type: ignore[misc]  # albumentations is untyped to mypy
    """albumentations' MotionBlur for uint8 images: the same kernels from the same random numbers.

    A kernel is drawn as in albumentations 2.0.8:
    - a side k, uniform among the odd numbers in `blur_limit`, and r = k // 2;
    - an angle, uniform in `angle_range` (all directions);
    - a direction d, uniform in `direction_range` (-1..1);
    - if `allow_shifted`, a shift of the whole line, uniform within r / 2 on each axis.
    k points lie at equal distances on the line of that angle, from -r to r * (1 + d) if d < 0, else from r * (d - 1) to
    r. Each is rounded to a pixel and clipped to the k x k square. The distinct pixels, 1 to k of them, have equal
    weight. With `blur_limit` (3, 39) there are 16 on average.

    A dense k x k convolution multiplies mostly zeros. Here shifted copies of the image are summed, one for each pixel
    of the kernel. The results differ by at most one grey level.
    """

    def __init__(self, **options: Any) -> None:
        """See A.MotionBlur. Raises ValueError if `blur_limit` exceeds MAX_TAPS."""
        super().__init__(**options)
        if self.blur_limit[1] > MAX_TAPS:
            raise ValueError(f"blur_limit={self.blur_limit}: at most {MAX_TAPS}")

    def get_params(self) -> dict[str, Any]:
        """Draw a kernel and return its pixels as {"taps": [...]}."""
        random = self.py_random
        side = sample_odd_from_range(random, *self.blur_limit)
        angle = math.radians(random.uniform(*self.angle_range))
        direction = random.uniform(*self.direction_range)
        reach = side // 2
        middle_x, middle_y = [
            reach + random.uniform(-1, 1) * reach / 2 if self.allow_shifted else float(reach) for _ in "xy"
        ]
        start = -reach * (1 - max(direction, 0.0))
        step = (reach * (1 + min(direction, 0.0)) - start) / (side - 1)
        along = [start + i * step for i in range(side)]
        columns = _pixels([middle_x + math.cos(angle) * t for t in along], reach)
        rows = _pixels([middle_y + math.sin(angle) * t for t in along], reach)
        return {"taps": sorted(set(zip(rows, columns, strict=True)))}

    def apply(self, img: Image, taps: Sequence[Tap], **_: Any) -> Image:
        """Average `img` over `taps`."""
        return mean_of_shifted(img, taps)


def _pixels(positions: list[float], reach: int) -> list[int]:
    """Round positions, clip them to 0..2 * reach, and count from the middle."""
    return [min(max(round(position), 0), 2 * reach) - reach for position in positions]


def mean_of_shifted(image: Image, taps: Sequence[Tap]) -> Image:
    """Average each pixel of `image` (H, W, 3) over the pixels at the 1 to MAX_TAPS `taps`, mirrored at the border.

    cv2.filter2D with equal weights at the taps, anchored at its centre, gives the same.
    Raises TypeError if `image` is not uint8.
    """
    if image.dtype != np.uint8:
        raise TypeError(
            f"MotionBlur is for uint8 images, not for {image.dtype}: put it before the transform that changes the type"
        )
    height, width, channels = image.shape
    rows, columns = zip(*taps, strict=True)
    above, left = max(0, -min(rows)), max(0, -min(columns))
    below, right = max(0, *rows), max(0, *columns)
    wide = cv2.copyMakeBorder(image, above, below, left, right, cv2.BORDER_REFLECT_101)
    # In a flat array, a shift in two dimensions is one offset. The sums beyond the end of each row are cut off below.
    flat = wide.astype(np.uint16).ravel()
    stride = wide.shape[1] * channels
    used = (height - 1) * stride + width * channels
    offsets = [(above + y) * stride + (left + x) * channels for y, x in taps]
    sums = np.empty(height * stride, np.uint16)
    total = sums[:used]
    total[:] = flat[offsets[0] : offsets[0] + used]
    for offset in offsets[1:]:
        np.add(total, flat[offset : offset + used], out=total)
    sums_inside = sums.reshape(height, stride)[:, : width * channels]
    mean: Image = cv2.convertScaleAbs(sums_inside, alpha=1 / len(taps)).reshape(image.shape)
    return mean
