import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from noseprint.errors import NoseprintError
from noseprint.evaluation import arrays as module
from noseprint.evaluation.metrics import (
    balanced_pairs,
    bootstrap_auc,
    bootstrap_mean,
    identity_clusters,
    retrieval_metrics,
    roc_auc,
)


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_scikit_learn_ties_included(rows):
    scores = np.array([s for s, _ in rows], dtype=np.float32)
    same = np.array([b for _, b in rows])
    if same.all() or not same.any():
        with pytest.raises(NoseprintError, match="needs same and different"):
            roc_auc(scores, same)
    else:
        assert roc_auc(scores, same) == pytest.approx(roc_auc_score(same, scores), abs=1e-12)


def test_auc_corner_cases():
    assert roc_auc(np.array([0.1, 0.9]), np.array([False, True])) == 1
    assert roc_auc(np.array([0.9, 0.1]), np.array([False, True])) == 0
    assert roc_auc(np.full(5, 0.3), np.array([True, False, True, False, False])) == 0.5
    with pytest.raises(NoseprintError, match="there are 0 and 0"):
        roc_auc(np.array([]), np.array([], dtype=bool))
    with pytest.raises(NoseprintError, match="first pair 2"):
        roc_auc(np.array([0.1, np.nan]), np.array([False, True]))


def pair_set(a, b):
    return set(zip(a.tolist(), b.tolist(), strict=True))


@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=25), st.integers(0, 50), st.integers(2, 60))
def test_balanced_pairs_are_what_they_say(identities, seed, max_pairs):
    label = np.array(identities)
    i, j = np.triu_indices(len(label), k=1)
    all_same, all_other = (int((label[i] == label[j]).sum()), int((label[i] != label[j]).sum()))
    if min(all_same, all_other) == 0:
        with pytest.raises(NoseprintError, match="the least"):
            balanced_pairs(identities, seed=seed, max_pairs=max_pairs)
        return
    a, b, same = balanced_pairs(identities, seed=seed, max_pairs=max_pairs)
    np.testing.assert_array_equal(label[a] == label[b], same)
    assert same.sum() == (~same).sum() == min(all_same, all_other, max_pairs // 2)
    assert (a < b).all()
    assert len(pair_set(a, b)) == len(a)
    again = balanced_pairs(identities, seed=seed, max_pairs=max_pairs)
    assert pair_set(*again[:2]) == pair_set(a, b)


def test_balanced_pairs_are_drawn_evenly():
    identities = ["a"] * 4 + ["b"] * 2 + ["c"] * 3
    counts = np.zeros((9, 9))
    for seed in range(3000):
        a, b, _ = balanced_pairs(identities, seed=seed, max_pairs=6)
        counts[a, b] += 1
    label = np.array(identities)
    i, j = np.triu_indices(9, k=1)
    for kind in (label[i] == label[j], label[i] != label[j]):
        expected = 3 * 3000 / kind.sum()
        assert np.abs(counts[i[kind], j[kind]] - expected).max() < 5 * np.sqrt(expected)


def test_balanced_pairs_of_a_large_set_are_quick():
    identities = np.random.default_rng(0).integers(0, 100, 50_000)  # 12 million same pairs
    start = time.perf_counter()
    a, _, same = balanced_pairs(identities, seed=0, max_pairs=1000)
    assert len(a) == len(same) == 1000
    assert time.perf_counter() - start < 5


def naive_retrieval(x, label, queries, gallery):
    hits, precisions, left_out = [], [], 0
    for q in queries:
        others = [g for g in gallery if g != q]
        true = np.array([label[g] == label[q] for g in others])
        if not true.any():
            left_out += 1
            continue
        similarity = np.array([float(x[q] @ x[g]) for g in others])
        precisions.append(average_precision_score(true, similarity))
        hits.append(true[similarity == similarity.max()].mean())
    return hits, precisions, left_out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 20), st.booleans(), st.sampled_from([1, 40, 2**22]))
