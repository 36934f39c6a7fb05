import cv2
import numpy as np
import pytest

from noseprint.data.images import decode
from noseprint.errors import NoseprintError


def test_decodes_to_rgb(tmp_path):
    blue = np.zeros((6, 8, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV writes BGR
    path = tmp_path / "A*n ü.png"
    path.write_bytes(cv2.imencode(".png", blue)[1].tobytes())
    image = decode(path)
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 255]


def test_grey_and_transparent_images_become_rgb(tmp_path):
    for channels in (1, 4):
        path = tmp_path / f"{channels}.png"
        path.write_bytes(cv2.imencode(".png", np.full((5, 5, channels), 90, np.uint8))[1].tobytes())
        assert decode(path).shape == (5, 5, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(NoseprintError, match=r"broken\.jpg"):
        decode(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NoseprintError, match=r"gone\.jpg"):
        decode(tmp_path / "gone.jpg")
