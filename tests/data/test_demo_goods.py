"""Drawn goods: a tree of four levels, one seed repeats, siblings differ less than cousins."""

from collections import Counter
from itertools import combinations

import cv2
import numpy as np
import pytest

from noseprint.data.class_tables import read_classes
from noseprint.data.demo_goods import COPIES, EACH, PRODUCTS, TINY, draw_product, write_demo_goods
from noseprint.errors import NoseprintError


def take(name: str, *, shot: int = 0) -> np.ndarray:
    return draw_product(name, 0, rng=np.random.default_rng(shot), seed=0)


def test_the_tree_has_four_levels_of_2_4_8_and_16_nodes():
    assert [len(set(level)) for level in zip(*PRODUCTS, strict=True)] == [16, 8, 4, 2]


@pytest.mark.parametrize("name", [row[0] for row in PRODUCTS])
def test_one_seed_repeats_and_shots_differ(name):
    photo = take(name)
    assert photo.dtype == np.uint8
    assert min(photo.shape[:2]) == 144
    np.testing.assert_array_equal(photo, take(name))
    assert not np.array_equal(photo, take(name, shot=1))


def test_a_product_differs_less_from_its_sibling_than_from_the_others():
    photos = {row: [take(row[0], shot=shot).astype(float) for shot in range(6)] for row in PRODUCTS}
    differences = {True: [], False: []}
    for one, other in combinations(PRODUCTS, 2):
        changed = [(np.abs(a - b).max(2) > 24).mean() for a, b in zip(photos[one], photos[other], strict=True)]
        differences[one[1] == other[1]].append(np.median(changed))
    assert min(differences[True]) > 0.002
    assert np.mean(differences[True]) < 0.5 * np.mean(differences[False])


def test_the_folder_is_drawn_once_and_read_as_classes(tmp_path):
    write_demo_goods(tmp_path / "a")
    write_demo_goods(tmp_path / "a")
    table = read_classes(tmp_path / "a")
    counts = {split: each * len(PRODUCTS) for split, each in EACH.items()}
    counts["train"] += TINY + COPIES
    assert Counter(table.splits) == counts
    assert table.classes == tuple(row[0] for row in PRODUCTS)
    assert len({path.stem for path in table.paths}) == len(table)  # the ids of a submission
    assert sum(min(cv2.imread(str(path)).shape[:2]) < 32 for path in table.split("train").paths) == TINY
    (tmp_path / "a" / "tree.csv").unlink()
    with pytest.raises(NoseprintError, match="has lost or gained files"):
        write_demo_goods(tmp_path / "a")
