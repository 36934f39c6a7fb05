"""The quality of a photograph in three numbers."""

from dataclasses import dataclass

import cv2
import numpy as np

from noseprint.data.decoding import Image

Grey = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

GREY_SIDE = 128
"""Side in px of the grey square on which sharpness and brightness are measured."""


@dataclass(frozen=True)
class Quality:
    """Size, sharpness and exposure of a photograph."""

    short_side: int
    """px."""
    sharpness: float
    """Variance of the Laplacian of the grey square, so that it does not depend on the size of the photograph."""
    brightness: float
    """Mean grey value, 0..255."""


def measure_quality(image: Image, grey: Grey | None = None) -> Quality:
    """Measure `image` (H, W, 3) RGB. grey: its `grey_square`, if the caller has it already."""
    grey = grey_square(image) if grey is None else grey
    return Quality(
        short_side=min(image.shape[:2]),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        brightness=float(grey.mean()),
    )


def grey_square(image: Image) -> Grey:
    """`image` (H, W, 3) RGB in grey, stretched to (GREY_SIDE, GREY_SIDE)."""
    side = (GREY_SIDE, GREY_SIDE)
    grey: Grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), side, interpolation=cv2.INTER_AREA)
    return grey
