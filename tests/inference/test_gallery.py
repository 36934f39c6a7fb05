import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.inference.array_file import write_arrays
from noseprint.inference.gallery import (
    embed_gallery,
    embed_photographs,
    find_weights,
    list_photographs,
    read_gallery,
    write_gallery,
)
from noseprint.metrics.similarity import ensemble_embeddings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory, write_weights):
    folder = tmp_path_factory.mktemp("weights")
    return [write_weights(folder / f"{name}.safetensors", seed=ord(name)) for name in "ab"]


@pytest.fixture(scope="module")
def photographs(demo):
    return list_photographs(demo / "train" / "images")


def test_a_gallery_is_read_as_it_was_written(photographs, weights, tmp_path):
    folder, names = photographs
    assert list(names) == sorted(names)
    both = embed_gallery(weights, folder, names, device=CPU)
    parts = {path.name: embed_photographs([path], folder, names, device=CPU) for path in weights}
    np.testing.assert_array_equal(both.matrix, ensemble_embeddings(parts))
    for name in "xy":
        write_gallery(tmp_path / name, both)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    read = read_gallery(tmp_path / "x")
    np.testing.assert_array_equal(read.matrix, both.matrix)
    assert (read.names, read.weights, read.fingerprint) == (names, both.weights, both.fingerprint)
    assert read.network == "+".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in weights)


def test_the_weights_of_a_gallery_are_found_and_compared(photographs, weights, tmp_path):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights[0].read_bytes())
    folder, names = photographs
    gallery = embed_gallery([moved], folder, names[:2], device=CPU)
    assert find_weights(gallery) == (moved,)
    assert find_weights(gallery, weights[:1]) == (weights[0],)
    moved.unlink()
    with pytest.raises(NoseprintError, match=r"moved\.safetensors: no such weights file.* with --weights"):
        find_weights(gallery)
    for other in (weights[1:], weights):
        with pytest.raises(NoseprintError, match="embedded with other weights"):
            find_weights(gallery, other)
    with pytest.raises(NoseprintError, match="are the same"):
        embed_gallery([weights[0], weights[0]], folder, names, device=CPU)


def test_all_photographs_whose_names_break_a_line_are_named(tmp_path, weights):
    with pytest.raises(NoseprintError, match="rename the photograph") as error:
        embed_photographs(weights, tmp_path, ["a\n.jpg", "b.jpg", "\x1b.jpg", "\udcff.jpg", "\u2028.jpg"], device=CPU)
    assert "4 names hold" in str(error.value)
    assert r"'a\n.jpg', '\x1b.jpg', '\udcff.jpg', '\u2028.jpg'" in str(error.value)


def test_names_with_any_space_and_any_letter_are_embedded(demo, tmp_path, weights):
    names = ["Bild\u30001.jpg", "at 4.10\u202fPM.jpg", "\U0001f468\u200d\U0001f469.jpg", "\U0001fae9\ue000\u00ad.jpg"]
    photograph = next((demo / "train" / "images").iterdir())
    for name in names:
        shutil.copy(photograph, tmp_path / name)
    gallery = embed_gallery(weights[:1], tmp_path, names, device=CPU)
    write_gallery(tmp_path / "g.safetensors", gallery)
    assert read_gallery(tmp_path / "g.safetensors").names == tuple(names)


def test_a_file_that_is_not_a_gallery_is_refused(tmp_path, weights):
    x, path = np.eye(2, dtype=np.float32), tmp_path / "e"
    names = np.frombuffer(b"a\0b", np.uint8)
    fingerprint = hashlib.sha256(names.tobytes() + x.tobytes()).hexdigest()[:16]
    good = {"format": "noseprint embeddings 1", "weights": '[["w", "0"]]', "fingerprint": fingerprint}
    write_arrays(path, {"embeddings": x, "names": names}, good)
    assert read_gallery(path).names == ("a", "b")
    for arrays, metadata, message in (
        ({"embeddings": 2 * x, "names": names}, good, "'a' is not of length 1"),
        ({"embeddings": x * np.nan, "names": names}, good, "is not of length 1"),
        ({"embeddings": x[:1], "names": names}, good, "2 names for 1 embeddings"),
        ({"embeddings": x[::-1], "names": names}, good, "changed after it was written"),
        ({"embeddings": x}, good, "has no names"),
        ({"embeddings": x[0], "names": names}, good, "has no embeddings"),
        ({"embeddings": names, "names": names}, good, "has no embeddings"),
        ({"embeddings": x, "names": names}, good | {"weights": "[1"}, "header is damaged"),
        ({"embeddings": x, "names": names}, good | {"weights": "[]"}, "is damaged"),
        ({"embeddings": x, "names": names}, {"format": "other"}, "its format is 'other'"),
    ):
        write_arrays(path, arrays, metadata)
        with pytest.raises(NoseprintError, match=message):
            read_gallery(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(NoseprintError, match="not a complete gallery"):
        read_gallery(path)
    with pytest.raises(NoseprintError, match="its format is 'noseprint weights 2'"):
        read_gallery(weights[0])
    with pytest.raises(NoseprintError, match="there is no such gallery"):
        read_gallery(tmp_path / "none")


def test_a_large_gallery_is_mapped_into_memory(tmp_path):
    path = tmp_path / "g"
    matrix = np.zeros((2, 2**20), np.float32)
    matrix[:, 0] = 1
    names = np.frombuffer(b"a\0b", np.uint8)
    fingerprint = hashlib.sha256(names.tobytes() + matrix.tobytes()).hexdigest()[:16]
    metadata = {"format": "noseprint embeddings 1", "weights": '[["w", "0"]]', "fingerprint": fingerprint}
    write_arrays(path, {"embeddings": matrix, "names": names}, metadata)
    gallery = read_gallery(path)
    start = gallery.matrix.__array_interface__["data"][0]
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if str(path) in line]
    assert any(int(low, 16) <= start < int(high, 16) for low, high in ranges)
