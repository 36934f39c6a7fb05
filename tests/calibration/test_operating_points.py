import numpy as np
import pytest

from noseprint.calibration.operating_points import OperatingPoint, choose_operating_points
from noseprint.metrics.bootstrap import Score, percentile_interval, resampled_pair_weights


def drawn(identities=12, per=7, seed=0):
    """Similarities of all pairs of photographs, higher for same pairs, with an effect of each identity."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(identities), per)
    i, j = np.triu_indices(len(label), 1)
    a, b = label[i], label[j]
    effect = rng.normal(0, 0.05, identities)
    similarity = rng.normal(np.where(a == b, 0.7, 0.3), 0.1) + effect[a] + effect[b]
    return similarity.astype(np.float32), a == b, a, b


def interval(accepted, among, a, b):
    """By weighting pairs one by one."""
    weight = np.concatenate(list(resampled_pair_weights(a, b, seed=0)))
    with np.errstate(invalid="ignore"):
        return percentile_interval((weight @ (accepted & among)) / (weight @ among))


def test_a_threshold_is_the_lowest_whose_interval_keeps_the_rate():
    similarity, same, a, b = drawn()
    points = choose_operating_points(similarity, same, a, b)
    assert [point.fmr for point in points] == [0.1, 0.01]  # 0.001 takes 30,000 different pairs
    for point in points:
        accepted = similarity >= point.threshold
        assert point.measured_fmr.value == pytest.approx(np.mean(accepted[~same]))
        assert point.tmr.value == pytest.approx(np.mean(accepted[same]))
        found = (point.measured_fmr.low, point.measured_fmr.high)
        assert found == pytest.approx(interval(accepted, ~same, a, b))
        assert (point.tmr.low, point.tmr.high) == pytest.approx(interval(accepted, same, a, b))
        assert point.measured_fmr.high <= point.fmr
        lower = similarity[similarity < point.threshold].max()
        assert interval(similarity >= lower, ~same, a, b)[1] > point.fmr
        assert np.mean(similarity[same] < point.fnmr_threshold) <= point.fmr
        assert point.different_below == min(point.threshold, point.fnmr_threshold)


def test_few_different_pairs_support_a_higher_rate_or_none():
    similarity, same, a, b = drawn(identities=6, per=4)
    few = np.flatnonzero(~same)[:100]
    rows = np.concatenate([np.flatnonzero(same), few])
    assert [point.fmr for point in choose_operating_points(*(x[rows] for x in (similarity, same, a, b)))] == [0.3]
    rows = rows[: same.sum() + 29]
    assert choose_operating_points(*(x[rows] for x in (similarity, same, a, b))) == ()


def test_nothing_is_accepted_if_every_threshold_breaks_the_promise():
    _, same, a, b = drawn()
    (point, *_) = choose_operating_points(np.ones(len(same), np.float32), same, a, b)
    assert (point.threshold, point.measured_fmr.value, point.tmr) == (2.0, 0.0, Score(0.0, 0.0, 0.0))


def test_the_lower_threshold_is_where_different_ends():
    at = Score(0.0, 0.0, 0.1)
    assert OperatingPoint(0.1, 0.7, at, at, 0.5).different_below == 0.5
    assert OperatingPoint(0.1, 0.5, at, at, 0.7).different_below == 0.5
