"""Decodes photographs of at most 64 Mpx (MAX_PIXELS in image_headers.py)."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from noseprint.data.image_headers import header_problem
from noseprint.errors import DataError, Fault
from noseprint.progress import progress

Image = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
S = TypeVar("S")
T = TypeVar("T")

MAX_BYTES = 2**29
"""The largest file that is read: 512 MiB, more than 64 Mpx of 16-bit RGB take."""

# OpenCV would print every fault as well, without the name of the file. Its version 5 moved the switch.
(cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2).setLogLevel(0)


def decode(path: Path) -> Image:
    """Decode a photograph (JPEG, PNG, WebP, TIFF or BMP) to RGB.

    Returns (H, W, 3) uint8 in 0..255, turned upright by its EXIF orientation. Grey, palette and CMYK images become RGB.
    Images of 16 bits keep the upper 8. An alpha channel is dropped: the colours that it hid are shown.
    Raises DataError for a file that is missing, not a regular file, empty, truncated, not an image, animated or of
    several pages, or above MAX_BYTES or MAX_PIXELS. The limits are checked before anything is decoded.
    """
    data = _read(path)
    problem = header_problem(data)
    if problem is not None:
        raise _bad(path, problem)
    try:
        image: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise _bad(path, f"cannot be decoded ({error.err})") from None
    if image is None:
        raise _bad(path, "is damaged (OpenCV cannot decode it)")
    return image


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
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name with a NUL
        raise _bad(path, f"cannot be read ({error})") from None
    if not data:
        raise _bad(path, "is empty")
    return data


def _bad(path: Path, problem: str) -> DataError:
    return DataError((Fault(path, None, f"{problem}: replace it"),))
