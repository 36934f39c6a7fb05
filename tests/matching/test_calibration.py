import json

import numpy as np
import pytest
from scipy.optimize import minimize

from noseprint.errors import NoseprintError
from noseprint.matching.calibration import Platt, fit_platt


def drawn(n=2000, seed=0):
    """Similarities whose true log-odds are 20 s - 16."""
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.6, 1.0, n)
    return similarity, rng.random(n) < 1 / (1 + np.exp(-(20 * similarity - 16)))


def test_it_finds_the_truth():
    similarity, same = drawn(40_000)
    platt = fit_platt(similarity, same)
    assert platt.slope == pytest.approx(20, rel=0.05)
    assert platt.intercept == pytest.approx(-16, rel=0.05)


def test_it_minimises_platts_loss():
    similarity, same = drawn(300)
    target = np.where(same, (same.sum() + 1) / (same.sum() + 2), 1 / ((~same).sum() + 2))

    def loss(x):
        odds = x[0] * (similarity - 0.8) + x[1]
        return np.sum(np.logaddexp(0, odds) - target * odds)

    slope, offset = minimize(loss, [1.0, 0.0]).x
    platt = fit_platt(similarity, same)
    assert platt.slope == pytest.approx(slope, rel=0.01)
    assert platt.intercept + 0.8 * platt.slope == pytest.approx(offset, abs=0.02)


@pytest.mark.parametrize("n", [1, 4, 1000])
def test_separable_pairs_give_finite_unsaturated_probabilities(n):
    similarity = np.concatenate([np.linspace(0.9, 0.95, n), np.linspace(0.1, 0.2, n)]).astype(np.float32)
    platt = fit_platt(similarity, np.repeat([True, False], n))
    probability = platt.probability(similarity)
    assert probability.dtype == np.float64
    assert (probability[:n] > 0.6).all()
    assert (probability[n:] < 0.4).all()
    assert probability.max() < 1 - 0.1 / (n + 2)
    assert platt.probability(np.array([0.5]))[0] == pytest.approx(0.5, abs=0.2)


def test_extreme_similarities_neither_overflow_nor_leave_the_range():
    with np.errstate(all="raise", under="ignore"):
        probability = Platt(1e4, 0).probability(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(probability, [0, 0.5, 1])


def test_equal_similarities_say_nothing():
    platt = fit_platt(np.full(6, 0.3), np.array([True, True, True, False, False, False]))
    assert platt == Platt(0.0, 0.0)


def test_one_kind_of_pair_is_refused():
    with pytest.raises(NoseprintError, match="there are 3 and 0"):
        fit_platt(np.arange(3.0), np.ones(3, dtype=bool))


def test_json_keeps_every_bit_and_refuses_the_rest():
    platt = fit_platt(*drawn(100))
    assert Platt.from_json(platt.to_json()) == platt
    assert set(json.loads(platt.to_json())) == {"slope", "intercept"}
    wrong = ["", "{}", "[1]", '{"slope": 1}', '{"slope": "x", "intercept": 1}', '{"slope": NaN, "intercept": 1}']
    wrong += ["[" * 100_000, f'{{"slope": {"9" * 400}, "intercept": 1}}']
    for text in wrong:
        with pytest.raises(NoseprintError, match="calibrate again") as refused:
            Platt.from_json(text)
        assert len(str(refused.value)) < 300
