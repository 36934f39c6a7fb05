import numpy as np
import pytest
import torch
from torch.nn import functional as F

from noseprint.data.central_square import CentralSquare, central_square, triangle_weights
from noseprint.data.transforms import apply_transform

SIZES = ((1, 1), (1, 50), (64, 64), (90, 61), (61, 90), (37, 40), (301, 500), (16, 2000))


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng((height, width)).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [32, 56])
def test_it_is_torchs_antialiased_interpolation_of_the_central_square(height, width, size):
    image = photograph(height, width)
    side = max(1, int(min(height, width) * 7 / 8))
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1)[None]
    square = square.double()  # its float32 is less exact than ours
    expected = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(central_square(image, size), expected, atol=1e-4)
    pixels = apply_transform(CentralSquare(size), image, (0,))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() <= 0.501


def test_a_plain_image_stays_plain_to_the_last_bit():
    for value in (0, 7, 255):
        assert (CentralSquare(32).apply(np.full((75, 90, 3), value, np.uint8)) == value).all()


def test_the_weights_of_each_new_pixel_sum_to_1_and_enlarging_is_linear():
    for side, size in ((100, 32), (33, 32), (20, 64)):
        np.testing.assert_allclose(triangle_weights(side, size).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(triangle_weights(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
