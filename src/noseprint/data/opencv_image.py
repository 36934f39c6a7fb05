"""Decodes the bytes of an image file with OpenCV. An exported bundle holds a copy, so this imports nothing of ours."""

import cv2
import numpy as np
import numpy.typing as npt

_NEARLY_BLACK = 2**12 // 256  # what 12 bits become, rounded up, when the upper 8 of 16 are kept


def decode_with_opencv(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Decode an image file to RGB, (H, W, 3) uint8, turned upright by its EXIF orientation; None if it is damaged.

    Images of 16 bits keep the upper 8. If they use the lower 12 or fewer only, as scientific cameras save them, they
    keep the upper 8 of these. Raises cv2.error for some damaged files.
    """
    encoded = np.frombuffer(data, np.uint8)
    image: npt.NDArray[np.uint8] | None = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if image is None or image.max() > _NEARLY_BLACK:
        return image
    deep = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if deep is None or deep.dtype != np.uint16:
        return image
    used = next(bits for bits in (8, 10, 12, 16) if deep.max() < 2**bits)
    return image if used == 16 else np.ascontiguousarray((deep >> (used - 8)).astype(np.uint8)[..., ::-1])
