"""Photographs small enough to be part of a page."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2

from noseprint.data.decoding import decode
from noseprint.errors import DataError

SIDE = 144  # px of the longer side
_QUALITY = 72


@dataclass(frozen=True)
class PhotographPair:
    """Two photographs that are shown side by side, and what is known about them."""

    image_a: Path
    image_b: Path
    similarity: float | None = None
    probability: float | None = None
    """Probability that they show the same individual."""
    reason: str = ""
    """Why the pair was refused as a pseudo-label."""


def thumbnail(path: Path, *, side: int = SIDE, quality: int = _QUALITY) -> str | None:
    """The photograph as the data URI of a JPEG, at most side x side px (5 KB at 144 px); None if it cannot be decoded.

    quality: of the JPEG, in 0..100.
    """
    try:
        image = decode(path)
    except DataError:
        return None
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
