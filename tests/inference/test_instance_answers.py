"""Embedding photographs with the chosen network, and the answers to the queries of the test."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.data.instance_options import EmbedInstancesOptions
from noseprint.data.instances import InstanceTable
from noseprint.errors import NoseprintError
from noseprint.inference import instance_answers
from noseprint.inference.gallery import GalleryEmbeddings, read_gallery
from noseprint.inference.instance_answers import embed_instances, write_answers
from noseprint.models import openvino_runtime
from noseprint.models.weights import save_weights

from ..tasks.tiny_instances import draw_images, network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def torch_computes(monkeypatch):
    monkeypatch.setattr(openvino_runtime, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("answers") / "best.safetensors"
    save_weights(path, network().eval(), extra={})
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("answers") / "images"
    draw_images(folder, identities=3, each=2)
    return folder


def embed(weights: Path, folder: Path, out: Path, **options) -> GalleryEmbeddings:
    names = sorted(path.name for path in folder.iterdir())
    given = EmbedInstancesOptions(data=folder, workers=0, **options)
    return embed_instances(weights, folder, names, options=given, device=CPU, out=out)


def test_views_are_averaged_and_scaled(weights, photographs, tmp_path):
    plain, mirrored, both = (
        embed(weights, photographs, tmp_path / "out.safetensors", views=views).matrix
        for views in ("plain", "mirrored", "plain, mirrored")
    )
    assert not np.allclose(plain, mirrored, atol=1e-3)
    mean = (plain + mirrored) / np.linalg.norm(plain + mirrored, axis=1, keepdims=True)
    np.testing.assert_allclose(both, mean, atol=1e-5)
    kept = read_gallery(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(kept.matrix, both)
    assert kept.weights[0][0] == weights.resolve()


def test_unknown_views_and_one_twice_are_refused(weights, photographs, tmp_path):
    out = tmp_path / "out.safetensors"
    with pytest.raises(NoseprintError, match="--views up: there is no view 'up'; choose from plain, mirrored"):
        embed(weights, photographs, out, views="up")
    with pytest.raises(NoseprintError, match="there is no view ''"):
        embed(weights, photographs, out, views="plain,")
    with pytest.raises(NoseprintError, match="each once"):
        embed(weights, photographs, out, views="plain,plain")
    assert not list(tmp_path.iterdir())


def test_rows_that_break_the_limit_are_never_written(weights, photographs, tmp_path, monkeypatch):
    for wrong, message in ((lambda rows: 2 * rows, "length 2, not 1"), (lambda rows: rows.repeat(2, 1), "16 dim")):
        right = instance_answers.embed_views
        with monkeypatch.context() as patch:
            patch.setattr(instance_answers, "embed_views", lambda *a, w=wrong, r=right, **k: w(r(*a, **k)))
            with pytest.raises(NoseprintError, match=message):
                embed(weights, photographs, tmp_path / "out.safetensors", views="mirrored")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("views", ["plain", "plain,centre"])
def test_broken_photographs_are_refused_or_left_out_and_listed(weights, photographs, tmp_path, views):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in photographs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out" / "out.safetensors"
    out.parent.mkdir()
    with pytest.raises(NoseprintError, match="--skip-bad"):
        embed(weights, folder, out, views=views)
    assert not list(out.parent.iterdir())
    assert len(embed(weights, folder, out, views=views, skip_bad=True).names) == 6
    assert {path.name for path in out.parent.iterdir()} == {"out.safetensors", "out.skipped.csv"}


def test_images_and_out_belong_together(tmp_path):
    for options in ({"images": tmp_path}, {"out": tmp_path / "out.safetensors"}):
        with pytest.raises(NoseprintError, match="belong together"):
            EmbedInstancesOptions(data=tmp_path, **options)


def made(roles: str) -> tuple[GalleryEmbeddings, InstanceTable]:
    """Rows of things a and b, of art and of toys, in a plane. roles: of each row, q, i or - for both."""
    angles = np.radians([0, 10, 25, 90, 100, 5])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    names = tuple(f"{number}.png" for number in range(6))
    roles_of = tuple({"q": "query", "i": "index", "-": "both"}[role] for role in roles)
    table = InstanceTable(
        tuple(map(Path, names)), tuple("aaabbb"), ("art",) * 3 + ("toys",) * 3, ("test",) * 6, roles_of, names
    )
    return GalleryEmbeddings(rows, names, (), ""), table


def answers(path: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            assert int(row["rank"]) == len(found.setdefault(row["query"], [])) + 1
            found[row["query"]].append((row["found"], row["found identity"]))
    return found


def test_each_query_lists_its_nearest_of_the_index(tmp_path):
    gallery, table = made("qiiqii")
    reverse = replace(gallery, matrix=gallery.matrix[::-1], names=gallery.names[::-1])  # rows are found by name
    for found in (gallery, reverse):
        lines = list(write_answers(tmp_path / "prediction.csv", found, table))
        assert answers(tmp_path / "prediction.csv") == {
            "0.png": [("5.png", "b"), ("1.png", "a"), ("2.png", "a"), ("4.png", "b")],
            "3.png": [("4.png", "b"), ("2.png", "a"), ("1.png", "a"), ("5.png", "b")],
        }
        assert lines[0].startswith("2 queries among 4 photographs: ")
        assert lines[1].startswith("mean of domains: mP@5 0.5000 ")  # a finds b, then a; b finds b, then a
        assert [line.partition(":")[0] for line in lines[2:]] == ["art", "toys"]
    first = (tmp_path / "prediction.csv").read_text().splitlines()[1]
    assert first == f"0.png,a,1,5.png,b,{np.cos(np.radians(5)):.6f}"


def test_an_image_that_is_query_and_index_never_finds_itself(tmp_path):
    gallery, table = made("------")
    list(write_answers(tmp_path / "prediction.csv", gallery, table))
    found = answers(tmp_path / "prediction.csv")
    assert all(len(rows) == 5 and query not in dict(rows) for query, rows in found.items())
    assert len(found) == 6


def test_a_test_without_a_search_that_can_succeed_leaves_nothing(tmp_path):
    gallery, table = made("iiiiii")
    with pytest.raises(NoseprintError, match="none of 0 queries has a true match"):
        list(write_answers(tmp_path / "prediction.csv", gallery, table))
    assert not list(tmp_path.iterdir())
