import numpy as np
import pytest
from scipy.stats import beta

from noseprint.calibration.selective import answering_threshold, lower_bound


def answers(seed: int, images: int, *, photographers: int = 0, spread: float = 0.0):
    """Confidences, which answers are right, and the photographers, who make all their photographs easier or harder."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, photographers, images) if photographers else None
    logit = rng.normal(3, 2.5, images)
    ease = rng.normal(0, spread, photographers)[groups] if photographers else 0
    confidence = 1 / (1 + np.exp(-logit))
    return confidence, rng.random(images) < 1 / (1 + np.exp(-(logit + ease))), groups


@pytest.mark.parametrize(("photographers", "spread", "answered"), [(0, 0, 0.6), (50, 0.7, 0.4)])
def test_the_promise_is_kept_in_95_of_100_simulations(photographers, spread, answered):
    population, right, _ = answers(10**6, 200_000, photographers=20_000 if photographers else 0, spread=spread)
    broken, shares = 0, []
    for seed in range(100):
        confidence, hits, groups = answers(seed, 700, photographers=photographers, spread=spread)
        threshold = answering_threshold(confidence, hits, least=0.95, groups=groups)
        given = population >= (2 if threshold is None else threshold)
        shares.append(given.mean())
        broken += given.any() and right[given].mean() < 0.95
    assert broken <= 9  # 5 are expected at most; more than 9 have a probability below 3 %
    assert np.mean(shares) > answered  # of about .77 that would keep the promise


def test_ignoring_the_photographers_would_promise_more():
    loose = tight = 0.0
    for seed in range(20):
        confidence, right, groups = answers(seed, 700, photographers=12, spread=1.5)
        given = [answering_threshold(confidence, right, least=0.9, groups=g) for g in (None, groups)]
        shares = [0.0 if threshold is None else (confidence >= threshold).mean() for threshold in given]
        loose, tight = loose + shares[0], tight + shares[1]
    assert tight < loose - 1


def test_where_all_is_right_all_is_answered_and_where_nothing_is_nothing():
    confidence = np.linspace(0.3, 1, 200)
    assert answering_threshold(confidence, np.ones(200), least=0.95) == 0.0
    assert answering_threshold(confidence, np.zeros(200), least=0.95) is None
    assert answering_threshold(confidence[:20], np.ones(20), least=0.95) is None  # 20 of 20 may be luck
    assert answering_threshold(np.empty(0), np.empty(0), least=0.95) is None
    few = np.repeat(["a", "b", "c"], [70, 70, 60])
    assert answering_threshold(confidence, np.ones(200), least=0.95, groups=few) is None


def test_equal_confidences_are_answered_together():
    confidence = np.repeat([0.9, 0.6], 200)
    right = np.repeat([True, False], [390, 10])
    assert answering_threshold(confidence, right, least=0.97) == pytest.approx(0.75)


def test_the_bound_is_that_of_clopper_and_pearson():
    right = np.repeat([1.0, 0.0], [95, 5])
    found = lower_bound(right, np.arange(100), correlation=0.0, risk=0.05)
    assert found == pytest.approx(beta.ppf(0.05, 95, 6))
    grouped = np.arange(100) // 4
    assert lower_bound(right, grouped, correlation=0.5, risk=0.05) < found
