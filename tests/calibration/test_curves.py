import json

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from noseprint.calibration.curves import (
    Beta,
    Isotonic,
    Platt,
    calibration_from_json,
    family_of,
    identity_probabilities,
    probability_at,
)
from noseprint.calibration.fitting import (
    cross_fitted,
    fit_beta,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    identity_folds,
)
from noseprint.errors import NoseprintError


def drawn(n=2000, seed=0):
    """Similarities whose true log-odds are 20 s - 16."""
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.6, 1.0, n)
    return similarity, rng.random(n) < 1 / (1 + np.exp(-(20 * similarity - 16)))


def pairs_of(log_odds, *, n, identities=60, seed=0, low=-0.3):
    """Similarities, labels and identities (which tell nothing) where the log-odds are a given function."""
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(low, 1, n)
    same = rng.random(n) < 1 / (1 + np.exp(-log_odds(similarity)))
    a = rng.integers(0, identities, n)
    b = np.where(same, a, rng.integers(0, identities, n))
    return similarity, same, a.astype(str), b.astype(str)


def soft(same):
    """Platt's targets, and weights by which both kinds count alike."""
    n, positives = len(same), same.sum()
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    return target, np.where(same, n / positives, n / (n - positives)) / 2


def test_it_finds_the_truth():
    similarity, same = drawn(40_000)
    platt = fit_platt(similarity, same)
    assert platt.slope == pytest.approx(20, rel=0.05)
    assert platt.intercept == pytest.approx(-16, rel=0.05)


def test_it_minimises_platts_loss():
    similarity, same = drawn(300)
    target, weight = soft(same)

    def loss(x):
        odds = x[0] * (similarity - 0.8) + x[1]
        return weight @ (np.logaddexp(0, odds) - target * odds)

    slope, offset = minimize(loss, [1.0, 0.0]).x
    platt = fit_platt(similarity, same)
    assert platt.slope == pytest.approx(slope, rel=0.01)
    assert platt.intercept + 0.8 * platt.slope == pytest.approx(offset, abs=0.02)


def test_beta_minimises_its_loss_and_finds_the_truth():
    truth = Beta(7.0, 0.4, 1.5)
    similarity, same, *_ = pairs_of(truth.log_odds, n=100_000)
    share = same.mean()
    found = fit_beta(similarity, same)
    even = truth.c - np.log(share / (1 - share))  # both kinds weigh alike, however many there are
    np.testing.assert_allclose([found.a, found.b, found.c], [truth.a, truth.b, even], rtol=0.1)
    similarity, same = similarity[:500], same[:500]
    target, weight = soft(same)

    def loss(x):
        odds = Beta(*x).log_odds(similarity)
        return weight @ (np.logaddexp(0, odds) - target * odds)

    best = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
    found = fit_beta(similarity, same)
    assert loss([found.a, found.b, found.c]) == pytest.approx(best.fun, rel=1e-4)


def test_beta_never_falls():
    rng = np.random.default_rng(0)
    same = rng.random(400) < 0.5
    falling = fit_beta(rng.normal(np.where(same, 0.2, 0.5), 0.1), same)
    assert (falling.a, falling.b) == (0, 0)
    assert falling.probability(np.array([-1.0, 1.0])) == pytest.approx(0.5, abs=0.01)
    one_sided = fit_beta(*pairs_of(Beta(0.0, 3.0, -2.0).log_odds, n=4000)[:2])
    assert one_sided.a >= 0
    assert one_sided.b > 1


