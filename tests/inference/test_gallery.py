import csv
import hashlib
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from noseprint.data.listing import list_photographs
from noseprint.errors import NoseprintError
from noseprint.inference import gallery as module
from noseprint.inference.array_file import write_arrays
from noseprint.inference.gallery import (
    BATCH_SIZE,
    embed_gallery,
    embed_photographs,
    find_weights,
    read_gallery,
    write_gallery,
)
from noseprint.inference.photograph_records import say_changes
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
    assert read.folder == folder
    np.testing.assert_array_equal(read.records, both.records)
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
        embed_gallery(weights, tmp_path, ["a\n.jpg", "b.jpg", "\x1b.jpg", "\udcff.jpg", "\u2028.jpg"], device=CPU)
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
    assert read_gallery(path).records is None  # as an older version wrote it
    for arrays, metadata, message in (
        ({"embeddings": 2 * x, "names": names}, good, "'a' is not of length 1"),
        ({"embeddings": x * np.nan, "names": names}, good, "is not of length 1"),
        ({"embeddings": x[:1], "names": names}, good, "2 names for 1 embeddings"),
        ({"embeddings": x[::-1], "names": names}, good, "changed after it was written"),
        ({"embeddings": x}, good, "has no names"),
        ({"embeddings": x[0], "names": names}, good, "has no embeddings"),
        ({"embeddings": names, "names": names}, good, "has no embeddings"),
        ({"embeddings": x, "names": names, "records": x}, good, "has no records"),
        ({"embeddings": x, "names": names, "records": np.zeros((1, 32), np.uint8)}, good, "2 names for 1 records"),
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


def test_all_broken_photographs_are_named_before_anything_is_embedded(demo, weights, tmp_path, monkeypatch):
    folder, (good, *names) = list_photographs(Path(shutil.copytree(demo / "train" / "images", tmp_path / "images")))
    bad = names[2:40:9]
    for name in bad:
        (folder / name).write_bytes((folder / name).read_bytes()[:300])
    with monkeypatch.context() as patch:
        patch.setattr(module, "embed_photographs", lambda *_, **__: pytest.fail("embedded"))
        with pytest.raises(NoseprintError, match=f"{len(bad)} of .*--skip-bad") as error:
            embed_gallery(weights[:1], folder, names, device=CPU)
    assert all(name in str(error.value) for name in bad)
    skipped = tmp_path / "skipped.csv"
    gallery = embed_gallery(weights[:1], folder, [good, *bad], device=CPU, skip_bad=True, skipped_csv=skipped)
    assert gallery.names == (good,)
    assert [Path(row["image"]).name for row in csv.DictReader(skipped.open())] == bad
    with pytest.raises(NoseprintError, match="none of the photographs can be read"):
        embed_gallery(weights[:1], folder, bad, device=CPU, skip_bad=True)


@pytest.fixture
def crowd(tmp_path):
    """A folder with a little more photographs than two batches."""
    (tmp_path / "crowd").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (2 * BATCH_SIZE + 6, 8, 8, 3), np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "crowd" / f"{number:03}.png")
    return list_photographs(tmp_path / "crowd")


def interrupted_after(batches, monkeypatch):
    """Raises KeyboardInterrupt in the batch after so many."""
    embedder = module.embedder

    def stopping(*arguments, **options):
        compute, left = embedder(*arguments, **options), iter(range(batches))

        def stop(images):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return compute(images)

        return stop

    monkeypatch.setattr(module, "embedder", stopping)


def test_an_interrupted_embedding_goes_on_where_it_stopped(crowd, weights, tmp_path, monkeypatch, capsys):
    folder, names = crowd
    out = tmp_path / "g.safetensors"
    whole = embed_gallery(weights, folder, names, device=CPU)
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            embed_gallery(weights, folder, names, device=CPU, keep_beside=out)
    (kept,) = tmp_path.glob(".g.safetensors.*.rows")
    assert kept.stat().st_size == 2 * BATCH_SIZE * whole.matrix[0].nbytes // 2
    kept.write_bytes(kept.read_bytes()[:-9] + bytes(40))  # as a power cut may leave it: a batch is lost
    computed = []
    with monkeypatch.context() as patch:
        embedder = module.embedder
        patch.setattr(module, "embedder", lambda *a, **k: lambda x: (computed.append(len(x)), embedder(*a, **k)(x))[1])
        gallery = embed_gallery(weights, folder, names, device=CPU, keep_beside=out)
    assert computed == [BATCH_SIZE, 6, BATCH_SIZE, BATCH_SIZE, 6]
    assert f"a.safetensors: {BATCH_SIZE} of {len(names)} photographs are embedded already" in capsys.readouterr().err
    np.testing.assert_array_equal(gallery.matrix, whole.matrix)
    write_gallery(out, gallery)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["g.safetensors"]


@pytest.mark.parametrize("change", ["weights", "photograph", "names"])
def test_kept_rows_are_not_used_for_other_photographs_or_weights(crowd, weights, tmp_path, monkeypatch, change):
    folder, names = crowd
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            embed_gallery(weights[:1], folder, names, device=CPU, keep_beside=tmp_path / "g")
    if change == "weights":
        weights = weights[1:]
    elif change == "photograph":
        Image.new("RGB", (8, 8)).save(folder / names[0])
    else:
        names = names[1:]
    gallery = embed_gallery(weights[:1], folder, names, device=CPU, keep_beside=tmp_path / "g")
    np.testing.assert_array_equal(gallery.matrix, embed_gallery(weights[:1], folder, names, device=CPU).matrix)


def test_two_processes_do_not_make_one_gallery(crowd, weights, tmp_path, monkeypatch):
    folder, names = crowd
    embed_with = module.embed_with

    def twice(*arguments, **options):
        with pytest.raises(NoseprintError, match="another process is making the same gallery"):
            embed_gallery(weights[:1], folder, names, device=CPU, keep_beside=tmp_path / "g")
        return embed_with(*arguments, **options)

    monkeypatch.setattr(module, "embed_with", twice)
    embed_gallery(weights[:1], folder, names, device=CPU, keep_beside=tmp_path / "g")


def test_photographs_that_changed_since_are_named(crowd, weights, capsys):
    folder, names = crowd
    gallery = embed_gallery(weights[:1], folder, names[:5], device=CPU)
    same, changed, broken, gone, _ = (folder / name for name in names[:5])

    def told():
        say_changes(gallery.folder, gallery.names, gallery.records)
        return capsys.readouterr().err

    os.utime(same, ns=(0, 0))
    assert told() == ""
    same.write_bytes(cv2.imencode(".bmp", cv2.imread(str(same)))[1])  # the same pixels in another format
    assert told() == ""
    stamp = changed.stat().st_mtime_ns
    size = len(changed.read_bytes())
    Image.new("RGB", (8, 8)).save(changed)
    changed.write_bytes(changed.read_bytes().ljust(size, b"\0"))
    os.utime(changed, ns=(stamp + 1, stamp + 1))
    broken.write_bytes(b"")
    gone.unlink()
    lines = told().splitlines()
    assert (
        lines[0] == f"1 of the 5 photographs in the gallery are gone since it was embedded, such as {gone}: embed again"
    )
    assert lines[1].startswith(
        f"2 of the 5 photographs in the gallery have changed since it was embedded, such as {changed}"
    )
    shutil.rmtree(folder)  # a gallery may move without its photographs
    assert told() == ""
