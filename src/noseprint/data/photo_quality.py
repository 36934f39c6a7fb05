"""The quality of one photograph, in a few numbers."""

from dataclasses import dataclass

import cv2
import numpy as np

from noseprint.data.decoding import Image

Grey = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

SIDE = 128
"""Side of the grey picture that is measured, px."""


@dataclass(frozen=True)
class Quality:
    """Size, sharpness and exposure of a photograph."""

    short_side: int
    """px."""
    sharpness: float
    """Variance of the Laplacian of the grey picture at 128 x 128 px: the same whatever size a photograph has."""
    brightness: float
    """Mean grey value, 0..255."""


def measure(image: Image, grey: Grey | None = None) -> Quality:
    """Measure `image` (H, W, 3) RGB, whose `grey_square` is `grey` where that is at hand."""
    grey = grey_square(image) if grey is None else grey
    return Quality(
        short_side=min(image.shape[:2]),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        brightness=float(grey.mean()),
    )


def grey_square(image: Image) -> Grey:
    """`image` (H, W, 3) RGB in grey, stretched to (SIDE, SIDE)."""
    grey: Grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return grey