def test_isotonic_pools_what_scikit_learn_pools():
    """With Laplace's rule in its blocks, knots at their means, and never a step down."""
    rng = np.random.default_rng(3)
    similarity = np.round(rng.uniform(0, 1, 400), 2)  # ties
    same = rng.random(400) < similarity
    found = fit_isotonic(similarity, same)
    weight = soft(same)[1]
    blocks = IsotonicRegression().fit_transform(similarity, same, sample_weight=weight)
    for value in np.unique(blocks):
        rows = blocks == value
        share = (weight[rows] @ same[rows] + 1) / (weight[rows].sum() + 2)
        inside = np.flatnonzero((np.array(found.at) >= similarity[rows].min()) & (found.at <= similarity[rows].max()))
        assert len(inside) <= 1
        if len(inside) and np.isclose(found.at[inside[0]], similarity[rows].mean()):
            assert found.odds[inside[0]] == pytest.approx(np.log(share / (1 - share)))
    everywhere = found.probability(np.linspace(-1, 1, 1001))
    assert (np.diff(everywhere) >= 0).all()
    assert 0 < everywhere.min() < everywhere.max() < 1
    assert (np.diff(found.odds) > 0).all()


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
@pytest.mark.parametrize("n", [1, 4, 1000])
def test_separable_pairs_give_finite_unsaturated_probabilities(fit, n):
    similarity = np.concatenate([np.linspace(0.9, 0.95, n), np.linspace(0.1, 0.2, n)]).astype(np.float32)
    found = fit(similarity, np.repeat([True, False], n))
    probability = found.probability(similarity)
    assert probability.dtype == np.float64
    assert (probability[:n] > 0.6).all()
    assert (probability[n:] < 0.4).all()
    assert probability.max() < 1 - 0.1 / (n + 2)
    assert 0.2 < found.probability(np.array([0.5]))[0] < 0.8


def test_extreme_similarities_neither_overflow_nor_leave_the_range():
    ends = np.array([-1.0, 0.0, 1.0])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(Platt(1e4, 0).probability(ends), [0, 0.5, 1])
        beyond = Beta(1e4, 1e4, 0).probability(np.array([-1.000001, 0.0, 1.000001]))
    np.testing.assert_allclose(beyond, [0, 0.5, 1], atol=1e-12)


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
def test_equal_similarities_say_nothing(fit):
    found = fit(np.full(6, 0.3), np.array([True, True, True, False, False, False]))
    np.testing.assert_allclose(found.probability(np.array([-1.0, 0.3, 1.0])), 0.5)


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
def test_both_kinds_count_alike_however_many_there_are(fit):
    """So a probability means one thing: what it is where half of all pairs are the same."""
    similarity, same = drawn(20_000)
    rare = same & (np.random.default_rng(1).random(len(same)) < 0.1)
    kept = ~same | rare
    ends = np.linspace(0.65, 0.95, 7)
    np.testing.assert_allclose(
        fit(similarity[kept], same[kept]).probability(ends), fit(similarity, same).probability(ends), atol=0.08
    )


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
def test_one_kind_of_pair_is_refused(fit):
    with pytest.raises(NoseprintError, match="there are 3 and 0"):
        fit(np.arange(3.0), np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    ("family", "log_odds"),
    [
        ("platt", lambda s: 12 * s - 5),
        ("beta", Beta(12.0, 0.1, 4.0).log_odds),
        ("isotonic", lambda s: np.where(s < 0.1, -3, np.where(s < 0.6, 0, 3))),
    ],
)
def test_the_family_that_made_the_pairs_is_chosen(family, log_odds):
    assert family_of(fit_calibration(*pairs_of(log_odds, n=12_000))) == family


def test_two_identities_leave_nothing_to_choose_by():
    names = np.array(["1", "1", "1", "2"]), np.array(["1", "1", "2", "2"])
    found = fit_calibration(np.array([0.9, 0.8, 0.1, 0.9]), np.array([True, True, False, True]), *names)
    assert family_of(found) == "platt"


def test_folds_part_identities():
    _, same, a, b = pairs_of(lambda s: 10 * s - 3, n=500, identities=30)
    judged = set()
    for train, test in identity_folds(same, a, b):
        assert (train ^ test).all()
        alone = (set(a[test]) | set(b[test])) - set(a[train]) - set(b[train])
        assert alone
        assert all(x in alone or y in alone for x, y in zip(a[test], b[test], strict=True))
        assert not judged & alone
        judged |= alone
    assert judged == set(a) | set(b)


def test_cross_fitted_probabilities_know_nothing_of_the_pair():
    similarity, same, a, b = pairs_of(lambda s: 10 * s - 3, n=600, identities=20)
    before = cross_fitted(similarity, same, a, b)
    flipped = same.copy()
    flipped[0] = not same[0]
    after = cross_fitted(similarity, flipped, a, b)
    assert after[0] == pytest.approx(before[0], abs=0.02)
    naive = np.zeros(len(same))
    times = np.zeros(len(same))
    for train, test in identity_folds(same, a, b):
        fitted = fit_calibration(similarity[train], same[train], a[train], b[train])
        naive[test] += fitted.log_odds(similarity[test])
        times[test] += 1
    assert set(times) == {1, 2}
    np.testing.assert_allclose(before, 1 / (1 + np.exp(-naive / times)))
    with pytest.raises(NoseprintError, match="too few"):
        cross_fitted(similarity[:4], np.array([True, True, False, False]), np.array([*"1212"]), np.array([*"1221"]))


