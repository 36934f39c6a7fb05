import time
import tracemalloc
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from noseprint.errors import NoseprintError
from noseprint.metrics import similarity
from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.bootstrap import bootstrap_mean, bootstrap_pairs
from noseprint.metrics.verification import (
    accepted_weights,
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


def test_the_bootstrap_is_that_of_a_loop_that_repeats_pairs():
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


def test_a_thousand_pairs_take_little_time_and_memory():
    rng = np.random.default_rng(0)
    same = np.arange(1000) < 500
    identity_a = np.arange(1000)
    identity_b = np.where(same, identity_a, identity_a + 1000)
    metrics = [roc_aucs, equal_error_rates, *(partial(tmrs_at_fmr, fmr=fmr) for fmr in (0.1, 0.01, 0.001))]
    tracemalloc.start()
    start = time.perf_counter()
    bootstrap_pairs(metrics, rng.random(1000) + same, same, identity_a, identity_b, seed=0, replicates=1000)
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 15 * 8 * similarity.BLOCK_VALUES


def test_intervals_over_identities_contain_the_truth_as_often_as_they_say_and_those_over_pairs_do_not():
    """A bootstrap over pairs treats pairs of one identity as independent."""
    metrics = [roc_aucs, equal_error_rates, partial(tmrs_at_fmr, fmr=0.1)]

    def scored(rng, identity_a, identity_b, same):
        """N(0, 1) noise, and an effect N(0, 0.7^2) of a same pair's identity or of each of a different pair's two."""
        easy, common = 0.7 * rng.standard_normal((2, max(identity_a.max(), identity_b.max()) + 1))
        mean = np.where(same, 2 + easy[identity_a], common[identity_a] + common[identity_b])
        return mean + rng.standard_normal(len(same))

    many = np.arange(400_000)
    same = many % 2 == 0
    scores = scored(np.random.default_rng(0), many, many[::-1], same)
    everything = accepted_weights(scores, same, np.ones((1, len(many))))
    truth = [metric(everything)[0] for metric in metrics]
    label = np.repeat(np.arange(40), 4)
    contains = np.zeros((2, len(metrics)))
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a, b, same = balanced_pairs(label, seed=seed, max_pairs=400)
        scores = scored(rng, label[a], label[b], same)
        for way, identities in enumerate(((label[a], label[b]), (np.arange(len(a)), np.arange(len(a))))):
            intervals = bootstrap_pairs(metrics, scores, same, *identities, seed=seed, replicates=200)
            low, high = np.transpose(intervals)
            contains[way] += (low <= truth) & (truth <= high)
    assert (contains[0] >= 90).all()
    assert (contains[1] <= 85).all()


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


def test_the_interval_of_a_mean_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    identities = rng.integers(0, 12, 60)
    values = rng.random(60)
    names = np.unique(identities)
    times = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=30)
    means = [np.mean(np.repeat(values, row[np.searchsorted(names, identities)])) for row in times]
    got = bootstrap_mean(values, identities, seed=3, replicates=30)
    assert got == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_the_interval_of_a_mean_contains_the_truth_as_often_as_it_says():
    contains = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.standard_normal(40), 5) + 0.1 * rng.standard_normal(200)
        low, high = bootstrap_mean(values, np.repeat(np.arange(40), 5), seed=seed, replicates=300)
        contains += low <= 0 <= high
    assert 178 <= contains <= 199  # 95 % of 200; percentile intervals over 40 identities are slightly too narrow


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(NoseprintError, match="no values"):
        bootstrap_mean(np.array([]), [], seed=0)
