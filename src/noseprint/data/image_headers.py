"""Checks the first and last bytes of an image file, before anything is decoded.

Only a few formats reach the decoders, and no image of unknown size does.
"""

import re
from typing import Literal

MAX_PIXELS = 2**26
"""The largest image that is decoded: 64 Mpx, 192 MiB as RGB."""

FORMATS = "JPEG, PNG, WebP, TIFF or BMP"
_MARKER = re.compile(rb"\xff([^\x00\xff])")  # as libjpeg looks for the next marker
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15: they state the size
_TRUNCATED = "is cut off (the end of the image is missing)"
_SEVERAL = "holds several images (an animation or pages)"


def header_problem(data: bytes) -> str | None:
    """Why an image file must not be decoded, or None: another format, truncated, animated, too large."""
    if data.startswith(b"\xff\xd8\xff"):
        result = _jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        result = _png(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        result = _webp(data)
    elif data.startswith((b"II*\0", b"MM\0*")):
        result = _tiff(data)
    elif data.startswith(b"BM"):
        result = _bmp(data)
    elif data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1"):
        return "is HEIC, which noseprint cannot read (convert it to JPEG)"
    else:
        return f"is not a {FORMATS} image"
    if isinstance(result, str):
        return result
    width, height = result
    if not width or not height:
        return "is damaged (its header states no size)"
    if width * height > MAX_PIXELS:
        return f"has {width} x {height} pixels, above the limit of {MAX_PIXELS // 2**20} Mpx"
    return None


def _number(data: bytes, at: int, *, size: int, order: Literal["little", "big"]) -> int:
    """Read an unsigned number. Bytes beyond the end are ignored, so that a short file raises nothing."""
    return int.from_bytes(data[at : at + size], order)


def _jpeg(data: bytes) -> tuple[int, int] | str:
    """Walk the segments up to the scan. A search would find the thumbnail in a segment: its size and its end."""
    width = height = 0
    at = 2
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = data[match.start() + 1], match.end()
        if marker in _FRAMES:
            height = _number(data, at + 3, size=2, order="big")
            width = _number(data, at + 5, size=2, order="big")
        if marker == 0xDA:
            return (width, height) if data.rfind(b"\xff\xd9", at) >= 0 else _TRUNCATED
        if marker not in _STANDALONE:
            at += _number(data, at, size=2, order="big")
    return _TRUNCATED


def _png(data: bytes) -> tuple[int, int] | str:
    """Walk the chunks: OpenCV would allocate the size that a chunk claims, up to 4 GiB, before it reads it."""
    width = height = 0
    at = 8
    while at + 12 <= len(data):
        kind = data[at + 4 : at + 8]
        if kind == b"acTL":
            return _SEVERAL
        if kind == b"IHDR":
            width = max(width, _number(data, at + 8, size=4, order="big"))
            height = max(height, _number(data, at + 12, size=4, order="big"))
        at += 12 + _number(data, at, size=4, order="big")
        if kind == b"IEND":
            return width, height
    return _TRUNCATED


def _webp(data: bytes) -> tuple[int, int] | str:
    if _number(data, 4, size=4, order="little") + 8 > len(data):
        return _TRUNCATED
    kind = data[12:16]
    if kind == b"VP8X":
        if _number(data, 20, size=1, order="little") & 2:
            return _SEVERAL
        return _number(data, 24, size=3, order="little") + 1, _number(data, 27, size=3, order="little") + 1
    if kind == b"VP8L":
        bits = _number(data, 21, size=4, order="little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _number(data, 26, size=2, order="little") & 0x3FFF, _number(data, 28, size=2, order="little") & 0x3FFF


def _tiff(data: bytes) -> tuple[int, int] | str:
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    start = _number(data, 4, size=4, order=order)
    end = start + 2 + 12 * _number(data, start, size=2, order=order)
    sides = {256: 0, 257: 0}  # ImageWidth, ImageLength
    for at in range(start + 2, min(end, len(data)), 12):
        tag = _number(data, at, size=2, order=order)
        if tag in sides:
            short = _number(data, at + 2, size=2, order=order) == 3
            sides[tag] = max(sides[tag], _number(data, at + 8, size=2 if short else 4, order=order))
    if _number(data, end, size=4, order=order):
        return _SEVERAL
    return sides[256], sides[257]


def _bmp(data: bytes) -> tuple[int, int]:
    size = 2 if _number(data, 14, size=4, order="little") == 12 else 4
    width, height = (_number(data, 18 + k * size, size=size, order="little") for k in (0, 1))
    return width, min(height, 2 ** (8 * size) - height)  # a negative height means top down
