import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from noseprint.calibration.reliability import reliability_curve, reliability_scores
from noseprint.errors import NoseprintError
from noseprint.metrics.calibration_error import expected_calibration_error


def drawn(n=1000, seed=0, identities=30, ties=False):
    """Probabilities that are right, the truth, and the identities of each pair's images."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.4, 0.4, n)
    p = np.round(p, 1) if ties else p
    same = rng.random(n) < p
    a = rng.integers(0, identities, n)
    return p, same, a, np.where(same, a, rng.integers(0, identities, n))


@pytest.mark.parametrize("ties", [False, True])
def test_log_loss_and_brier_score_equal_those_of_scikit_learn(ties):
    p, same, a, b = drawn(ties=ties)
    found = reliability_scores(p, same, a, b)
    assert found.brier.value == pytest.approx(brier_score_loss(same, p))
    assert found.log_loss.value == pytest.approx(log_loss(same, np.clip(p, 1e-15, 1 - 1e-15)))


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_the_curve_equals_that_of_scikit_learn(bins):
    p, same, a, b = drawn()
    curve = reliability_curve(p, same, identity_a=a, identity_b=b, bins=bins)
    share, probability = calibration_curve(same, p, n_bins=bins, strategy="quantile")
    np.testing.assert_allclose(curve.share, share)
    np.testing.assert_allclose(curve.probability, probability)
    assert curve.pairs.sum() == len(p)
    assert np.ptp(curve.pairs) <= 1


@pytest.mark.parametrize("ties", [False, True])
def test_the_calibration_error_equals_that_of_a_loop(ties):
    p, same, *_ = drawn(ties=ties)
    edges = np.quantile(p, np.linspace(0, 1, 11))
    error = 0.0
    members = [[] for _ in range(10)]
    for row, value in enumerate(p):
        members[sum(value > edge for edge in edges[1:-1])].append(row)
    for rows in filter(None, members):
        error += abs(np.mean(p[rows]) - np.mean(same[rows])) * len(rows) / len(p)
    assert expected_calibration_error(p, same) == pytest.approx(error)


def test_equal_probabilities_share_a_bin():
    same = np.array([True, False, False, False])
    curve = reliability_curve(np.full(4, 0.5), same, identity_a=np.arange(4), identity_b=np.arange(4))
    assert (curve.pairs.tolist(), curve.share.tolist()) == ([4], [0.25])
    assert expected_calibration_error(np.full(4, 0.5), same) == 0.25


def test_intervals_of_the_curve_allow_for_shared_identities():
    """Thirty copies of the same pairs do not narrow an interval; thirty times as many independent pairs do."""
    p, same, a, b = drawn(300)
    once = reliability_curve(p, same, identity_a=a, identity_b=b, bins=4)
    p, same, a, b = (np.tile(x, 30) for x in (p, same, a, b))
    repeated = reliability_curve(p, same, identity_a=a, identity_b=b, bins=4)
    independent = reliability_curve(p, same, identity_a=np.arange(9000), identity_b=np.arange(9000), bins=4)
    np.testing.assert_allclose(repeated.low, once.low, atol=0.02)
    assert ((once.low <= once.share) & (once.share <= once.high)).all()
    assert ((independent.high - independent.low) < (repeated.high - repeated.low) / 2).all()


def test_intervals_contain_the_value():
    found = reliability_scores(*drawn(3000))
    for score in (found.log_loss, found.brier, found.calibration_error):
        assert score.low < score.value < score.high


def test_the_interval_of_a_calibration_error_is_clipped_at_0():
    lows = [reliability_scores(*drawn(seed=seed, identities=8)).calibration_error.low for seed in range(12)]
    assert min(lows) == 0


def drawn_underconfident(seed, identities, pairs):
    """Pairs of easy and hard identities, and probabilities that are too close to 0.5."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 0.5, identities)
    same = np.arange(pairs) % 2 == 0
    a = rng.integers(0, identities, pairs)
    b = np.where(same, a, (a + rng.integers(1, identities, pairs)) % identities)
    score = np.where(same, 1.5, -1.5) + (effect[a] + effect[b]) / np.sqrt(2) + rng.normal(0, 1, pairs)
    return 1 / (1 + np.exp(-1.5 * score)), same, a, b


def test_the_interval_of_the_calibration_error_contains_the_true_error():
    """Uncorrected intervals contain it in 48 of these 100 draws, and the value itself is outside in 4."""
    truth = expected_calibration_error(*drawn_underconfident(99, 200_000, 400_000)[:2])
    contains_truth = contains_value = 0
    for seed in range(100):
        found = reliability_scores(*drawn_underconfident(seed, 20, 400)).calibration_error
        contains_truth += found.low <= truth <= found.high
        contains_value += found.low < found.value < found.high
    assert contains_truth >= 80
    assert contains_value == 100


def test_with_four_identities_intervals_are_the_whole_range():
    p, same, a, b = drawn(300)
    found = reliability_scores(p, same, a % 4, b % 4)
    for score, most in ((found.log_loss, -np.log(1e-15)), (found.brier, 1), (found.calibration_error, 1)):
        assert (score.low, score.high) == (0, most)
    curve = reliability_curve(p, same, identity_a=a % 4, identity_b=b % 4)
    assert not curve.low.any()
    assert (curve.high == 1).all()


@pytest.mark.parametrize("p", [[], [0.5, 1.1], [np.nan, 0.5]])
def test_values_that_are_not_probabilities_are_refused(p):
    same = names = np.zeros(len(p), bool)
    for score in (
        lambda: expected_calibration_error(np.array(p), same),
        lambda: reliability_curve(np.array(p), same, identity_a=names, identity_b=names),
        lambda: reliability_scores(np.array(p), same, names, names),
    ):
        with pytest.raises(NoseprintError, match=r"0\.\.1"):
            score()
