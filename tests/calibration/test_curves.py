import json

import numpy as np
import pytest

from noseprint.calibration.curves import (
    Beta,
    Isotonic,
    Platt,
    calibration_from_json,
    identity_probabilities,
    probability_at,
)
from noseprint.errors import NoseprintError


def test_extreme_similarities_neither_overflow_nor_leave_the_range():
    ends = np.array([-1.0, 0.0, 1.0])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(Platt(1e4, 0).probability(ends), [0, 0.5, 1])
        beyond = Beta(1e4, 1e4, 0).probability(np.array([-1.000001, 0.0, 1.000001]))
    np.testing.assert_allclose(beyond, [0, 0.5, 1], atol=1e-12)


def test_isotonic_is_linear_between_knots_and_constant_beyond():
    curve = Isotonic((0.2, 0.4), (-2.0, 1.0))
    np.testing.assert_allclose(curve.log_odds(np.array([-1.0, 0.2, 0.3, 0.4, 1.0])), [-2, -2, -0.5, 1, 1])


def test_the_prior_follows_bayes_rule():
    similarity = np.linspace(-1, 1, 9)
    platt = Platt(4.0, -1.0)
    even = platt.probability(similarity)
    expected = even * 0.01 / (even * 0.01 + (1 - even) * 0.99)
    np.testing.assert_allclose(platt.probability(similarity, prior=0.01), expected)
    assert probability_at(np.log(99.0), 0.01) == pytest.approx(0.5)
    for prior in (0, 1, -1, np.nan):
        with pytest.raises(NoseprintError, match="between 0 and 1"):
            platt.probability(similarity, prior=prior)


@pytest.mark.parametrize("curve", [Platt(1 / 3, -0.1), Beta(0.1, 1e-300, 2 / 3), Isotonic((0.1, 0.3), (-1 / 7, 0.2))])
def test_json_keeps_every_bit(curve):
    assert calibration_from_json(curve.to_json()) == curve
    assert json.loads(curve.to_json())["family"] == type(curve).__name__.lower()


def test_json_of_older_weights_is_read():
    assert calibration_from_json('{"slope": 5, "intercept": -2.5}') == Platt(5.0, -2.5)
    assert calibration_from_json('{"family": "isotonic", "at": [1], "odds": [2]}') == Isotonic((1.0,), (2.0,))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[1]", "5", "[" * 100_000, '{"slope": 1}', '{"slope": "x", "intercept": 1}'),
        *(f'{{"slope": {slope}, "intercept": 1}}' for slope in ("NaN", "9" * 400, "-1", "true")),
        '{"slope": 1, "intercept": 1, "more": 1}',
        *('{"family": [], "slope": 1, "intercept": 1}', '{"family": "beta", "slope": 1, "intercept": 0}'),
        '{"family": "beta", "a": -1, "b": 1, "c": 0}',
        *(
            f'{{"family": "isotonic", "at": {at}, "odds": {odds}}}'
            for at, odds in (("[]", "[]"), ("[1]", "[1, 2]"), ("[1, 1]", "[1, 2]"), ("[1, 2]", "[2, 1]"), ("1", "1"))
        ),
    ],
)
def test_other_json_is_refused(text):
    with pytest.raises(NoseprintError, match="calibrate again") as refused:
        calibration_from_json(text)
    assert len(str(refused.value)) < 300


def test_identity_probabilities_are_right_as_often_as_they_say():
    """Half of the queries show one of 4 individuals; similarities are normal, and 2 higher for the right one."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 8, 20_000)  # from 4 on: none of the 4
    similarity = rng.standard_normal((len(shown), 4)) + 2.0 * (shown[:, None] == np.arange(4))
    found = [identity_probabilities(2 * row - 2, "abcd", images=[1] * 4, gallery_identities=4) for row in similarity]
    probability = np.array([[*each, none] for each, none in found])
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    truth = np.minimum(shown, 4)[:, None] == np.arange(5)
    for low in (0.05, 0.2, 0.4, 0.6, 0.8):
        for columns in (slice(0, 4), slice(4, 5)):
            inside = (probability[:, columns] >= low) & (probability[:, columns] < low + 0.1)
            assert truth[:, columns][inside].mean() == pytest.approx(probability[:, columns][inside].mean(), abs=0.03)


def test_images_that_many_of_an_identity_find_by_chance_count_for_less():
    """Each individual has 1 or 9 images, and a query is like one of them, as above; 8 are mere chance."""
    rng = np.random.default_rng(0)
    images = np.array([1, 9, 1, 9])
    owner = np.repeat(np.arange(4), images)
    shown = rng.integers(0, 8, 20_000)
    similar = np.cumsum(images)[np.minimum(shown, 3)] - 1
    similarity = rng.standard_normal((len(shown), 20))
    similarity += 2.0 * ((shown[:, None] < 4) & (similar[:, None] == np.arange(20)))
    names = [str(i) for i in owner]
    found = [
        identity_probabilities(2 * row - 2, names, images=images[owner].tolist(), gallery_identities=4)[1]
        for row in similarity
    ]
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (np.array(found) >= low) & (np.array(found) < low + 0.2)
        assert np.mean(shown[inside] >= 4) == pytest.approx(np.array(found)[inside].mean(), abs=0.03)


def test_identity_probabilities_do_not_overflow():
    log_odds = np.array([800.0, 3.0, -800.0])
    each, none = identity_probabilities(log_odds, ["a", "a", "b"], images=[2, 2, 1], gallery_identities=10)
    np.testing.assert_allclose([*each, none], [1, 1, 0, 0], atol=1e-12)
    assert identity_probabilities(np.array([-800.0]), ["a"], images=[1], gallery_identities=1)[1] == 1
