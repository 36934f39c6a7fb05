import sys

import numpy as np
import pytest

from noseprint.errors import NoseprintError
from noseprint.inference import index as module
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.inference.index import build_index, open_index, read_index, search_index, write_index
from noseprint.inference.nearest import nearest_images


def crowded(count, d=192):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((count, d)), 5, axis=0) + 0.5 * rng.standard_normal((count * 5, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def gallery(matrix, fingerprint="f"):
    return GalleryEmbeddings(matrix, tuple(map(str, range(len(matrix)))), (), fingerprint)


def test_the_index_finds_nearly_all_with_exact_similarities(monkeypatch):
    x = crowded(1200)
    monkeypatch.setattr(module, "_MIN_SEARCHED", 20)
    rows, similarity = search_index(build_index(x), x[:300], x, k=10)
    expected, best = nearest_images(x[:300], x, k=10)
    assert np.mean(rows[:, :5] == expected[:, :5]) > 0.95  # the images of one identity
    assert (rows != expected).any()  # approximate, or this test would not test the index
    np.testing.assert_array_equal(similarity[rows == expected], best[rows == expected])
    assert (similarity <= best).all()
    assert all(len(set(row)) == 10 for row in rows)


@pytest.mark.parametrize(("count", "k"), [(1, 3), (10, 60), (100, 400)])
def test_a_small_gallery_is_searched_exactly(count, k):
    x = crowded(count)
    for found, expected in zip(search_index(build_index(x), x, x, k=k), nearest_images(x, x, k=k), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_queries_with_too_few_candidates_are_searched_exactly(monkeypatch):
    monkeypatch.setattr(module, "_SEARCHED_SHARE", 0)
    monkeypatch.setattr(module, "_MIN_SEARCHED", 1)
    x = crowded(40)
    np.testing.assert_array_equal(search_index(build_index(x), x, x, k=100)[0], nearest_images(x, x, k=100)[0])


def test_the_index_is_built_once_and_read_afterwards(tmp_path, capsys):
    x = crowded(40)
    first = open_index(tmp_path / "g.safetensors", gallery(x))
    content = (tmp_path / "g.faiss.safetensors").read_bytes()
    assert "building" in capsys.readouterr().out
    second = open_index(tmp_path / "g.safetensors", gallery(x))
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(search_index(first, x, x, k=3)[0], search_index(second, x, x, k=3)[0])
    write_index(tmp_path / "again", build_index(x), gallery(x))
    assert (tmp_path / "again").read_bytes() == content


def test_a_stale_or_damaged_index_is_refused(tmp_path):
    x, path = crowded(40), tmp_path / "i"
    write_index(path, build_index(x), gallery(x))
    with pytest.raises(NoseprintError, match="belongs to other embeddings: delete"):
        read_index(path, gallery(x, fingerprint="g"))
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(NoseprintError, match="is damaged: delete"):
        read_index(path, gallery(x))
    path.write_bytes(data[:-1])
    with pytest.raises(NoseprintError, match=r"not a complete index .* delete"):
        read_index(path, gallery(x))


def test_without_faiss_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(NoseprintError, match=r"pip install noseprint\[index\]"):
        open_index(tmp_path / "g.safetensors", gallery(crowded(4)))
