import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import noseprint.inference.nearest as module
from noseprint.errors import NoseprintError
from noseprint.inference.nearest import Nearest, expand_queries, search
from noseprint.inference.sieve import float_sieve
from noseprint.metrics.similarity import row_similarities


def unit(n, d, seed):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive(queries, gallery, k):
    both = np.concatenate([queries, gallery])
    rows, values = [], []
    for q in range(len(queries)):
        at = np.arange(len(queries), len(both))
        similarity = row_similarities(both, np.full(len(gallery), q), at)
        best = np.lexsort((np.arange(len(gallery)), -similarity))[:k]
        rows.append(best)
        values.append(similarity[best])
    return np.array(rows), np.array(values)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(0, 9999), st.integers(1, 40), st.integers(1, 60), st.integers(1, 12)),
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.sampled_from([3, 16, 2**14]),
    st.booleans(),
)
def test_search_equals_sorting_everything_to_the_bit(drawn, kind, block, repeated):
    seed, queries, n, k = drawn
    gallery = unit(n, 24, seed)
    if repeated:  # ties, also between blocks
        gallery = gallery[np.random.default_rng(seed).integers(0, max(1, n // 4), n)]
    asked = unit(queries, 24, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "coarse_type", lambda: kind)
        patch.setattr(module, "_GALLERY_BLOCK", block)
        patch.setattr(module, "_FEW", 2)
        rows, similarity = search(asked, gallery, k=k)
    want_rows, want = naive(asked, gallery, min(k, n))
    np.testing.assert_array_equal(rows, want_rows)
    np.testing.assert_array_equal(similarity, want)


def test_close_neighbours_that_bfloat16_cannot_tell_apart_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "coarse_type", lambda: torch.bfloat16)
    rng = np.random.default_rng(0)
    gallery = (unit(1, 32, 0) + 1e-3 * rng.standard_normal((400, 32))).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    asked = gallery[:64]
    rows, similarity = search(asked, gallery, k=5)
    want_rows, want = naive(asked, gallery, 5)
    np.testing.assert_array_equal(rows, want_rows)
    np.testing.assert_array_equal(similarity, want)


def test_a_gallery_on_disk_that_must_not_be_written(tmp_path):
    gallery = unit(30, 8, 0)
    np.save(tmp_path / "g.npy", gallery)
    rows, _ = search(gallery, np.load(tmp_path / "g.npy", mmap_mode="r"), k=1)
    assert rows[:, 0].tolist() == list(range(30))


def test_further_rows_of_a_block_are_passed_over():
    gallery = unit(10, 8, 0)
    nearest = Nearest(gallery[:2], width=8, k=1)
    sieve = float_sieve(gallery[:2], torch.float32)
    nearest.offer(np.arange(2), torch.from_numpy(gallery), sieve, gallery, np.arange(1))
    assert nearest.rows[:, 0].tolist() == [0, 0]


def test_what_cannot_be_searched_is_refused():
    x = unit(4, 8, 0)
    for queries, gallery, k, says in (
        (x, x[:, :4], 1, "8 dimensions, the gallery 4"),
        (x, x[:0], 1, "empty"),
        (x, x, 0, "fewer than one"),
        (x, x * np.nan, 1, "gallery is not finite"),
        (x * np.nan, x, 1, "queries is not finite"),
    ):
        with pytest.raises(NoseprintError, match=says):
            search(queries, gallery, k=k)


def test_an_expanded_query_leans_towards_its_nearest_images_by_their_similarity_cubed():
    gallery = np.array([[1, 0, 0], [0.6, 0.8, 0], [-1, 0, 0]], np.float32)
    query = np.array([[0.8, 0.6, 0], [0, 0, 1]], np.float32)
    want = query[0] + 0.96**3 * gallery[1] + 0.8**3 * gallery[0]  # the third points away and weighs nothing
    expanded = expand_queries(query, gallery, k=3)
    np.testing.assert_allclose(expanded[0], want / np.linalg.norm(want), rtol=1e-6)
    np.testing.assert_array_equal(expanded[1], query[1])
    assert expanded.dtype == np.float32
    want = query[0] + 0.96**3 * gallery[1]
    np.testing.assert_allclose(expand_queries(query, gallery, k=1)[0], want / np.linalg.norm(want), rtol=1e-6)
