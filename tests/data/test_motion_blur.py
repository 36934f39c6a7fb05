import random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noseprint.data.motion_blur import MAX_TAPS, MotionBlur, mean_of_shifted
from noseprint.data.transforms import A, apply_transform

RNG = np.random.default_rng(0)
OPTIONS = [
    {"blur_limit": (3, 39)},
    {"blur_limit": (3, 3)},
    {"blur_limit": (9, 21), "allow_shifted": False},
    {"blur_limit": (3, 41), "angle_range": (0, 0), "direction_range": (1, 1), "allow_shifted": False},  # halves
    {"blur_limit": (3, 41), "angle_range": (90, 90), "direction_range": (0, 0)},
]


def draws(transform: A.MotionBlur, count: int) -> list[dict]:
    transform.py_random = random.Random(5)
    return [transform.get_params() for _ in range(count)]


def kernel_of(taps: list[tuple[int, int]], side: int) -> np.ndarray:
    kernel = np.zeros((side, side), np.float32)
    for y, x in taps:
        kernel[side // 2 + y, side // 2 + x] = 1 / len(taps)
    return kernel


@pytest.mark.parametrize("options", OPTIONS)
def test_kernels_are_those_of_albumentations(options):
    """Not only the same distribution: the same kernels from the same random numbers, and as many numbers drawn."""
    ours, stock = MotionBlur(p=1.0, **options), A.MotionBlur(p=1.0, **options)
    for mine, theirs in zip(draws(ours, 500), draws(stock, 500), strict=True):
        kernel = theirs["kernel"]
        assert np.array_equal(kernel_of(mine["taps"], len(kernel)), kernel)
    assert ours.py_random.getstate() == stock.py_random.getstate()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    taps=st.sets(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=60),
    extreme=st.booleans(),
)
def test_pixels_equal_those_of_the_dense_convolution(height, width, taps, extreme):
    """Within a grey level, at the border too, even where the line is longer than the image."""
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    if extreme:
        image[:] = 255
    ours = mean_of_shifted(image, sorted(taps))
    dense = cv2.filter2D(image, -1, kernel_of(sorted(taps), 41))
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - dense).max() <= 1


@pytest.mark.parametrize("shape", [(224, 224, 3), (60, 84, 3), (5, 3, 3)])
def test_the_transform_equals_that_of_albumentations(shape):
    image = cv2.GaussianBlur(RNG.integers(0, 256, shape, np.uint8), (5, 5), 0)
    ours, stock = MotionBlur(p=0.5, blur_limit=(3, 39)), A.MotionBlur(p=0.5, blur_limit=(3, 39))
    blurred = 0
    for i in range(30):
        mine, theirs = apply_transform(ours, image, (i,)), apply_transform(stock, image, (i,))
        assert np.abs(mine.astype(int) - theirs).max() <= 1
        blurred += not np.array_equal(mine, image)
    assert 5 < blurred < 25


def test_the_largest_number_of_taps_does_not_overflow():
    image = np.full((2, 300, 3), 255, np.uint8)
    assert (mean_of_shifted(image, [(0, x) for x in range(MAX_TAPS)]) == 255).all()
    with pytest.raises(ValueError, match="at most 257"):
        MotionBlur(blur_limit=(3, MAX_TAPS + 2))


def test_other_types_are_rejected():
    with pytest.raises(TypeError, match="uint8 images, not for float32"):
        mean_of_shifted(np.zeros((4, 4, 3), np.float32), [(0, 0)])
