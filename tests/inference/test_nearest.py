import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import noseprint.inference.nearest as module
from noseprint.errors import NoseprintError
from noseprint.inference.nearest import expand_queries, nearest_images, rank_candidates
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
    st.sampled_from([3, 16, 2**14]),
    st.sampled_from(["random", "repeated", "crowded"]),
)
def test_the_search_equals_a_full_sort_bit_for_bit(drawn, block, kind):
    seed, count, n, k = drawn
    gallery = unit(n, 24, seed)
    if kind == "repeated":  # ties, also across blocks
        gallery = gallery[np.random.default_rng(seed).integers(0, max(1, n // 4), n)]
    if kind == "crowded":  # differences near the error of a matrix product
        gallery = (gallery[:1] + 1e-6 * gallery).astype(np.float32)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = gallery[:count] if kind == "crowded" else unit(count, 24, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GALLERY_BLOCK", block)
        patch.setattr(module, "_QUERY_BLOCK", 7)
        rows, similarity = nearest_images(queries, gallery, k=k)
    expected_rows, expected = naive(queries, gallery, min(k, n))
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarity, expected)


def test_candidates_are_ranked_exactly():
    queries, gallery = unit(5, 16, 0), unit(40, 16, 1)
    everything = np.tile(np.random.default_rng(2).permutation(40), (5, 1))
    rows, similarity = rank_candidates(queries, gallery, everything, k=6)
    expected_rows, expected = naive(queries, gallery, 6)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(similarity, expected)
    rows, similarity = rank_candidates(queries, gallery, np.array([[-1, 3, -1]] * 5), k=2)
    assert rows.tolist() == [[3, -1]] * 5
    assert np.isneginf(similarity[:, 1]).all()


def test_a_read_only_gallery_on_disk_can_be_searched(tmp_path):
    gallery = unit(30, 8, 0)
    np.save(tmp_path / "g.npy", gallery)
    rows, _ = nearest_images(gallery, np.load(tmp_path / "g.npy", mmap_mode="r"), k=1)
    assert rows[:, 0].tolist() == list(range(30))


def test_bad_input_is_refused():
    x = unit(4, 8, 0)
    for queries, gallery, k, message in (
        (x, x[:, :4], 1, "8 dimensions, the gallery 4"),
        (x, x[:0], 1, "empty"),
        (x, x, 0, "fewer than one"),
        (x, x * np.nan, 1, "gallery is not finite"),
        (x * np.nan, x, 1, "queries is not finite"),
    ):
        with pytest.raises(NoseprintError, match=message):
            nearest_images(queries, gallery, k=k)


def test_an_expanded_query_leans_towards_its_nearest_images():
    gallery = np.array([[1, 0, 0], [0.6, 0.8, 0], [-1, 0, 0]], np.float32)
    query = np.array([[0.8, 0.6, 0], [0, 0, 1]], np.float32)
    want = query[0] + 0.96**3 * gallery[1] + 0.8**3 * gallery[0]  # the third has a negative similarity: no weight
    expanded = expand_queries(query, gallery, k=3)
    np.testing.assert_allclose(expanded[0], want / np.linalg.norm(want), rtol=1e-6)
    np.testing.assert_array_equal(expanded[1], query[1])
    assert expanded.dtype == np.float32
    want = query[0] + 0.96**3 * gallery[1]
    np.testing.assert_allclose(expand_queries(query, gallery, k=1)[0], want / np.linalg.norm(want), rtol=1e-6)
