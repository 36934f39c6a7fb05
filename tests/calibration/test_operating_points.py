import numpy as np
import pytest
from scipy.stats import norm

from noseprint.calibration.operating_points import OperatingPoint, choose_operating_points, least_supported_fmr
from noseprint.metrics.bootstrap import Score, resampled_pair_weights


def drawn(identities=26, per=4, seed=0, held_out=None):
    """Similarities of pairs of photographs, higher for same pairs, with an effect of each identity.

    All pairs, or those that include one of the first `held_out` identities.
    """
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(identities), per)
    i, j = np.triu_indices(len(label), 1)
    i, j = (x[label[i] < (held_out or identities)] for x in (i, j))
    a, b = label[i], label[j]
    effect = rng.normal(0, 0.05, identities)
    similarity = rng.normal(np.where(a == b, 0.7, 0.3), 0.1) + effect[a] + effect[b]
    return similarity.astype(np.float32), a == b, a, b


def interval(accepted, among, a, b, tail):
    """By weighting pairs one by one."""
    weight = np.concatenate(list(resampled_pair_weights(a, b, seed=0)))
    with np.errstate(invalid="ignore"):
        return np.nanquantile((weight @ (accepted & among)) / (weight @ among), [tail, 1 - tail])


@pytest.mark.parametrize(
    ("held_out", "tail", "rates"),
    # norm.cdf(sqrt(n / (n - 1)) * t.ppf(0.025, n - 1)) of n held-out identities; 0.001 takes 3,000 pairs of individuals
    [(26, 0.0178501, [0.1, 0.01]), (8, 0.0057375, [0.1])],
)
def test_a_threshold_is_the_lowest_whose_interval_keeps_the_rate(held_out, tail, rates):
    similarity, same, a, b = drawn(held_out=held_out, per=5)
    points = choose_operating_points(similarity, same, a, b)
    assert [point.fmr for point in points] == rates
    for point in points:
        accepted = similarity >= point.threshold
        assert point.measured_fmr.value == pytest.approx(np.mean(accepted[~same]))
        assert point.tmr.value == pytest.approx(np.mean(accepted[same]))
        found = (point.measured_fmr.low, point.measured_fmr.high)
        assert found == pytest.approx(interval(accepted, ~same, a, b, tail), abs=1e-6)
        assert (point.tmr.low, point.tmr.high) == pytest.approx(interval(accepted, same, a, b, tail), abs=1e-5)
        assert point.measured_fmr.high <= point.fmr
        lower = similarity[similarity < point.threshold].max()
        assert interval(similarity >= lower, ~same, a, b, tail)[1] > point.fmr
        assert np.mean(similarity[same] < point.fnmr_threshold) <= point.fmr
        assert point.different_below == min(point.threshold, point.fnmr_threshold)


def test_few_different_pairs_support_a_higher_rate_or_none():
    similarity, same, a, b = drawn(identities=6)
    few = np.flatnonzero(~same)[::2][:100]
    rows = np.concatenate([np.flatnonzero(same), few])
    assert [point.fmr for point in choose_operating_points(*(x[rows] for x in (similarity, same, a, b)))] == [0.3]
    rows = rows[: same.sum() + 29]
    assert choose_operating_points(*(x[rows] for x in (similarity, same, a, b))) == ()


def test_a_rate_takes_three_divided_by_it_pairs_of_individuals():
    _, same, a, b = drawn(identities=25, per=6)
    assert least_supported_fmr(same, a, b) == 0.01  # 300 pairs of individuals
    _, same, a, b = drawn(identities=24, per=10)
    assert least_supported_fmr(same, b, a) == 3 / 276  # whichever photograph is named first
    _, same, a, b = drawn(identities=12, held_out=4)
    assert least_supported_fmr(same, a, b) == 3 / 38  # 6 of two that are held out, 4 x 8 with others
    assert least_supported_fmr(same[~same][:29], a[~same][:29], b[~same][:29]) > 1
    assert least_supported_fmr(same[same], a[same], b[same]) == np.inf


def test_the_promise_is_kept_among_other_individuals():
    """From 5 held-out individuals and 10 others each time; without widening, one threshold in ten is too low."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(15), 4)
    i, j = np.triu_indices(len(label), 1)
    a, b = label[i][label[i] < 5], label[j][label[i] < 5]
    rates = []
    for _ in range(200):
        effect, effect_of_two = rng.normal(0, 0.05, 15), rng.normal(0, 0.05, (15, 15))
        mean = np.where(a == b, 0.7, 0.3) + effect[a] + effect[b] + effect_of_two[a, b]
        (point,) = choose_operating_points(rng.normal(mean, 0.05).astype(np.float32), a == b, a, b)
        assert point.fmr == 0.1  # 60 pairs of individuals do not support 0.01
        rates.append(norm.sf(point.threshold, loc=0.3, scale=0.1))  # the sum of four effects of 0.05
    assert np.mean(np.array(rates) > 0.1) < 0.06


def test_nothing_is_accepted_if_every_threshold_breaks_the_promise():
    _, same, a, b = drawn()
    (point, *_) = choose_operating_points(np.ones(len(same), np.float32), same, a, b)
    assert (point.threshold, point.measured_fmr.value, point.tmr) == (2.0, 0.0, Score(0.0, 0.0, 0.0))


def test_the_lower_threshold_is_where_different_ends():
    at = Score(0.0, 0.0, 0.1)
    assert OperatingPoint(0.1, 0.7, at, at, 0.5).different_below == 0.5
    assert OperatingPoint(0.1, 0.5, at, at, 0.7).different_below == 0.5
