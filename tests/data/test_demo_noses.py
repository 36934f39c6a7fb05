"""Drawn noses: beads identify the identity, looks do not, and photographs are as requested."""

import numpy as np
import pytest

from noseprint.data.demo_noses import LOOKS, draw_nose, photograph

MIDDLE = (slice(60, 110), slice(70, 266))  # skin above the nostrils


def beads(identity: int, *, seed: int = 0) -> np.ndarray:
    patch = draw_nose(identity, seed=seed).shine[MIDDLE]
    return (patch - patch.mean()) / patch.std()


def take(shot: int, *, short: int = 96, motion: float = 0.0) -> np.ndarray:
    return photograph(draw_nose(0, seed=0), short=short, motion=motion, rng=np.random.default_rng(shot))


def test_beads_belong_to_the_identity_even_within_one_look():
    first = beads(0)
    np.testing.assert_array_equal(first, beads(0))
    for other in (1, LOOKS, 2 * LOOKS):
        assert abs(np.mean(first * beads(other))) < 0.3
    assert abs(np.mean(first * beads(0, seed=1))) < 0.3


@pytest.mark.parametrize("short", [64, 101, 240])
def test_the_short_side_is_as_requested(short):
    photo = take(5, short=short)
    assert photo.dtype == np.uint8
    assert min(photo.shape[:2]) == short
    assert max(photo.shape[:2]) <= 1.36 * short


def test_photographs_of_one_nose_differ_and_one_seed_repeats():
    np.testing.assert_array_equal(take(0), take(0))
    brightness = [take(shot).mean() for shot in range(8)]
    assert np.std(brightness) > 5


def test_motion_blur_removes_detail_and_keeps_brightness():
    still, moved = take(2).astype(float), take(2, motion=12).astype(float)
    assert np.abs(np.diff(moved, axis=0)).mean() < 0.9 * np.abs(np.diff(still, axis=0)).mean()
    assert moved.mean() == pytest.approx(still.mean(), rel=0.05)
