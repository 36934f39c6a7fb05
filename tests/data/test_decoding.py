import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from noseprint.data.decoding import decode, find_faults
from noseprint.errors import DataError, NoseprintError

HEIC = Path(__file__).with_name("sideways.heic")
UPRIGHT = np.zeros((40, 56, 3), np.uint8)
UPRIGHT[:20], UPRIGHT[20:, :28], UPRIGHT[20:, 28:] = (200, 40, 40), (40, 200, 40), (40, 40, 200)


def saved(path, format, *, mode="RGB", pixels=UPRIGHT, **options):
    Image.fromarray(pixels).convert(mode).save(path, format, **options)
    return path


def is_upright(image):
    """Whether each of the three fields has its colour, away from the edges, which a lossy format blurs."""
    fields = [np.s_[4:16, 4:52], np.s_[26:36, 4:22], np.s_[26:36, 36:52]]
    return image.shape == UPRIGHT.shape and all(
        np.abs(image[field].mean((0, 1)) - UPRIGHT[field].mean((0, 1))).max() < 12 for field in fields
    )


def problem_of(path):
    with pytest.raises(DataError) as caught:
        decode(path)
    (fault,) = caught.value.faults
    assert fault.file == path
    return fault.problem


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_every_format_becomes_upright_rgb(tmp_path, format):
    image = decode(saved(tmp_path / "x", format))
    assert image.dtype == np.uint8
    assert is_upright(image)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_turns_the_image_upright(tmp_path, format):
    sideways = np.rot90(UPRIGHT)  # as a camera held upright stores it; 6 means: turn by 90 degrees clockwise
    image = decode(saved(tmp_path / "x", format, pixels=sideways, exif=exif(6)))
    assert is_upright(image)


def test_heic_is_turned_upright(tmp_path):
    assert is_upright(decode(HEIC))
    data = HEIC.read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut").write_bytes(data[:length])
        assert problem_of(tmp_path / "cut")
    for at in range(data.index(b"mdat"), len(data), 5):
        (tmp_path / "x").write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        with suppress(DataError):
            decode(tmp_path / "x")


@pytest.mark.parametrize(("path", "kind"), [(HEIC, "HEIC"), (None, "AVIF")])
def test_what_reads_heic_and_avif_is_named_where_it_is_not_installed(tmp_path, monkeypatch, path, kind):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    problem = problem_of(path or saved(tmp_path / "x", "AVIF"))
    assert problem.startswith(f"is {kind}, which needs an extra package: pip install noseprint[heic], or convert")


def test_the_first_of_several_pictures_in_a_jpeg_is_taken(tmp_path):
    images = [Image.fromarray(UPRIGHT), Image.fromarray(255 - UPRIGHT)]
    images[0].save(tmp_path / "x.mpo", "MPO", save_all=True, append_images=images[1:])
    assert is_upright(decode(tmp_path / "x.mpo"))


@pytest.mark.parametrize(("format", "mode"), [("PNG", "L"), ("PNG", "1"), ("PNG", "LA"), ("JPEG", "L"), ("TIFF", "L")])
def test_grey_images_become_rgb(tmp_path, format, mode):
    image = decode(saved(tmp_path / "x", format, mode=mode))
    assert image.shape == UPRIGHT.shape
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize(("format", "mode"), [("PNG", "P"), ("JPEG", "CMYK"), ("TIFF", "CMYK"), ("PNG", "RGBA")])
def test_other_colours_become_rgb(tmp_path, format, mode):
    image = decode(saved(tmp_path / "x", format, mode=mode))
    assert is_upright(image)


def test_alpha_is_dropped_and_the_hidden_colours_are_shown(tmp_path):
    transparent = np.dstack([UPRIGHT, np.zeros((40, 56), np.uint8)])
    Image.fromarray(transparent).save(tmp_path / "x.png")
    assert (decode(tmp_path / "x.png") == UPRIGHT).all()


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_16_bit_images_keep_the_upper_8_bits(tmp_path, kind):
    deep = np.ascontiguousarray(UPRIGHT[..., ::-1]).astype(np.uint16) * 256 + 77  # OpenCV writes BGR
    (tmp_path / "x").write_bytes(cv2.imencode(kind, deep)[1].tobytes())
    assert np.abs(decode(tmp_path / "x").astype(int) - UPRIGHT).max() <= 1


