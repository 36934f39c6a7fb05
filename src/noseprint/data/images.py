"""Decoding of photographs."""

from pathlib import Path

import cv2
import numpy as np

from noseprint.errors import NoseprintError

Image = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


def decode(path: Path) -> Image:
    """Decode a photograph to RGB.

    Returns (H, W, 3) uint8 in 0..255, upright by its EXIF orientation; grey and palette images become RGB.
    Raises NoseprintError for a file that is missing, empty or no image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise NoseprintError(f"{path}: cannot be read ({error.strerror})") from None
    image: Image | None = None
    if data.size:
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:
            raise NoseprintError(f"{path}: cannot be decoded ({error.err}): replace or remove it") from None
    if image is None:
        raise NoseprintError(f"{path}: is empty or not an image that OpenCV reads: replace it or remove its rows")
    return image
