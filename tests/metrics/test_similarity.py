from dataclasses import dataclass

import numpy as np
import pytest

from noseprint.errors import NoseprintError
from noseprint.metrics import similarity
from noseprint.metrics.similarity import pair_similarities, row_similarities


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


def unit_rows(rng, n, d):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


NAMES = tuple(f"A*nGE{i}.jpg" for i in range(7))
INDEX = {name: row for row, name in enumerate(reversed(NAMES))}


def test_similarities_in_blocks_equal_those_of_a_loop(monkeypatch):
    x = unit_rows(np.random.default_rng(0), 7, 33)
    table = Table((NAMES * 3), tuple(np.roll(NAMES * 3, 2)))
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 33 * 4)
    found = pair_similarities(x, INDEX, table)
    expected = [
        float(x[INDEX[a]].astype(np.float64) @ x[INDEX[b]]) for a, b in zip(table.image_a, table.image_b, strict=True)
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("d", [1, 5, 512, 2047])
def test_a_value_depends_neither_on_the_block_nor_on_the_order(monkeypatch, d):
    x = unit_rows(np.random.default_rng(1), 20, d)
    a, b = np.random.default_rng(2).integers(0, 20, (2, 50))
    whole = row_similarities(x, a, b)
    np.testing.assert_array_equal(whole, row_similarities(x, b, a))
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 1)
    np.testing.assert_array_equal(whole, row_similarities(x, a, b))


def test_no_pairs_give_no_similarities():
    assert pair_similarities(np.ones((1, 4), np.float32), {"a": 0}, Table((), ())).shape == (0,)


def test_an_unknown_image_is_named():
    with pytest.raises(NoseprintError, match=r"'ghost\.jpg' \(pair 2; 2 such"):
        pair_similarities(np.ones((1, 4), np.float32), {"a": 0}, Table(("a", "a", "other"), ("a", "ghost.jpg", "a")))


def test_a_similarity_that_is_not_finite_is_refused():
    x = np.ones((2, 4), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(NoseprintError, match=r"1 of 2 similarities .* that of 'a' and 'b' \(pair 2: nan\)"):
        pair_similarities(x, {"a": 0, "b": 1}, Table(("a", "a"), ("a", "b")))


def test_rounding_puts_no_cosine_outside_its_range():
    rows = np.full((2, 512), 1 / np.sqrt(512), np.float32) * np.float32([[1 + 1e-7], [-1 - 1e-7]])
    assert np.einsum("nd,nd->n", rows, rows).max() > 1
    first, second = np.array([0, 0]), np.array([0, 1])
    assert row_similarities(rows, first, second).tolist() == [1.0, -1.0]
    assert row_similarities(2 * rows, first, second)[0] == pytest.approx(4)  # no cosine: not hidden
