"""Summaries of photographs, to check a whole data folder without keeping its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.decoding import decode, in_threads, pixel_digest
from noseprint.data.photo_quality import grey_square, measure_quality
from noseprint.errors import DataError, Fault

Thumbnail = np.ndarray[tuple[int, int], np.dtype[np.uint8]]

THUMBNAIL_SIDE = 64  # px


@dataclass(frozen=True)
class PhotoSummary:
    """One photograph at a glance."""

    short_side: int
    sharpness: float
    brightness: float
    """These three as in `Quality`."""
    digest: bytes
    """Equal for equal pixels, whatever the file format."""
    thumbnail: Thumbnail
    """Grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), stretched to a square."""


def summarise(paths: Sequence[Path]) -> list[PhotoSummary | Fault]:
    """Decode every photograph, several at a time, with a progress bar. A summary takes about 5 KB."""
    return list(in_threads(_summarise_one, paths, label="images"))


def _summarise_one(path: Path) -> PhotoSummary | Fault:
    try:
        image = decode(path)
    except DataError as error:
        return error.faults[0]
    grey = grey_square(image)
    quality = measure_quality(image, grey)
    return PhotoSummary(
        short_side=quality.short_side,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        digest=pixel_digest(image),
        thumbnail=cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA),
    )
