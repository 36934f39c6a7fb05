"""Decoded photographs on disk, so that later epochs and later stages decode nothing."""

import errno
import mmap
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.decoding import Image, decode
from noseprint.files import friendly_write_errors

KEPT_FREE, KEPT_BYTES = 0.1, 5 * 2**30
"""So much of the disk is never filled, this share or so many bytes, the lesser: photographs for which there would be no
room beside it are decoded as without a cache."""

_VERSION = f"2-opencv-{cv2.__version__}"  # raise the number when `decode` returns other pixels or the header changes
_HEADER = struct.Struct("<III")  # height, width, check; the pixels follow
_EVERY = 1021  # bytes, a prime: no two rows of pixels are looked at in the same places, and a page of 4 KiB in four
_sound = set[Path]()  # entries this process has checked: that takes 0.25 ms at 12 Mpx, half as long as a transform does


def reader(folder: Path | None) -> Callable[[Path], Image]:
    """What to decode photographs with: `decode_cached` with this folder, or `decode` where there is none."""
    return partial(decode_cached, folder=folder) if folder else decode


def decode_cached(path: Path, folder: Path) -> Image:
    """`decode`, or its result of an earlier time, mapped from a file in `folder` and not to be written to.

    Processes share what they map, and the system takes that memory back when it is needed for other things: nothing
    fills the memory but a `folder` that lies in it (/dev/shm). A photograph is known by its device, inode, size and
    times, the change of status among them, which nobody can set: another content is not taken for it (but within
    one tick of the system's clock, 4 ms), a renamed file is decoded again. Nothing is ever removed; the folder may be,
    at any time. A damaged entry is decoded again where its length or a CRC-32 of every 1,021st byte does not fit, so
    that no page of 4 KiB goes missing unseen; a few bytes that were changed between those are not found, nor what
    happens after the first reading of an entry by this process.
    Raises DataError as `decode` does, NoseprintError where `folder` cannot be written.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return decode(path)  # which says what is wrong
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    name = "-".join(f"{part:x}" for part in parts)
    entry = folder / _VERSION / f"{status.st_ino % 256:02x}" / name
    image = _mapped(entry)
    if image is None:
        image = decode(path)
        with friendly_write_errors(entry), _where_there_is_room():
            _write(image, entry)
    return image


@contextmanager
def _where_there_is_room() -> Iterator[None]:
    """Go on without an entry for which the disk or the quota has no room; files may run out before bytes do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _mapped(entry: Path) -> Image | None:
    """The picture in `entry`; None where there is none, or not a whole one."""
    try:
        handle = os.open(entry, os.O_RDONLY)
    except OSError:  # where it is more than missing, writing it will tell
        return None
    try:
        data = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        height, width, check = _HEADER.unpack_from(data)
    except (ValueError, struct.error):  # empty or cut short
        return None
    finally:
        os.close(handle)
    if len(data) != _HEADER.size + height * width * 3:
        return None
    image = np.frombuffer(data, np.uint8, offset=_HEADER.size).reshape(height, width, 3)
    if entry not in _sound and _check(image) != check:
        return None
    _sound.add(entry)
    return image


def _check(image: Image) -> int:
    """CRC-32 of every 1,021st byte, four of each page of 4 KiB: what loses one has another."""
    return zlib.crc32(image.reshape(-1)[::_EVERY].tobytes())


def _write(image: Image, entry: Path) -> None:
    """Put `image` into `entry`, several processes the same one if they like.

    Not by `atomic_write`: waiting for the disk would take ten times as long as decoding, and what a power cut leaves
    too short or empty is decoded again.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(entry.parent)
    if disk.free - image.nbytes <= min(KEPT_FREE * disk.total, KEPT_BYTES):
        return
    with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".", suffix=".part", delete=False) as file:
        try:
            file.write(_HEADER.pack(*image.shape[:2], _check(image)))
            file.write(image.data)
            file.close()
            Path(file.name).replace(entry)
        except BaseException:
            Path(file.name).unlink()
            raise
