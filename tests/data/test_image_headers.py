import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from noseprint.data.image_headers import header_problem, image_format

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8), (0, 0), 2)
FORMATS = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "webp with EXIF": ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
}


def encoded(format, *, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def is_read_as(data, width, height, monkeypatch):
    """Whether the header is read as width x height: with a limit of one pixel less, the message names these numbers."""
    monkeypatch.setattr("noseprint.data.image_headers.MAX_PIXELS", width * height - 1)
    return f"{width} x {height}" in (header_problem(data) or "")


@pytest.mark.parametrize("format", FORMATS)
def test_a_complete_image_passes_and_its_size_is_read(format, monkeypatch):
    name, options = FORMATS[format]
    data = encoded(name, **options)
    assert header_problem(data) is None
    assert is_read_as(data, 56, 40, monkeypatch)


def test_a_big_endian_tiff_and_a_top_down_bitmap_are_read(monkeypatch):
    entry = b"\x01%c\0\x03\0\0\0\x01\0%c\0\0"
    tiff = b"MM\0*\0\0\0\x08\0\x02" + entry % (0, 56) + entry % (1, 40) + bytes(4)
    assert is_read_as(tiff, 56, 40, monkeypatch)
    bitmap = bytearray(encoded("BMP"))
    bitmap[22:26] = (-40).to_bytes(4, "little", signed=True)
    assert is_read_as(bytes(bitmap), 56, 40, monkeypatch)


@pytest.mark.parametrize("format", ["jpeg", "progressive jpeg", "png", "webp", "lossless webp"])
def test_truncation_at_any_length_is_noticed(format):
    name, options = FORMATS[format]
    data = encoded(name, **options)
    assert all(header_problem(data[:length]) for length in range(len(data)))


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    thumbnail = encoded("JPEG", pixels=PIXELS[:8, :8])
    data = encoded("JPEG")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = data[:2] + segment + data[2:]
    assert header_problem(data) is None
    assert "cut off" in header_problem(data[:-2])


def test_bytes_after_the_end_are_ignored():
    for name in ("JPEG", "PNG", "WEBP", "BMP"):
        assert header_problem(encoded(name) + b"what a phone appends") is None


def test_animations_and_files_of_several_pages_are_rejected():
    for name in ("PNG", "WEBP", "TIFF"):
        data = encoded(name, save_all=True, append_images=[Image.fromarray(255 - PIXELS)])
        assert "several images" in header_problem(data)
    assert "not a JPEG" in header_problem(encoded("GIF"))


def test_a_png_with_a_chunk_that_claims_gigabytes_is_rejected():
    data = bytearray(encoded("PNG"))
    at = data.index(b"IDAT")
    data[at - 4 : at] = b"\xff\xff\xff\xff"
    assert "cut off" in header_problem(bytes(data))


def test_the_largest_of_two_sizes_counts():
    data = encoded("PNG")
    second = bytearray(data[8:33])
    second[8:16] = (20_000).to_bytes(4, "big") * 2
    assert "20000 x 20000" in header_problem(data[:33] + bytes(second) + data[33:])
    assert "20000 x 20000" in header_problem(data[:8] + bytes(second) + data[8:])


@pytest.mark.parametrize("at", [slice(16, 20), slice(20, 24)])
def test_an_image_without_a_size_is_damaged(at):
    data = bytearray(encoded("PNG"))
    data[at] = bytes(4)
    assert "no size" in header_problem(bytes(data))


HEIC = Path(__file__).with_name("sideways.heic").read_bytes()


@pytest.mark.parametrize("data", [HEIC, encoded("AVIF")], ids=["heic", "avif"])
def test_the_size_in_a_heic_or_avif_file_is_read(data, monkeypatch):
    assert header_problem(data) is None
    largest = (64, 64) if data is HEIC else (56, 40)  # HEIC is coded in blocks of 64 x 64, and cut off
    assert is_read_as(data, *largest, monkeypatch)
    monkeypatch.undo()
    assert header_problem(data + b"SEFHe\0\0\0") is None  # what some phones append
    assert all(header_problem(data[:length]) for length in range(len(data)))


def test_a_huge_heic_image_and_a_sequence_are_rejected():
    at = HEIC.index(b"ispe") + 8
    huge = HEIC[:at] + (20_000).to_bytes(4, "big") * 2 + HEIC[at + 8 :]
    assert "20000 x 20000 pixels, above the limit" in header_problem(huge)
    assert "several images" in header_problem(HEIC.replace(b"ftypheic", b"ftyphevc"))
    assert "not a JPEG" in header_problem(HEIC.replace(b"heic", b"mp42").replace(b"mif1", b"isom"))


@pytest.mark.parametrize("tag", [(254, 1), (262, 32803), (50706, 4)], ids=["preview", "CFA", "DNGVersion"])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(tag):
    tags = sorted([(256, 160), (257, 120), tag])
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    data += b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in tags) + bytes(4)
    assert "raw file" in header_problem(data)
    assert "raw file" not in (header_problem(data.replace(struct.pack("<H", tag[0]), struct.pack("<H", 305))) or "")


def test_text_that_begins_with_the_letters_of_a_bitmap_is_no_image():
    assert image_format(b"BMI of the dogs, in spring") is None
