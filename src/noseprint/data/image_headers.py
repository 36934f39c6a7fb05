"""Checks the first and last bytes of an image file, before anything is decoded.

Only a few formats reach the decoders, and no image of unknown size does.
"""

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["JPEG", "PNG", "WebP", "TIFF", "BMP", "HEIC", "AVIF"]
MAX_PIXELS = 2**26
"""The largest image that is decoded: 64 Mpx, 192 MiB as RGB."""

FORMATS = "JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF"
HEAD_BYTES = 64
"""What `image_format` needs of a file."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_SEQUENCE_BRANDS = {b"hevc", b"hevx", b"msf1", b"avis"}
_HEIF_BOXES = {b"ftyp", b"meta", b"iprp", b"ipco", b"ispe", b"mdat"}  # what a phone appends may look like other boxes
_MARKER = re.compile(rb"\xff([^\x00\xff])")  # as libjpeg looks for the next marker
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15: they state the size
_TRUNCATED = "is cut off (the end of the image is missing)"
_SEVERAL = "holds several images (an animation or pages)"
_RAW = "is a camera's raw file, of which only the preview could be read (save it as JPEG or TIFF with a raw converter)"


def image_format(head: bytes) -> Format | None:
    """The format of a file, by its first HEAD_BYTES; None if it is none that noseprint reads."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # a text may begin with BM
        return "BMP"
    if head[4:8] == b"ftyp":
        brands = _brands(head)
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIF_BRANDS else None
    return None


def header_problem(data: bytes) -> str | None:
    """Why an image file must not be decoded, or None: another format, truncated, animated, too large."""
    kind = image_format(data)
    if kind is None:
        return f"is not a {FORMATS} image"
    result = _SIZES[kind](data)
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
    values = {256: 0, 257: 0}  # ImageWidth, ImageLength, and whatever else is there
    for at in range(start + 2, min(end, len(data)), 12):
        tag = _number(data, at, size=2, order=order)
        short = _number(data, at + 2, size=2, order=order) == 3
        values[tag] = max(values.get(tag, 0), _number(data, at + 8, size=2 if short else 4, order=order))
    # In a raw file the first image is a preview (NewSubfileType) or as the sensor has it (PhotometricInterpretation CFA
    # or LinearRaw), or there is a DNGVersion.
    if values.get(254, 0) & 1 or values.get(262) in (32803, 34892) or 50706 in values:
        return _RAW
    if _number(data, end, size=4, order=order):
        return _SEVERAL
    return values[256], values[257]


def _bmp(data: bytes) -> tuple[int, int]:
    size = 2 if _number(data, 14, size=4, order="little") == 12 else 4
    width, height = (_number(data, 18 + k * size, size=size, order="little") for k in (0, 1))
    return width, min(height, 2 ** (8 * size) - height)  # a negative height means top down


def _heif(data: bytes) -> tuple[int, int] | str:
    """Walk the boxes (ISO/IEC 14496-12); the largest of the sizes in them counts (ispe, ISO/IEC 23008-12).

    The other sizes are those of thumbnails, of tiles and of the edge that the decoder cuts off.
    """
    if data[8:12] in _SEQUENCE_BRANDS:
        return _SEVERAL
    sizes, has_pixels = [(0, 0)], False
    todo = [(0, len(data))]
    while todo:
        at, end = todo.pop()
        while at < end:
            length, kind, begin = _number(data, at, size=4, order="big"), data[at + 4 : at + 8], at + 8
            if length == 1:
                length, begin = _number(data, at + 8, size=8, order="big"), at + 16
            after = at + length if length else end  # 0: up to the end
            if not begin <= after <= end:
                if kind in _HEIF_BOXES:
                    return _TRUNCATED
                break
            if kind == b"meta":
                todo.append((begin + 4, after))
            elif kind in (b"iprp", b"ipco"):
                todo.append((begin, after))
            elif kind == b"ispe":
                width, height = (_number(data, begin + k, size=4, order="big") for k in (4, 8))
                sizes.append((width, height))
            has_pixels |= kind in (b"mdat", b"idat")
            at = after
    return max(sizes, key=lambda size: size[0] * size[1]) if has_pixels else _TRUNCATED


def _brands(data: bytes) -> set[bytes]:
    """The major brand and the compatible brands of an ISO base media file."""
    end = min(_number(data, 0, size=4, order="big"), len(data), HEAD_BYTES)
    return {data[at : at + 4] for at in (8, *range(16, end, 4))}


_SIZES: dict[Format, Callable[[bytes], tuple[int, int] | str]] = {
    "JPEG": _jpeg, "PNG": _png, "WebP": _webp, "TIFF": _tiff, "BMP": _bmp, "HEIC": _heif, "AVIF": _heif,
}  # fmt: skip
"""Read the size from the header, or say why not."""
