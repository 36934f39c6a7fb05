import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as reference_log_loss

from noseprint.calibration.reliability import (
    brier,
    expected_calibration_error,
    log_loss,
    reliability_curve,
    reliability_scores,
)
from noseprint.calibration.thresholds import wilson_interval
from noseprint.errors import NoseprintError


def drawn(n=1000, seed=0, identities=30, ties=False):
    """Probabilities that are right, the truth, and the identities of each pair's images."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.4, 0.4, n)
    p = np.round(p, 1) if ties else p
    same = rng.random(n) < p
    a = rng.integers(0, identities, n)
    return p, same, a, np.where(same, a, rng.integers(0, identities, n))


@pytest.mark.parametrize("ties", [False, True])
def test_proper_scores_are_scikit_learns(ties):
    p, same, *_ = drawn(ties=ties)
    assert brier(p, same) == pytest.approx(brier_score_loss(same, p))
    assert log_loss(p, same) == pytest.approx(reference_log_loss(same, np.clip(p, 1e-15, 1 - 1e-15)))
    assert log_loss(np.array([0.0, 1.0]), np.array([True, True])) == pytest.approx(-np.log(1e-15) / 2)


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_the_curve_is_scikit_learns(bins):
    p, same, *_ = drawn()
    curve = reliability_curve(p, same, bins=bins)
    share, probability = calibration_curve(same, p, n_bins=bins, strategy="quantile")
    np.testing.assert_allclose(curve.share, share)
    np.testing.assert_allclose(curve.probability, probability)
    assert curve.pairs.sum() == len(p)
    assert np.ptp(curve.pairs) <= 1
    for k in range(bins):
        bounds = wilson_interval(round(share[k] * curve.pairs[k]), int(curve.pairs[k]))
        assert (curve.low[k], curve.high[k]) == pytest.approx(bounds)


@pytest.mark.parametrize("ties", [False, True])
def test_the_calibration_error_is_that_of_a_loop(ties):
    p, same, *_ = drawn(ties=ties)
    edges = np.quantile(p, np.linspace(0, 1, 11))
    error = 0.0
    members = [[] for _ in range(10)]
    for row, value in enumerate(p):
        members[sum(value > edge for edge in edges[1:-1])].append(row)
    for rows in filter(None, members):
        error += abs(np.mean(p[rows]) - np.mean(same[rows])) * len(rows) / len(p)
    assert expected_calibration_error(p, same) == pytest.approx(error)


def test_equal_probabilities_are_one_bin():
    same = np.array([True, False, False, False])
    curve = reliability_curve(np.full(4, 0.5), same)
    assert (curve.pairs.tolist(), curve.share.tolist()) == ([4], [0.25])
    assert expected_calibration_error(np.full(4, 0.5), same) == 0.25


def test_bootstrapped_bounds_hold_the_share_and_know_that_pairs_share_identities():
    """Thirty times the same pairs are no better known than once."""
    p, same, a, b = drawn(300)
    once = reliability_curve(p, same, identity_a=a, identity_b=b, bins=4)
    often = reliability_curve(*(np.tile(x, 30) for x in (p, same)), bins=4)
    again = reliability_curve(
        np.tile(p, 30), np.tile(same, 30), identity_a=np.tile(a, 30), identity_b=np.tile(b, 30), bins=4
    )
    np.testing.assert_allclose(again.low, once.low, atol=0.02)
    assert ((once.low <= once.share) & (once.share <= once.high)).all()
    assert ((often.high - often.low) < (again.high - again.low) / 2).all()


def test_intervals_hold_the_value():
    p, same, a, b = drawn(3000)
    found = reliability_scores(p, same, a, b)
    assert found.log_loss.low < found.log_loss.value == log_loss(p, same) < found.log_loss.high
    assert found.brier.low < found.brier.value == brier(p, same) < found.brier.high
    calibration = found.calibration_error
    assert calibration.low < calibration.value == expected_calibration_error(p, same) < calibration.high


def test_the_interval_of_a_calibration_error_ends_at_none():
    lows = [reliability_scores(*drawn(seed=seed, identities=8)).calibration_error.low for seed in range(12)]
    assert min(lows) == 0


def pairs_of(seed, identities, pairs):
    """Pairs of a source with easy and hard identities, and what a timid curve says of them."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 0.5, identities)
    same = np.arange(pairs) % 2 == 0
    a = rng.integers(0, identities, pairs)
    b = np.where(same, a, (a + rng.integers(1, identities, pairs)) % identities)
    score = np.where(same, 1.5, -1.5) + (effect[a] + effect[b]) / np.sqrt(2) + rng.normal(0, 1, pairs)
    return 1 / (1 + np.exp(-1.5 * score)), same, a, b


def test_the_interval_of_the_calibration_error_holds_the_true_one():
    """Of the replicates as they are 48 of these 100 do, and 4 do not even hold the value they are of."""
    truth = expected_calibration_error(*pairs_of(99, 200_000, 400_000)[:2])
    held = around = 0
    for seed in range(100):
        found = reliability_scores(*pairs_of(seed, 20, 400)).calibration_error
        held += found.low <= truth <= found.high
        around += found.low < found.value < found.high
    assert held >= 80
    assert around == 100


def test_of_four_identities_nothing_can_be_told():
    p, same, a, b = drawn(300)
    few = [np.asarray(labels) % 4 for labels in (a, b)]
    found = reliability_scores(p, same, *few)
    for score, most in ((found.log_loss, -np.log(1e-15)), (found.brier, 1), (found.calibration_error, 1)):
        assert (score.low, score.high) == (0, most)
    curve = reliability_curve(p, same, identity_a=few[0], identity_b=few[1])
    assert not curve.low.any()
    assert (curve.high == 1).all()


def test_wrong_probabilities_score_worse():
    p, same, *_ = drawn(5000)
    odds = np.log(p) - np.log1p(-p)
    sharper = 1 / (1 + np.exp(-3 * odds))
    assert log_loss(sharper, same) > log_loss(p, same) + 0.05
    assert expected_calibration_error(sharper, same) > 2 * expected_calibration_error(p, same)


@pytest.mark.parametrize("score", [brier, log_loss, expected_calibration_error, reliability_curve])
@pytest.mark.parametrize("p", [[], [0.5, 1.1], [np.nan, 0.5]])
def test_what_is_no_probability_is_refused(score, p):
    with pytest.raises(NoseprintError, match=r"0\.\.1"):
        score(np.array(p), np.zeros(len(p), bool))
