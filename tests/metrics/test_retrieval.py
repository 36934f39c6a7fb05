import sys
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_precision
from torchmetrics.retrieval import RetrievalMAP

from noseprint.errors import NoseprintError
from noseprint.metrics import retrieval, similarity
from noseprint.metrics.retrieval import RANKS, retrieval_metrics


def mean_over_orders(x, q, others, label):
    """Rank-k and Precision@5 of one query, as means over all orders of the gallery before a stable sort."""
    similarity = (x[others] @ x[q]).astype(float)
    orders = [np.array(order) for order in permutations(range(len(others)))]
    right = np.array([label[others] == label[q]])[0]
    first = [right[order[np.argsort(-similarity[order], kind="stable")]] for order in orders]
    depth = min(5, right.sum())
    return [np.mean([row[:k].any() for row in first]) for k in RANKS], np.mean([row[:depth].mean() for row in first])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 7))
def test_rank_k_and_precision_are_means_over_the_orders_of_ties(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (n, 2)).astype(np.float32)
    label = rng.integers(0, 2, n)
    if (np.bincount(label) < 2).all():
        label[:2] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "RANKS", (1, 2, 4))
        patch.setattr(sys.modules[__name__], "RANKS", (1, 2, 4))
        scores = retrieval_metrics(x, label)
        for row, q in enumerate(scores.query):
            hits, precision = mean_over_orders(x, q, np.delete(np.arange(n), q), label)
            assert scores.hit[row] == pytest.approx(hits)
            assert scores.precision_at_5[row] == pytest.approx(precision)


@pytest.mark.parametrize("seed", range(3))
def test_scores_without_ties_equal_those_of_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(12), rng.integers(2, 9, 12)))
    x = rng.standard_normal((len(label), 8)) + 1.2 * rng.standard_normal((12, 8))[label]
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    scores = retrieval_metrics(x, label)
    similarity, chances, targets, indexes = x @ x.T, [], [], []
    for row, q in enumerate(scores.query):
        others = np.delete(np.arange(len(label)), q)
        chance = torch.from_numpy((similarity[q, others] + 1) / 2)
        target = torch.from_numpy(label[others] == label[q])
        for column, k in enumerate(RANKS):
            assert scores.hit[row, column] == retrieval_hit_rate(chance, target, top_k=k)
        depth = min(5, int(target.sum()))
        assert scores.precision_at_5[row] == pytest.approx(retrieval_precision(chance, target, top_k=depth).item())
        chances, targets, indexes = [*chances, chance], [*targets, target], [*indexes, torch.full((len(others),), row)]
    theirs = RetrievalMAP()(torch.cat(chances), torch.cat(targets), indexes=torch.cat(indexes))
    assert scores.map == pytest.approx(theirs.item(), abs=1e-6)


def loop_retrieval(x, label, queries, gallery, encounters):
    hits, precisions, left_out = [], [], 0
    for q in queries:
        others = [g for g in gallery if g != q and not (label[g] == label[q] and encounters[g] == encounters[q])]
        true = np.array([label[g] == label[q] for g in others])
        if not true.any():
            left_out += 1
            continue
        similarity = np.array([float(x[q] @ x[g]) for g in others])
        precisions.append(average_precision_score(true, similarity))
        hits.append(true[similarity == similarity.max()].mean())
    return hits, precisions, left_out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 20), st.booleans(), st.sampled_from([1, 40, 2**22]), st.booleans())
def test_scores_equal_those_of_a_loop(seed, n, split, block, with_encounters):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (n, 3)).astype(np.float32)  # small integers: exact, with many ties
    label = rng.integers(0, 5, n).astype(str)
    rows = rng.permutation(n)
    queries, gallery = (rows[: n // 2], rows[n // 3 :]) if split else (np.arange(n), np.arange(n))
    encounters = rng.integers(0, 3, n).astype(str) if with_encounters else np.arange(n)
    hits, precisions, left_out = loop_retrieval(x, label, queries, gallery, encounters)
    chosen = ({"queries": queries, "gallery": gallery} if split else {}) | (
        {"encounters": encounters} if with_encounters else {}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK_VALUES", block)
        if not hits:
            with pytest.raises(NoseprintError, match="has a true match"):
                retrieval_metrics(x, label, **chosen)
            return
        scores = retrieval_metrics(x, label, **chosen)
    np.testing.assert_allclose(scores.hit[:, 0], hits)
    np.testing.assert_allclose(scores.average_precision, precisions)
    assert scores.left_out == left_out
    assert scores.rank_1 == pytest.approx(np.mean(hits))
    assert scores.map == pytest.approx(np.mean(precisions))
    assert len(scores.query) == len(hits)
    assert set(scores.query) <= set(queries)


def test_masks_choose_queries_and_gallery():
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    scores = retrieval_metrics(x, list("aabb"), queries=[True, False, True, False], gallery=[False, True, False, True])
    assert (scores.rank_1, scores.map, scores.query.tolist()) == (1.0, 1.0, [0, 2])


def test_data_that_cannot_be_scored_are_refused():
    x = np.eye(3, dtype=np.float32)
    with pytest.raises(NoseprintError, match="none of 3 queries"):
        retrieval_metrics(x, list("abc"))
    with pytest.raises(NoseprintError, match="a true match from another encounter"):
        retrieval_metrics(x, list("aab"), encounters=["monday", "monday", "monday"])
    with pytest.raises(NoseprintError, match="none of 0 queries"):
        retrieval_metrics(x[:0], [])
    x[1, 1] = np.inf
    with pytest.raises(NoseprintError, match="not finite"):
        retrieval_metrics(x, list("aab"))


def test_n_by_n_similarities_are_never_held_at_once():
    n = 8000
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8)).astype(np.float32)
    tracemalloc.start()
    retrieval_metrics(x, rng.integers(0, 2000, n))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * n * 4 / 4
