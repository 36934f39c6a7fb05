"""Decoded photographs on disk, so that later epochs and later stages need not decode them again."""

import errno
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.decoding import Image, decode
from noseprint.files import friendly_write_errors

MIN_FREE_SHARE, MIN_FREE_BYTES = 0.1, 5 * 2**30
"""Space on the disk that the cache leaves free: the smaller of the two. Photographs that need it are not cached."""

_VERSION = f"4-opencv-{cv2.__version__}"  # raise the number when `decode` returns other pixels or the format changes
_HEADER = struct.Struct("<II")  # height, width; the pixels follow


def cached_decoder(folder: Path | None) -> Callable[[Path], Image]:
    """The function to decode photographs with: `decode_cached` with this folder, or `decode` for None."""
    return partial(decode_cached, folder=folder) if folder else decode


def decode_cached(path: Path, folder: Path) -> Image:
    """Decode a photograph, or map an earlier result from a file in `folder`. The image must not be written to.

    Processes share what they map, and the system reclaims that memory when it needs it, unless `folder` itself lies in
    memory (/dev/shm). The key of an entry is the file's device, inode, size and times. One of the times (ctime) cannot
    be set by any program, so changed content is never taken for the old content, unless it changed within one tick of
    the system's clock (4 ms). A photograph is also decoded again if it was renamed, or if the length of its entry is
    wrong. The cache never removes an entry; you may delete the folder at any time.
    Raises DataError as `decode` does, and NoseprintError if `folder` cannot be written.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return decode(path)  # raises the right error
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    entry = folder / _VERSION / f"{status.st_ino % 256:02x}" / "-".join(f"{number:x}" for number in key)
    image = _read_entry(entry)
    if image is None:
        image = decode(path)
        with friendly_write_errors(entry):
            try:
                _write_entry(image, entry)
            except OSError as error:  # if the disk or the quota is full (of bytes or files), go on without an entry
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
    return image


def _read_entry(entry: Path) -> Image | None:
    """The image in `entry`; None if there is none, or if its length is wrong."""
    try:
        handle = os.open(entry, os.O_RDONLY)
    except OSError:  # missing; if it is another fault, writing the entry reports it
        return None
    try:
        data = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        height, width = _HEADER.unpack_from(data)
    except (ValueError, struct.error):  # empty, or shorter than a header
        return None
    finally:
        os.close(handle)
    if len(data) != _HEADER.size + height * width * 3:
        return None
    return np.frombuffer(data, np.uint8, offset=_HEADER.size).reshape(height, width, 3)


def _write_entry(image: Image, entry: Path) -> None:
    """Write `image` aside and rename it to `entry`, which other processes may do at the same time.

    `atomic_write` would wait for the disk, which takes ten times as long as decoding.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(entry.parent)
    if disk.free - image.nbytes <= min(MIN_FREE_SHARE * disk.total, MIN_FREE_BYTES):
        return
    with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".", suffix=".part", delete=False) as file:
        try:
            file.write(_HEADER.pack(*image.shape[:2]))
            file.write(image.data)
            file.close()
            Path(file.name).replace(entry)
        except BaseException:
            Path(file.name).unlink()
            raise
