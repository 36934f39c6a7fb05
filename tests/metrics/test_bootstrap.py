from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from noseprint.errors import NoseprintError
from noseprint.metrics import similarity
from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_pairs
from noseprint.metrics.verification import (
    equal_error_rate,
    equal_error_rates,
    roc_auc,
    roc_aucs,
    tmr_at_fmr,
    tmrs_at_fmr,
)


def interval_of_auc(scores, same, identity_a, identity_b, **options):
    (interval,) = bootstrap_pairs([roc_aucs], scores, same, identity_a, identity_b, **options)
    return interval


def drawn(seed=0, dogs=30, per=3, signal=1.0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(dogs), per)
    a, b, same = balanced_pairs(label, seed=seed)
    effect = rng.standard_normal(dogs)
    scores = signal * same + effect[label[a]] + effect[label[b]] + 0.5 * rng.standard_normal(len(a))
    return scores.round(1), same, label[a], label[b]


def test_the_bootstrap_equals_that_of_a_loop_that_repeats_pairs():
    scores, same, a, b = drawn(dogs=60)
    names = np.unique(np.concatenate([a, b]))
    rng = np.random.default_rng(5)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=40)
    expected = []
    for row in times:
        count = dict(zip(names, row, strict=True))
        repeat = [count[i] if i == j else count[i] * count[j] for i, j in zip(a, b, strict=True)]
        repeated = np.repeat(scores, repeat), np.repeat(same, repeat)
        assert roc_auc(*repeated) == pytest.approx(roc_auc_score(repeated[1], repeated[0]))
        expected.append([roc_auc(*repeated), equal_error_rate(*repeated), tmr_at_fmr(*repeated, 0.5)])
    metrics = [roc_aucs, equal_error_rates, partial(tmrs_at_fmr, fmr=0.5)]
    got = bootstrap_pairs(metrics, scores, same, a, b, seed=5, replicates=40)
    np.testing.assert_allclose(np.transpose(got), np.quantile(expected, [0.025, 0.975], axis=0), atol=1e-12)


def test_an_interval_contains_the_score_and_is_wider_than_one_over_pairs():
    scores, same, a, b = drawn()
    low, high = interval_of_auc(scores, same, a, b, seed=0)
    assert 0.5 < low < roc_auc(scores, same) < high < 1
    each = np.arange(len(same))
    low_pairs, high_pairs = interval_of_auc(scores, same, each, each, seed=0)
    assert high - low > high_pairs - low_pairs
    assert interval_of_auc(scores, same, a, b, seed=0) == (low, high)


def test_an_interval_does_not_depend_on_the_size_of_blocks(monkeypatch):
    scores, same, a, b = drawn()
    whole = interval_of_auc(scores, same, a, b, seed=0, replicates=50)
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 3 * len(same))
    assert interval_of_auc(scores, same, a, b, seed=0, replicates=50) == pytest.approx(whole, abs=1e-12)


def test_replicates_without_both_kinds_of_pairs_are_left_out():
    scores, same = np.array([0.9, 0.1, 0.2, 0.1]), np.array([True, False, False, False])
    a, b = ["a", "a", "c", "e"], ["a", "b", "d", "a"]
    assert interval_of_auc(scores, same, a, b, seed=0) == (1, 1)
    with pytest.raises(NoseprintError, match="too few identities"):
        interval_of_auc(scores, same, a, b, seed=2, replicates=1)  # draws no a, so no same pair
    with pytest.raises(NoseprintError, match="needs same and different"):
        interval_of_auc(scores, np.ones(4, bool), a, b, seed=0)


def test_with_four_identities_an_interval_is_the_whole_range():
    scores, same = np.array([0.9, 0.9, 0.1, 0.2]), np.array([True, True, False, False])
    assert interval_of_auc(scores, same, ["a", "b", "c", "a"], ["a", "b", "d", "b"], seed=0) == (0, 1)
    assert interval_of_auc(scores, same, ["a", "b", "c", "e"], ["a", "b", "d", "b"], seed=0) == (1, 1)
    values = np.full(10, 0.5)
    assert bootstrap_mean(values, np.repeat(np.arange(4), 3)[:10], seed=0) == (0, 1)
    assert bootstrap_mean(values, np.repeat(np.arange(5), 2), seed=0) == (0.5, 0.5)


def test_the_interval_of_a_mean_equals_that_of_a_loop():
    rng = np.random.default_rng(0)
    identities = rng.integers(0, 12, 60)
    values = rng.random(60)
    names = np.unique(identities)
    times = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=30)
    means = [np.mean(np.repeat(values, row[np.searchsorted(names, identities)])) for row in times]
    got = bootstrap_mean(values, identities, seed=3, replicates=30)
    assert got == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(NoseprintError, match="no values"):
        bootstrap_mean(np.array([]), [], seed=0)


def test_an_interval_with_less_coverage_is_narrower():
    now = np.random.default_rng(0).normal(size=2000)
    usual, narrow = (bootstrap_difference(now, 0 * now, np.arange(2000), seed=0, coverage=c) for c in (0.95, 0.8))
    error = now.std() / 2000**0.5
    assert narrow.value == usual.value
    assert [narrow.low, narrow.high] == pytest.approx([now.mean() - 1.28 * error, now.mean() + 1.28 * error], abs=4e-3)
    assert [usual.low, usual.high] == pytest.approx([now.mean() - 1.96 * error, now.mean() + 1.96 * error], abs=4e-3)
