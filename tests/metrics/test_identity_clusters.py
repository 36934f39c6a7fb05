from dataclasses import dataclass

import numpy as np

from noseprint.metrics.identity_clusters import identity_clusters


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


def test_clusters_are_connected_by_same_pairs_and_numbered_by_appearance():
    pairs = Table(tuple("abxay"), tuple("bcyxq"))
    a, b = identity_clusters(pairs, np.array([True, True, True, False, False]))
    assert a.tolist() == [0, 0, 1, 0, 1]
    assert b.tolist() == [0, 0, 1, 1, 2]
    a, b = identity_clusters(Table(tuple("zya"), tuple("xwz")), np.array([False, False, True]))
    assert (a.tolist(), b.tolist()) == ([0, 2, 0], [1, 3, 0])
