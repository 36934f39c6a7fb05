"""Drawn leaves: one seed repeats, classes of a kind differ by a detail only, photographers have their own ground."""

from itertools import combinations

import numpy as np
import pytest

from noseprint.data.demo_leaves import CLASSES, KINDS, draw_leaf, draw_other
from noseprint.data.drawn_photograph import ground


def take(name: str, *, photographer: int = 0, shot: int = 0) -> np.ndarray:
    return draw_leaf(name, photographer, rng=np.random.default_rng(shot), seed=0).astype(float)


def test_there_are_12_classes_named_after_their_kinds():
    assert len(CLASSES) == len(set(CLASSES)) == 12
    assert all(name.startswith(f"{kind}-") for kind, names in KINDS.items() for name in names)


@pytest.mark.parametrize("name", CLASSES)
def test_one_seed_repeats_and_shots_differ(name):
    photo = take(name)
    assert min(photo.shape[:2]) == 144
    np.testing.assert_array_equal(photo, take(name))
    assert not np.array_equal(photo, take(name, shot=1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_detail_is_small_and_can_be_seen(kind):
    for one, other in combinations(KINDS[kind], 2):
        shares = []
        for shot in range(12):
            a, b = take(one, shot=shot), take(other, shot=shot)
            shares.append((np.abs(a - b).max(axis=2) > 12).mean())
        assert 0.001 < np.median(shares) < 0.3


def test_the_ground_belongs_to_the_photographer():
    def mean_of(photographer: int, shot: int) -> np.ndarray:
        return ground(photographer, rng=np.random.default_rng(shot), seed=0).mean((0, 1))

    np.testing.assert_allclose(mean_of(1, 0), mean_of(1, 1), rtol=0.15)
    assert np.abs(mean_of(1, 0) - mean_of(2, 0)).max() > 0.1


def test_other_things_are_drawn_alike():
    photo = draw_other(0, rng=np.random.default_rng(0), seed=0)
    assert photo.dtype == np.uint8
    assert min(photo.shape[:2]) == 144