@pytest.mark.parametrize("kind", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_16_bit_files_that_use_fewer_bits_are_not_black(tmp_path, kind, bits):
    deep = np.left_shift(UPRIGHT[..., ::-1], bits - 8, dtype=np.uint16)
    (tmp_path / "x").write_bytes(cv2.imencode(kind, deep)[1].tobytes())
    assert (decode(tmp_path / "x") == UPRIGHT).all()
    (tmp_path / "grey").write_bytes(cv2.imencode(kind, deep[..., 2])[1].tobytes())
    assert (decode(tmp_path / "grey") == UPRIGHT[..., :1]).all()


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_a_dark_image_of_16_or_8_bits_stays_dark(tmp_path, kind):
    for dark in (UPRIGHT.astype(np.uint16) * 21, UPRIGHT // 16):  # up to 4200 of 65535, and 12 of 255
        (tmp_path / "x").write_bytes(cv2.imencode(kind, dark)[1].tobytes())
        assert decode(tmp_path / "x").max() in (12, 16)


def test_one_pixel_is_an_image(tmp_path):
    assert decode(saved(tmp_path / "x", "PNG", pixels=UPRIGHT[:1, :1])).tolist() == [[[200, 40, 40]]]


@pytest.mark.parametrize(
    "name", ["A*n ü.jpg", "two\nlines.jpg", "犬の鼻.jpg", "-rf $(x) ;'\".jpg", " .jpg", "\udcff.jpg"]
)
def test_any_file_name_is_accepted(tmp_path, name):
    saved(tmp_path / "x", "JPEG").rename(tmp_path / name)
    assert decode(tmp_path / name).shape == UPRIGHT.shape


def test_a_file_that_is_not_an_image_is_rejected(tmp_path):
    for content, message in {
        b"": "is empty",
        b"not an image": "is not a JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF image",
        b"\x89PNG\r\n\x1a\n": "cut off",
        b"\xff\xd8\xff\xd9": "cut off",
        b"GIF89a": "is not a JPEG",
        b"BM" + bytes(60): "no size",
    }.items():
        (tmp_path / "broken.jpg").write_bytes(content)
        assert message in problem_of(tmp_path / "broken.jpg")
    with pytest.raises(NoseprintError, match=r"broken\.jpg: .*: replace it$"):
        decode(tmp_path / "broken.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_rejected_at_every_length(tmp_path, format):
    data = saved(tmp_path / "x", format, pixels=np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8))
    data = data.read_bytes()
    for length in {*range(0, len(data), 7), len(data) - 2, len(data) - 1}:
        (tmp_path / "cut").write_bytes(data[:length])
        assert problem_of(tmp_path / "cut")


def test_a_png_with_a_changed_byte_is_rejected(tmp_path):
    data = bytearray(saved(tmp_path / "x.png", "PNG").read_bytes())
    data[60] ^= 1
    (tmp_path / "x.png").write_bytes(data)
    assert "is damaged" in problem_of(tmp_path / "x.png")


def test_a_decompression_bomb_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png", compress_level=1)  # 220 kB
    assert "20000 x 20000 pixels, above the limit of 64 Mpx" in problem_of(tmp_path / "bomb.png")


def test_a_path_that_is_not_a_file_is_rejected_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, message in {
        tmp_path / "gone.jpg": "no such photograph",
        tmp_path: "not a regular file",
        tmp_path / "pipe.jpg": "not a regular file",
        tmp_path / "loop.jpg": "symbolic links",
        tmp_path / ("x" * 300): "too long",
        tmp_path / "a\0b.jpg": "null byte",
    }.items():
        assert message in problem_of(path)


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    assert f"{2**40} bytes, above the limit of 512 MiB" in problem_of(tmp_path / "huge.jpg")


def test_an_unreadable_file_is_rejected(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.jpg", "JPEG")
    monkeypatch.setattr(type(path), "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "no entry")))
    assert "cannot be read (no entry)" in problem_of(path)


def test_opencv_prints_nothing(tmp_path):
    path = saved(tmp_path / "x", "TIFF")
    path.write_bytes(path.read_bytes()[:-900])
    code = f"from pathlib import Path; from noseprint.data.decoding import *; print(find_faults([Path({str(path)!r})]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "is damaged" in done.stdout
    assert done.stderr == ""


def test_all_faults_are_found_in_order(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(30)]
    for k, path in enumerate(paths):
        if k % 7:
            saved(path, "PNG")
    assert [fault.file for fault in find_faults(paths)] == paths[::7]
    assert find_faults([]) == []
