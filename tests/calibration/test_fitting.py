import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from noseprint.calibration.curves import Beta
from noseprint.calibration.fitting import (
    FITS,
    cross_fit_probabilities,
    fit_beta,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    identity_folds,
)
from noseprint.errors import NoseprintError

each_fit = pytest.mark.parametrize("fit", FITS)


def drawn(n=2000, seed=0):
    """Similarities whose true log-odds are 20 s - 16."""
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.6, 1.0, n)
    return similarity, rng.random(n) < 1 / (1 + np.exp(-(20 * similarity - 16)))


def drawn_with_identities(log_odds, *, n, identities=60):
    """Similarities with these true log-odds, and identities that have no effect."""
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-0.3, 1, n)
    same = rng.random(n) < 1 / (1 + np.exp(-log_odds(similarity)))
    a = rng.integers(0, identities, n)
    b = np.where(same, a, rng.integers(0, identities, n))
    return similarity, same, a.astype(str), b.astype(str)


def targets_and_weights(same):
    """Platt's targets, and weights that give both kinds equal total weight."""
    n, positives = len(same), same.sum()
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    return target, np.where(same, n / positives, n / (n - positives)) / 2


def test_platt_minimises_its_loss():
    similarity, same = drawn(300)
    target, weight = targets_and_weights(same)

    def loss(x):
        odds = x[0] * (similarity - 0.8) + x[1]
        return weight @ (np.logaddexp(0, odds) - target * odds)

    slope, offset = minimize(loss, [1.0, 0.0]).x
    platt = fit_platt(similarity, same)
    assert platt.slope == pytest.approx(slope, rel=0.01)
    assert platt.intercept + 0.8 * platt.slope == pytest.approx(offset, abs=0.02)


def test_beta_finds_the_truth_and_minimises_its_loss():
    truth = Beta(7.0, 0.4, 1.5)
    similarity, same, *_ = drawn_with_identities(truth.log_odds, n=100_000)
    share = same.mean()
    found = fit_beta(similarity, same)
    even = truth.c - np.log(share / (1 - share))  # both kinds have equal weight, however many there are
    np.testing.assert_allclose([found.a, found.b, found.c], [truth.a, truth.b, even], rtol=0.1)
    similarity, same = similarity[:500], same[:500]
    target, weight = targets_and_weights(same)

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
    one_sided = fit_beta(*drawn_with_identities(Beta(0.0, 3.0, -2.0).log_odds, n=4000)[:2])
    assert one_sided.a >= 0
    assert one_sided.b > 1


def test_platt_never_falls():
    similarity, same = drawn()
    falling = fit_platt(-similarity, same)
    assert falling.slope == 0
    assert falling.probability(0.9) == pytest.approx(0.5, abs=1e-4)


def test_isotonic_pools_the_blocks_that_scikit_learn_pools_and_never_falls():
    rng = np.random.default_rng(3)
    similarity = np.round(rng.uniform(0, 1, 400), 2)  # ties
    same = rng.random(400) < similarity
    found = fit_isotonic(similarity, same)
    weight = targets_and_weights(same)[1]
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


@each_fit
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


@each_fit
def test_equal_similarities_give_even_odds(fit):
    found = fit(np.full(6, 0.3), np.array([True, True, True, False, False, False]))
    np.testing.assert_allclose(found.probability(np.array([-1.0, 0.3, 1.0])), 0.5)


@each_fit
def test_same_and_different_pairs_have_equal_weight_however_many_there_are(fit):
    similarity, same = drawn(20_000)
    kept = ~same | (np.random.default_rng(1).random(len(same)) < 0.1)
    ends = np.linspace(0.65, 0.95, 7)
    np.testing.assert_allclose(
        fit(similarity[kept], same[kept]).probability(ends), fit(similarity, same).probability(ends), atol=0.08
    )


@each_fit
def test_pairs_that_cannot_be_fitted_are_refused(fit):
    with pytest.raises(NoseprintError, match="there are 3 and 0"):
        fit(np.arange(3.0), np.ones(3, dtype=bool))
    for value in (np.nan, np.inf):
        with pytest.raises(NoseprintError, match="finite"):
            fit(np.array([0.1, 0.2, value]), np.array([True, False, True]))


@pytest.mark.parametrize(
    ("family", "log_odds"),
    [
        ("platt", lambda s: 12 * s - 5),
        ("beta", Beta(12.0, 0.1, 4.0).log_odds),
        ("isotonic", lambda s: np.where(s < 0.1, -3, np.where(s < 0.6, 0, 3))),
    ],
)
def test_the_family_that_the_pairs_were_drawn_from_is_chosen(family, log_odds):
    assert fit_calibration(*drawn_with_identities(log_odds, n=12_000)).family == family


def test_two_identities_get_platts_curve():
    names = np.array(["1", "1", "1", "2"]), np.array(["1", "1", "2", "2"])
    found = fit_calibration(np.array([0.9, 0.8, 0.1, 0.9]), np.array([True, True, False, True]), *names)
    assert found.family == "platt"


def test_folds_separate_identities():
    _, same, a, b = drawn_with_identities(lambda s: 10 * s - 3, n=500, identities=30)
    judged = set()
    for train, test in identity_folds(same, a, b):
        assert (train ^ test).all()
        unseen = (set(a[test]) | set(b[test])) - set(a[train]) - set(b[train])
        assert unseen
        assert all(x in unseen or y in unseen for x, y in zip(a[test], b[test], strict=True))
        assert not judged & unseen
        judged |= unseen
    assert judged == set(a) | set(b)


def test_a_cross_fit_probability_does_not_depend_on_its_own_pair():
    similarity, same, a, b = drawn_with_identities(lambda s: 10 * s - 3, n=600, identities=20)
    before = cross_fit_probabilities(similarity, same, a, b)
    flipped = same.copy()
    flipped[0] = not same[0]
    after = cross_fit_probabilities(similarity, flipped, a, b)
    assert after[0] == pytest.approx(before[0], abs=0.02)
    total, times = np.zeros(len(same)), np.zeros(len(same))
    for train, test in identity_folds(same, a, b):
        fitted = fit_calibration(similarity[train], same[train], a[train], b[train])
        total[test] += fitted.log_odds(similarity[test])
        times[test] += 1
    assert set(times) == {1, 2}
    np.testing.assert_allclose(before, 1 / (1 + np.exp(-total / times)))
    names = np.array([*"1212"]), np.array([*"1221"])
    with pytest.raises(NoseprintError, match="too few"):
        cross_fit_probabilities(similarity[:4], np.array([True, True, False, False]), *names)
