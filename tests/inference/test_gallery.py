import csv
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.inference.array_file import write_arrays
from noseprint.inference.gallery import embed_with, photographs, read_embeddings, write_embeddings
from noseprint.inference.nearest import expand_queries
from noseprint.inference.search import which
from noseprint.metrics.similarity import ensemble_embeddings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory, write_weights):
    folder = tmp_path_factory.mktemp("weights")
    return [write_weights(folder / f"{name}.safetensors", seed=ord(name)) for name in "ab"]


@pytest.fixture
def gallery(demo, weights, tmp_path):
    folder, names = photographs(demo / "train" / "images")
    write_embeddings(tmp_path / "g.safetensors", embed_with(weights[:1], folder, names, device=CPU))
    return tmp_path / "g.safetensors"


def ask(gallery, query, out, **given):
    options = {"weights": (), "identities": None, "top": 3, "use_index": False, "device": CPU, **given}
    which(query, gallery, out=out, **options)
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_embeddings_come_back_as_written(demo, weights, tmp_path):
    folder, names = photographs(demo / "train" / "images")
    assert list(names) == sorted(names)
    both = embed_with(weights, folder, names, device=CPU)
    parts = {path.name: embed_with([path], folder, names, device=CPU).matrix for path in weights}
    np.testing.assert_array_equal(both.matrix, ensemble_embeddings(parts))
    for name in "xy":
        write_embeddings(tmp_path / name, both)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    read = read_embeddings(tmp_path / "x")
    np.testing.assert_array_equal(read.matrix, both.matrix)
    assert (read.names, read.weights, read.fingerprint) == (names, both.weights, both.fingerprint)
    assert read.network == "+".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in weights)


def test_which_finds_the_photograph_itself_and_names_it(demo, gallery, tmp_path):
    table = demo / "train" / "train_data.csv"
    rows = ask(gallery, demo / "train" / "images", tmp_path / "f.csv", identities=table)
    first = [row for row in rows if row["rank"] == "1"]
    with table.open(newline="") as file:
        identity = {row["nose print image"]: row["dog ID"] for row in csv.DictReader(file)}
    assert all(row["image"] == row["query"] and row["identity"] == identity[row["image"]] for row in first)
    assert len(rows) == 3 * len(identity)
    assert list(rows[0]) == ["query", "rank", "image", "similarity", "identity"]
    indexed = ask(gallery, demo / "train" / "images", tmp_path / "i.csv", use_index=True, top=1)
    assert [row["image"] for row in indexed] == [row["image"] for row in first]
    assert gallery.with_name("g.index.safetensors").is_file()


def test_an_expanded_query_is_compared_in_place_of_the_query(demo, gallery, tmp_path):
    one = demo / "train" / "images" / photographs(demo / "train" / "images")[1][0]
    known = read_embeddings(gallery).matrix
    moved = expand_queries(known[:1], known, k=2)
    rows = ask(gallery, one, tmp_path / "f.csv", expand=2)
    want = np.sort(known @ moved[0])[::-1][:3]
    np.testing.assert_allclose([float(row["similarity"]) for row in rows], want, atol=1e-5)
    assert want[0] < 0.9999  # the photograph itself, had its query not moved
    with pytest.raises(NoseprintError, match="--expand -1"):
        ask(gallery, one, tmp_path / "g.csv", expand=-1)
    assert not (tmp_path / "g.csv").exists()


def test_a_stale_index_is_refused(demo, gallery, weights, tmp_path):
    one = demo / "train" / "images" / photographs(demo / "train" / "images")[1][0]
    ask(gallery, one, tmp_path / "f.csv", use_index=True)
    folder, names = photographs(demo / "train" / "images")
    write_embeddings(gallery, embed_with(weights[:1], folder, names[1:], device=CPU))
    with pytest.raises(NoseprintError, match="index of other embeddings"):
        ask(gallery, one, tmp_path / "g.csv", use_index=True)
    assert not (tmp_path / "g.csv").exists()