def test_the_prior_is_bayes_rule():
    similarity = np.linspace(-1, 1, 9)
    platt = Platt(4.0, -1.0)
    even = platt.probability(similarity)
    np.testing.assert_allclose(
        platt.probability(similarity, prior=0.01), even * 0.01 / (even * 0.01 + (1 - even) * 0.99)
    )
    assert probability_at(np.log(99.0), 0.01) == pytest.approx(0.5)
    for prior in (0, 1, -1, np.nan):
        with pytest.raises(NoseprintError, match="between 0 and 1"):
            platt.probability(similarity, prior=prior)


@pytest.mark.parametrize("fit", [fit_platt, fit_beta, fit_isotonic])
def test_json_keeps_every_bit(fit):
    found = fit(*drawn(100))
    assert calibration_from_json(found.to_json()) == found
    assert json.loads(found.to_json())["family"] == family_of(found)


def test_json_of_older_weights_is_read_and_the_rest_refused():
    assert calibration_from_json('{"slope": 5, "intercept": -2.5}') == Platt(5.0, -2.5)
    wrong = ["", "{}", "[1]", '{"slope": 1}', '{"slope": "x", "intercept": 1}', '{"slope": NaN, "intercept": 1}', "5"]
    wrong += ["[" * 100_000, f'{{"slope": {"9" * 400}, "intercept": 1}}', '{"slope": true, "intercept": 1}']
    wrong += ['{"slope": 1, "intercept": 1, "more": 1}', '{"family": [], "slope": 1, "intercept": 1}']
    wrong += ['{"slope": -1, "intercept": 0}']
    wrong += ['{"family": "beta", "a": -1, "b": 1, "c": 0}', '{"family": "beta", "slope": 1, "intercept": 0}']
    for at, odds in (("[]", "[]"), ("[1]", "[1, 2]"), ("[1, 1]", "[1, 2]"), ("[1, 2]", "[2, 1]"), ("1", "1")):
        wrong.append(f'{{"family": "isotonic", "at": {at}, "odds": {odds}}}')
    assert calibration_from_json('{"family": "isotonic", "at": [1], "odds": [2]}') == Isotonic((1.0,), (2.0,))
    for text in wrong:
        with pytest.raises(NoseprintError, match="calibrate again") as refused:
            calibration_from_json(text)
        assert len(str(refused.value)) < 300


def test_a_higher_similarity_is_never_less_probable():
    similarity, same = drawn()
    backwards = fit_platt(-similarity, same)
    assert backwards.slope == 0
    assert backwards.probability(0.9) == pytest.approx(0.5, abs=1e-4)
    for value in (np.nan, np.inf):
        for fit in (fit_platt, fit_beta, fit_isotonic):
            with pytest.raises(NoseprintError, match="finite"):
                fit(np.append(similarity, value), np.append(same, True))


def test_identification_is_bayes_rule_over_the_individuals_and_none():
    """Half of the queries are drawn of one of 4 individuals; similarities are normal, 2 higher where it is the one."""
    rng = np.random.default_rng(0)
    whose = rng.integers(0, 8, 20_000)  # 4 and more: of none
    similarity = rng.standard_normal((len(whose), 4)) + 2.0 * (whose[:, None] == np.arange(4))
    told = [identity_probabilities(2 * row - 2, "abcd", individuals=4) for row in similarity]
    shares = np.array([[*share, none] for share, none in told])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    so = np.minimum(whose, 4)[:, None] == np.arange(5)
    for low in (0.05, 0.2, 0.4, 0.6, 0.8):
        for column in (slice(0, 4), slice(4, 5)):
            among = (shares[:, column] >= low) & (shares[:, column] < low + 0.1)
            assert so[:, column][among].mean() == pytest.approx(shares[:, column][among].mean(), abs=0.03)


def test_an_individual_counts_by_its_best_image_and_nothing_overflows():
    share, none = identity_probabilities(np.array([800.0, 3.0, -800.0]), ["a", "a", "b"], individuals=10)
    np.testing.assert_allclose([*share, none], [1, 1, 0, 0], atol=1e-12)
    assert identity_probabilities(np.array([-800.0]), ["a"], individuals=1)[1] == 1
