"""What is kept of a photograph to judge a whole data folder: a few numbers and a thumbnail, not its pixels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.decoding import decode, in_threads
from noseprint.data.photo_quality import grey_square, measure
from noseprint.errors import DataError, Fault

Thumbnail = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

SIDE = 64
"""Side of a thumbnail, px."""


@dataclass(frozen=True)
class PhotoSummary:
    """One photograph at a glance."""

    short_side: int
    sharpness: float
    brightness: float
    """As in `data.quality.Quality`."""
    digest: bytes
    """Equal for equal pixels, whatever the file around them."""
    thumbnail: Thumbnail
    """Grey, (SIDE, SIDE), stretched to a square."""


def summarise(paths: Sequence[Path]) -> list[PhotoSummary | Fault]:
    """Decode every photograph, several at a time, with a progress bar; about 5 KB an image are kept."""
    return list(in_threads(_look, paths, label="images"))


def _look(path: Path) -> PhotoSummary | Fault:
    try:
        image = decode(path)
    except DataError as error:
        return error.faults[0]
    grey = grey_square(image)
    quality = measure(image, grey)
    return PhotoSummary(
        short_side=quality.short_side,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        digest=hashlib.blake2b(image.data, digest_size=16, person=str(image.shape[1]).encode()).digest(),
        thumbnail=cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA),
    )
