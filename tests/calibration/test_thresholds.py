import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.calibration.thresholds import separating_similarity, threshold_at_precision, wilson_interval
from noseprint.errors import NoseprintError


def test_wilson_agrees_with_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


@given(st.integers(0, 50), st.integers(0, 50))
def test_wilson_ends_solve_the_score_equation(good, bad):
    trials = good + bad
    low, high = wilson_interval(good, trials)
    assert 0 <= low <= high <= 1
    if trials == 0:
        assert (low, high) == (0, 1)
        return
    for end in (low, high):
        z = (good / trials - end) / math.sqrt(max(end * (1 - end), 1e-300) / trials)
        assert abs(z) == pytest.approx(1.95996, abs=1e-3) or end in (0, 1) or end == pytest.approx(good / trials)


def test_nineteen_clean_pairs_are_enough_and_eighteen_are_not():
    for count, want in ((18, None), (19, 0.5)):
        similarity = np.concatenate([np.full(count, 0.5), np.full(count, 0.1)])
        assert threshold_at_precision(similarity, np.repeat([True, False], count)) == want


def test_the_lowest_threshold_is_found_past_a_dip():
    # a different pair at the very top, then 200 same: a search from the top that stops at the first fault finds nothing
    similarity = np.linspace(1, 0, 402)
    same = np.zeros(402, dtype=bool)
    same[1:201] = True
    threshold = threshold_at_precision(similarity, same)
    accepted = similarity >= threshold
    assert same[1:201].sum() == (same & accepted).sum()
    assert 0.95 <= same[accepted].mean() < 1


@given(st.lists(st.tuples(st.integers(0, 15), st.booleans()), max_size=120), st.sampled_from([0.5, 0.8, 0.95]))
def test_threshold_equals_a_naive_search(pairs, precision):
    similarity = np.array([value / 16 for value, _ in pairs], dtype=np.float32)
    same = np.array([s for _, s in pairs], dtype=bool)
    good = [
        t
        for t in sorted(set(similarity.tolist()))
        if wilson_interval(int(same[similarity >= t].sum()), int((similarity >= t).sum()), z=1.0)[0] >= precision
    ]
    assert threshold_at_precision(similarity, same, precision) == (good[0] if good else None)


def test_chance_and_emptiness_reach_no_precision():
    rng = np.random.default_rng(0)
    assert threshold_at_precision(rng.random(500), rng.random(500) < 0.5) is None
    assert threshold_at_precision(np.array([]), np.array([], dtype=bool)) is None


@pytest.mark.parametrize("precision", [0, 1, 1.5, -0.1, math.nan])
def test_a_precision_outside_its_range_is_refused(precision):
    with pytest.raises(NoseprintError, match="precision"):
        threshold_at_precision(np.array([0.5]), np.array([True]), precision)


def test_the_separating_similarity_cuts_the_gap_in_its_middle():
    assert separating_similarity(np.array([0.1, 0.3, 0.7, 0.9]), np.array([False, False, True, True])) == 0.5


def test_the_separating_similarity_maximises_youdens_index():
    rng = np.random.default_rng(0)
    same = np.repeat([True, False], 300)
    similarity = rng.normal(np.where(same, 0.8, 0.5), 0.15)
    at = separating_similarity(similarity, same)

    def youden(t):
        return (similarity[same] >= t).mean() - (similarity[~same] >= t).mean()

    assert youden(at) == max(youden(t) for t in similarity)
    assert 0.55 < at < 0.75


def test_one_kind_of_pair_separates_nothing():
    with pytest.raises(NoseprintError, match="both kinds"):
        separating_similarity(np.array([0.1, 0.2]), np.array([True, True]))
