"""Decodes photographs of at most 64 Mpx (MAX_PIXELS in image_headers.py)."""

import hashlib
import importlib.util
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
import PIL.Image
from PIL import ImageOps, features

from noseprint.data.image_headers import Format, header_problem, image_format
from noseprint.data.opencv_image import decode_with_opencv
from noseprint.errors import DataError, Fault
from noseprint.progress import progress

Image = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
S = TypeVar("S")
T = TypeVar("T")

MAX_BYTES = 2**29
"""The largest file that is read: 512 MiB, more than 64 Mpx of 16-bit RGB take."""

INSTALL_HEIC = "pip install noseprint[heic], or convert it to JPEG"

# OpenCV would print every fault as well, without the name of the file. Its version 5 moved the switch.
(cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2).setLogLevel(0)


def decode(path: Path) -> Image:
    """Decode a photograph (JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF) to RGB.

    Returns (H, W, 3) uint8 in 0..255, turned upright by its EXIF orientation. Grey, palette and CMYK images become RGB.
    A 16-bit image keeps its upper 8 bits. If it uses only the lower 12 bits or fewer, as images of scientific cameras
    do, it keeps the upper 8 of these. An alpha channel is dropped: the colours that it hid are shown. If a JPEG (MPO)
    holds several pictures, the first is decoded; if a HEIC file does, the primary one.
    Raises DataError for a file that is missing, not a regular file, empty, truncated, not an image, animated or of
    several pages, or above MAX_BYTES or MAX_PIXELS; and for HEIC and AVIF if nothing is installed that reads them. The
    limits are checked before anything is decoded.
    """
    data = _read(path)
    kind = image_format(data)
    if kind and not can_decode(kind):
        raise _bad(path, f"is {kind}, which needs an extra package", fix=INSTALL_HEIC)
    problem = header_problem(data)
    if problem is not None:
        raise _bad(path, problem)
    if kind in ("HEIC", "AVIF"):
        return _decode_heif(path, data, kind)
    try:
        image = decode_with_opencv(data)
    except cv2.error as error:
        raise _bad(path, f"cannot be decoded ({error.err})") from None
    if image is None:
        raise _bad(path, "is damaged (OpenCV cannot decode it)")
    return cast(Image, image)


def can_decode(kind: Format) -> bool:
    """Whether the package that reads this format is installed."""
    if kind == "HEIC":
        return importlib.util.find_spec("pillow_heif") is not None
    return kind != "AVIF" or bool(features.check("avif"))


def pixel_digest(image: Image) -> bytes:
    """16 bytes, equal for equal pixels, whatever the file format."""
    return hashlib.blake2b(image.data, digest_size=16, person=str(image.shape[1]).encode()).digest()


def _decode_heif(path: Path, data: bytes, kind: Format) -> Image:
    if kind == "HEIC":
        importlib.import_module("pillow_heif").register_heif_opener()
    try:
        with PIL.Image.open(io.BytesIO(data), formats=["HEIF" if kind == "HEIC" else "AVIF"]) as picture:
            upright = picture if kind == "HEIC" else ImageOps.exif_transpose(picture)  # libheif turns it itself
            return np.array(upright.convert("RGB"))
    except Exception as error:  # these decoders raise anything at damaged files
        raise _bad(path, f"is damaged ({error})") from None


def find_faults(paths: Sequence[Path], *, read: Callable[[Path], Image] = decode) -> list[Fault]:
    """Decode every photograph, several at a time, with a progress bar; return what is wrong, in the order of `paths`.

    read: decodes a photograph (`cached_decoder`). Memory holds one image for each CPU core.
    """

    def fault(path: Path) -> Fault | None:
        try:
            read(path)
        except DataError as error:
            return error.faults[0]
        return None

    return [found for found in in_threads(fault, paths, label="images") if found is not None]


def in_threads(function: Callable[[S], T], items: Sequence[S], *, label: str) -> Iterator[T]:
    """Call `function` on each item, in one thread for each core; yield the results in order, with a progress bar."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        yield from progress(pool.map(function, items), total=len(items), desc=label, leave=False)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
            raise _bad(path, "is not a regular file")
        if status.st_size > MAX_BYTES:
            raise _bad(path, f"has {status.st_size} bytes, above the limit of {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise _bad(path, "no such photograph", fix="check its path") from None
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name with a NUL
        raise _bad(path, f"cannot be read ({error})") from None
    if not data:
        raise _bad(path, "is empty")
    return data


def _bad(path: Path, problem: str, *, fix: str = "replace it") -> DataError:
    return DataError((Fault(path, None, f"{problem}: {fix}"),))
