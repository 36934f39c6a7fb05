import numpy as np
import pytest

from noseprint.errors import NoseprintError
from noseprint.inference.index import build_index, read_index, search_index, write_index
from noseprint.inference.nearest import search


def dogs(count, d=32):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((count, d)), 5, axis=0) + 0.5 * rng.standard_normal((count * 5, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_looking_into_every_list_is_the_exact_search():
    x = dogs(80)
    index = build_index(x)
    assert sorted(index.order) == list(range(len(x)))
    for got, want in zip(search_index(index, x[:50], x, k=7, lists=10**6), search(x[:50], x, k=7), strict=True):
        np.testing.assert_array_equal(got, want)


def test_few_lists_find_nearly_all():
    x = dogs(400)
    rows, similarity = search_index(build_index(x), x, x, k=5, lists=6)
    want, best = search(x, x, k=5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(rows, want, strict=True)]) > 0.9
    assert (rows[:, 0] == np.arange(len(x))).all()
    assert (similarity <= best).all()
    assert all(len(set(row)) == 5 for row in rows)


def test_too_few_in_the_lists_are_sought_everywhere():
    x = dogs(20)
    rows, _ = search_index(build_index(x), x, x, k=60, lists=1)
    np.testing.assert_array_equal(rows, search(x, x, k=60)[0])


def test_the_same_gallery_gives_the_same_file_and_reads_back(tmp_path):
    x = dogs(40)
    for name in "ab":
        write_index(tmp_path / name, build_index(x), fingerprint="f")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read = read_index(tmp_path / "a", x, fingerprint="f")
    np.testing.assert_array_equal(search_index(read, x, x, k=3)[0], search_index(build_index(x), x, x, k=3)[0])


def test_a_stale_or_damaged_index_is_refused(tmp_path):
    x, path = dogs(40), tmp_path / "i"
    index = build_index(x)
    write_index(path, index, fingerprint="f")
    with pytest.raises(NoseprintError, match="of other embeddings"):
        read_index(path, x, fingerprint="g")
    with pytest.raises(NoseprintError, match="is damaged"):
        read_index(path, x[1:], fingerprint="f")
    index.order[0] = index.order[1]
    write_index(path, index, fingerprint="f")
    with pytest.raises(NoseprintError, match="is damaged"):
        read_index(path, x, fingerprint="f")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NoseprintError, match="only part of it"):
        read_index(path, x, fingerprint="f")
