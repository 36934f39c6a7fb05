import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.errors import NoseprintError
from noseprint.metrics.balanced_pairs import balanced_pairs


def pair_set(a, b):
    return set(zip(a.tolist(), b.tolist(), strict=True))


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), min_size=2, max_size=25),
    st.integers(0, 50),
    st.integers(2, 60),
    st.booleans(),
)
def test_pairs_are_balanced_distinct_and_as_many_as_possible(images, seed, max_pairs, with_encounters):
    identities = [identity for identity, _ in images]
    label, encounters = np.array(identities), np.array([encounter for _, encounter in images])
    i, j = np.triu_indices(len(label), k=1)
    same_pairs = label[i] == label[j]
    if with_encounters:
        same_pairs &= encounters[i] != encounters[j]
    all_same, all_different = int(same_pairs.sum()), int((label[i] != label[j]).sum())
    options = {"seed": seed, "max_pairs": max_pairs, "encounters": encounters if with_encounters else None}
    if min(all_same, all_different) == 0:
        with pytest.raises(NoseprintError, match="at least two identities"):
            balanced_pairs(identities, **options)
        return
    a, b, same = balanced_pairs(identities, **options)
    assert not with_encounters or (encounters[a] != encounters[b])[same].all()
    np.testing.assert_array_equal(label[a] == label[b], same)
    assert same.sum() == (~same).sum() == min(all_same, all_different, max_pairs // 2)
    assert (a < b).all()
    assert len(pair_set(a, b)) == len(a)
    again = balanced_pairs(identities, **options)
    assert pair_set(*again[:2]) == pair_set(a, b)


def test_all_pairs_are_equally_likely():
    identities = ["a"] * 4 + ["b"] * 2 + ["c"] * 3
    counts = np.zeros((9, 9))
    for seed in range(3000):
        a, b, _ = balanced_pairs(identities, seed=seed, max_pairs=6)
        counts[a, b] += 1
    label = np.array(identities)
    i, j = np.triu_indices(9, k=1)
    for kind in (label[i] == label[j], label[i] != label[j]):
        expected = 3 * 3000 / kind.sum()
        assert np.abs(counts[i[kind], j[kind]] - expected).max() < 5 * np.sqrt(expected)
