import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from noseprint.calibration.thresholds import separating_similarity, threshold_at_precision
from noseprint.errors import NoseprintError


def test_nineteen_pairs_without_an_error_are_enough_and_eighteen_are_not():
    for count, threshold in ((18, None), (19, 0.5)):
        similarity = np.concatenate([np.full(count, 0.5), np.full(count, 0.1)])
        assert threshold_at_precision(similarity, np.repeat([True, False], count)) == threshold


@given(st.lists(st.tuples(st.integers(0, 15), st.booleans()), max_size=120), st.sampled_from([0.5, 0.8, 0.95]))
def test_the_threshold_equals_that_of_a_loop_with_scipys_wilson_interval(pairs, precision):
    similarity = np.array([value / 16 for value, _ in pairs], dtype=np.float32)
    same = np.array([s for _, s in pairs], dtype=bool)
    enough = []
    for threshold in np.unique(similarity):
        accepted = same[similarity >= threshold]
        test = binomtest(int(accepted.sum()), len(accepted), alternative="greater")
        lower = test.proportion_ci(norm.cdf(1), method="wilson").low
        assume(abs(lower - precision) > 1e-9)  # equal but for rounding
        if lower >= precision:
            enough.append(threshold)
    assert threshold_at_precision(similarity, same, precision) == (enough[0] if enough else None)


def test_chance_and_an_empty_table_reach_no_precision():
    rng = np.random.default_rng(0)
    assert threshold_at_precision(rng.random(500), rng.random(500) < 0.5) is None
    assert threshold_at_precision(np.array([]), np.array([], dtype=bool)) is None


@pytest.mark.parametrize("precision", [0, 1, 1.5, -0.1, math.nan])
def test_a_precision_outside_its_range_is_refused(precision):
    with pytest.raises(NoseprintError, match="precision"):
        threshold_at_precision(np.array([0.5]), np.array([True]), precision)


def test_the_separating_similarity_cuts_a_gap_in_the_middle():
    assert separating_similarity(np.array([0.1, 0.3, 0.7, 0.9]), np.array([False, False, True, True])) == 0.5


def test_the_separating_similarity_maximises_youdens_index():
    rng = np.random.default_rng(0)
    same = np.repeat([True, False], 300)
    similarity = rng.normal(np.where(same, 0.8, 0.5), 0.15)
    threshold = separating_similarity(similarity, same)

    def youden(t):
        return (similarity[same] >= t).mean() - (similarity[~same] >= t).mean()

    assert youden(threshold) == max(youden(t) for t in similarity)
    assert 0.55 < threshold < 0.75


def test_pairs_of_one_kind_cannot_be_separated():
    with pytest.raises(NoseprintError, match="both kinds"):
        separating_similarity(np.array([0.1, 0.2]), np.array([True, True]))