def test_retrieval_equals_a_naive_loop(seed, n, split, block):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (n, 3)).astype(np.float32)  # small integers: exact, with many ties
    label = rng.integers(0, 5, n).astype(str)
    rows = rng.permutation(n)
    queries, gallery = (rows[: n // 2], rows[n // 3 :]) if split else (np.arange(n), np.arange(n))
    hits, precisions, left_out = naive_retrieval(x, label, queries, gallery)
    chosen = {"queries": queries, "gallery": gallery} if split else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_VALUES", block)
        if not hits:
            with pytest.raises(NoseprintError, match="has a true match"):
                retrieval_metrics(x, label, **chosen)
            return
        scores = retrieval_metrics(x, label, **chosen)
    np.testing.assert_allclose(scores.hit, hits)
    np.testing.assert_allclose(scores.average_precision, precisions)
    assert scores.left_out == left_out
    assert scores.recall_at_1 == pytest.approx(np.mean(hits))
    assert scores.map == pytest.approx(np.mean(precisions))
    assert len(scores.query) == len(hits)
    assert set(scores.query) <= set(queries)


def test_masks_choose_queries_and_gallery():
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    scores = retrieval_metrics(x, list("aabb"), queries=[True, False, True, False], gallery=[False, True, False, True])
    assert (scores.recall_at_1, scores.map, scores.query.tolist()) == (1.0, 1.0, [0, 2])


def test_collapsed_embeddings_score_chance():
    scores = retrieval_metrics(np.ones((40, 4), np.float32), [str(i // 4) for i in range(40)])
    assert scores.recall_at_1 == pytest.approx(3 / 39)
    assert scores.map == pytest.approx(3 / 39)


def test_retrieval_refuses_what_it_cannot_score():
    x = np.eye(3, dtype=np.float32)
    with pytest.raises(NoseprintError, match="none of 3 queries"):
        retrieval_metrics(x, list("abc"))
    with pytest.raises(NoseprintError, match="none of 0 queries"):
        retrieval_metrics(x[:0], [])
    x[1, 1] = np.inf
    with pytest.raises(NoseprintError, match="not finite"):
        retrieval_metrics(x, list("aab"))


def test_retrieval_never_holds_n_by_n():
    n = 8000
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8)).astype(np.float32)
    tracemalloc.start()
    retrieval_metrics(x, rng.integers(0, 2000, n))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * n * 4 / 4


def test_clusters_are_components_of_same_pairs():
    pairs = Table(tuple("abxay"), tuple("bcyxq"))
    a, b = identity_clusters(pairs, np.array([True, True, True, False, False]))
    assert a.tolist() == [0, 0, 1, 0, 1]
    assert b.tolist() == [0, 0, 1, 1, 2]


def verification(seed=0, dogs=30, per=3, signal=1.0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(dogs), per)
    a, b, same = balanced_pairs(label, seed=seed)
    of_dog = rng.standard_normal(dogs)
    scores = signal * same + of_dog[label[a]] + of_dog[label[b]] + 0.5 * rng.standard_normal(len(a))
    return scores.round(1), same, label[a], label[b]


def test_bootstrap_equals_a_loop_that_repeats_identities():
    scores, same, a, b = verification()
    names = np.unique(np.concatenate([a, b]))
    rng = np.random.default_rng(5)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=40)
    aucs = []
    for row in times:
        drawn = dict(zip(names, row, strict=True))
        repeat = [drawn[i] if i == j else drawn[i] * drawn[j] for i, j in zip(a, b, strict=True)]
        aucs.append(roc_auc_score(np.repeat(same, repeat), np.repeat(scores, repeat)))
    got = bootstrap_auc(scores, same, a, b, seed=5, replicates=40)
    assert got == pytest.approx(tuple(np.quantile(aucs, [0.025, 0.975])), abs=1e-12)


def test_bootstrap_holds_the_score_and_is_wider_than_over_pairs():
    scores, same, a, b = verification()
    low, high = bootstrap_auc(scores, same, a, b, seed=0)
    assert 0.5 < low < roc_auc(scores, same) < high < 1
    each = np.arange(len(same))
    low_pairs, high_pairs = bootstrap_auc(scores, same, each, each, seed=0)
    assert high - low > high_pairs - low_pairs
    assert bootstrap_auc(scores, same, a, b, seed=0) == (low, high)


def test_bootstrap_does_not_depend_on_its_blocks(monkeypatch):
    scores, same, a, b = verification()
    whole = bootstrap_auc(scores, same, a, b, seed=0, replicates=50)
    monkeypatch.setattr(module, "BLOCK_VALUES", 3 * len(same))
    assert bootstrap_auc(scores, same, a, b, seed=0, replicates=50) == pytest.approx(whole, abs=1e-12)


def test_bootstrap_of_a_thousand_pairs_takes_moments():
    rng = np.random.default_rng(0)
    same = np.arange(1000) < 500
    cluster_a = np.arange(1000)
    cluster_b = np.where(same, cluster_a, cluster_a + 1000)
    start = time.perf_counter()
    bootstrap_auc(rng.random(1000) + same, same, cluster_a, cluster_b, seed=0, replicates=1000)
    assert time.perf_counter() - start < 5


def test_bootstrap_leaves_out_empty_replicates_and_refuses_when_none_is_left():
    scores, same = np.array([0.9, 0.1]), np.array([True, False])
    assert bootstrap_auc(scores, same, ["a", "a"], ["a", "b"], seed=0) == (1, 1)
    with pytest.raises(NoseprintError, match="too few identities"):
        bootstrap_auc(scores, same, ["a", "a"], ["a", "b"], seed=3, replicates=1)  # draws one of the two twice
    with pytest.raises(NoseprintError, match="needs same and different"):
        bootstrap_auc(scores, np.array([True, True]), ["a", "b"], ["a", "b"], seed=0)


def test_bootstrap_mean_equals_a_loop():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 12, 60)
    values = rng.random(60)
    names = np.unique(clusters)
    times = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=30)
    means = [np.mean(np.repeat(values, row[np.searchsorted(names, clusters)])) for row in times]
    got = bootstrap_mean(values, clusters, seed=3, replicates=30)
    assert got == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_bootstrap_mean_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.standard_normal(40), 5) + 0.1 * rng.standard_normal(200)
        low, high = bootstrap_mean(values, np.repeat(np.arange(40), 5), seed=seed, replicates=300)
        covered += low <= 0 <= high
    assert 178 <= covered <= 199  # 95 % of 200, a little less as percentile intervals of 40 identities go


def test_bootstrap_mean_of_nothing_is_refused():
    with pytest.raises(NoseprintError, match="no values"):
        bootstrap_mean(np.array([]), [], seed=0)