def test_mistakes_are_told_and_write_nothing(demo, gallery, weights, tmp_path):
    one = demo / "train" / "images" / photographs(demo / "train" / "images")[1][0]
    out = tmp_path / "out.csv"
    (tmp_path / "table.csv").write_text("dog ID,nose print image\n1,nobody.jpg\n")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "empty").mkdir()
    for says, query, given in (
        ("embedded with other weights", one, {"weights": weights[1:]}),
        ("embedded with other weights", one, {"weights": weights}),
        ("no such weights file", one, {"weights": (tmp_path / "none.safetensors",)}),
        ("--top 0", one, {"top": 0}),
        ("names none of the", one, {"identities": tmp_path / "table.csv"}),
        ("broken.jpg", tmp_path / "broken.jpg", {}),
        ("holds no photographs", tmp_path / "empty", {}),
        ("no such photograph or folder", tmp_path / "nothing.jpg", {}),
        ("ends in .csv", one, {"out": one}),
        ("there is no folder", one, {"out": tmp_path / "none" / "out.csv"}),
        ("would be lost", one, {"out": tmp_path / "table.csv", "identities": tmp_path / "table.csv"}),
    ):
        before = {path: path.read_bytes() for path in (one, gallery, tmp_path / "table.csv")}
        with pytest.raises(NoseprintError, match=says):
            ask(gallery, query, **{"out": out, **given})
        assert before == {path: path.read_bytes() for path in before}
    assert not out.exists()
    with pytest.raises(NoseprintError, match="named twice"):
        embed_with([weights[0], weights[0]], demo, ["x"], device=CPU)


def test_a_gallery_whose_weights_are_gone_asks_for_them(demo, weights, tmp_path):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights[0].read_bytes())
    folder, names = photographs(demo / "train" / "images")
    write_embeddings(tmp_path / "g", embed_with([moved], folder, names, device=CPU))
    moved.unlink()
    with pytest.raises(NoseprintError, match="with --weights"):
        ask(tmp_path / "g", folder / names[0], tmp_path / "f.csv")
    assert ask(tmp_path / "g", folder / names[0], tmp_path / "f.csv", weights=weights[:1])[0]["image"] == names[0]


def test_a_strange_file_is_refused_with_its_reason(tmp_path, weights):
    x, path = np.eye(2, dtype=np.float32), tmp_path / "e"
    names = np.frombuffer(b"a\0b", np.uint8)
    mark = hashlib.sha256(names.tobytes() + x.tobytes()).hexdigest()[:16]
    good = {"format": "noseprint embeddings 1", "weights": '[["w", "0"]]', "fingerprint": mark}
    write_arrays(path, {"embeddings": x, "names": names}, good)
    assert read_embeddings(path).names == ("a", "b")
    for arrays, metadata, says in (
        ({"embeddings": 2 * x, "names": names}, good, "'a' is not of length 1"),
        ({"embeddings": x * np.nan, "names": names}, good, "is not of length 1"),
        ({"embeddings": x[:1], "names": names}, good, "2 names for 1 embeddings"),
        ({"embeddings": x}, good, "lacks names"),
        ({"embeddings": x[0], "names": names}, good, "lacks embeddings"),
        ({"embeddings": x, "names": names}, good | {"weights": "[1"}, "damaged header"),
        ({"embeddings": x, "names": names}, good | {"weights": "[]"}, "damaged"),
        ({"embeddings": x, "names": names}, {"format": "other"}, "its format is 'other'"),
    ):
        write_arrays(path, arrays, metadata)
        with pytest.raises(NoseprintError, match=says):
            read_embeddings(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(NoseprintError, match="no file of embeddings"):
        read_embeddings(path)
    with pytest.raises(NoseprintError, match="its format is 'noseprint weights 2'"):
        read_embeddings(weights[0])
    with pytest.raises(NoseprintError, match="no such file of embeddings"):
        read_embeddings(tmp_path / "none")


def test_a_gallery_changed_behind_its_fingerprint_is_refused(gallery):
    known = read_embeddings(gallery)
    write_embeddings(gallery, replace(known, matrix=np.ascontiguousarray(known.matrix[::-1])))
    with pytest.raises(NoseprintError, match="changed after it was written"):
        read_embeddings(gallery)


def test_an_index_with_another_content_is_refused(demo, gallery, tmp_path):
    one = demo / "train" / "images" / photographs(demo / "train" / "images")[1][0]
    ask(gallery, one, tmp_path / "f.csv", use_index=True)
    index = gallery.with_name("g.index.safetensors")
    data = bytearray(index.read_bytes())
    data[-64:] = bytes(64)
    index.write_bytes(data)
    with pytest.raises(NoseprintError, match="is damaged"):
        ask(gallery, one, tmp_path / "g.csv", use_index=True)
