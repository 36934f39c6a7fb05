"""Reads a photograph as noseprint does, to the last bit. It needs opencv-python-headless and numpy."""

from pathlib import Path

import cv2
import numpy as np
from image_headers import header_problem, image_format
from opencv_image import decode_with_opencv


def read_photograph(path: str) -> np.ndarray:
    """RGB, upright: (H, W, 3) uint8. Raises SystemExit with a message for what noseprint would refuse, too."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # reading a pipe would wait for ever
            raise SystemExit(f"{path}: is not a regular file")
        data = Path(path).read_bytes()
        if problem := header_problem(data):  # such as an animation, or a file that is cut off
            raise SystemExit(f"{path}: {problem}")
        if (kind := image_format(data)) in ("HEIC", "AVIF"):  # OpenCV reads some of them, and does not turn them
            raise SystemExit(f"{path}: is {kind}, which this program does not read: convert it to JPEG")
        image = decode_with_opencv(data)
    except (OSError, cv2.error) as error:
        raise SystemExit(f"{path}: cannot be read ({error})") from error
    if image is None:
        raise SystemExit(f"{path}: OpenCV cannot decode it")
    return image
