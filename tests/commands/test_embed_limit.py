"""Embeddings of a given size in the commands that people use: embed, search, weights and evaluate."""

import csv

import pytest
import torch

from noseprint.commands.embed import Embed
from noseprint.commands.search import Search
from noseprint.commands.weights import Weights
from noseprint.errors import NoseprintError
from noseprint.inference import evaluation
from noseprint.inference import gallery as gallery_module
from noseprint.inference.gallery import read_gallery
from noseprint.models.projection_net import BackbonePlan, ProjectionNet
from noseprint.models.weights import save_weights


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = ProjectionNet("test_efficientnet.r160_in1k", dim=64, image_size=32, pretrained=False)
    save_weights(tmp_path / "best.safetensors", network, extra={})
    return tmp_path / "best.safetensors"


def test_its_weights_are_described(tmp_path, capsys):
    backbone = BackbonePlan("test_vit.r160_in1k", "token", stride=10)
    network = ProjectionNet("test_efficientnet.r160_in1k", dim=7, image_size=32, others=(backbone,), pretrained=False)
    save_weights(tmp_path / "best.safetensors", network, extra={})
    Weights(tmp_path / "best.safetensors")()
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (lines["kind"], lines["dim"], lines["pooling"], lines["stride"]) == ("projection", "7", "own", "-")
    assert lines["others"].startswith("backbone test_vit.r160_in1k, pooling token, mean (0.5, ")


def test_a_gallery_of_64_dimensions_is_searched(demo, weights, tmp_path, capsys):
    gallery, out, photos = tmp_path / "g.safetensors", tmp_path / "found.csv", demo / "test" / "images"
    Embed(photos, (weights,), gallery, dim=64, device="cpu")()
    assert "64 dimensions" in capsys.readouterr().out
    assert read_gallery(gallery).matrix.shape[1] == 64
    Search(query=photos, gallery=gallery, out=out, device="cpu", top=1)()
    with out.open(newline="") as file:
        assert all(row["image"] == row["query"] for row in csv.DictReader(file))


def test_more_dimensions_are_refused_before_anything_is_embedded(demo, weights, tmp_path, write_weights, monkeypatch):
    monkeypatch.setattr(gallery_module, "embed_gallery", None)
    gallery, photos = tmp_path / "g.safetensors", demo / "test" / "images"
    other = write_weights(tmp_path / "other.safetensors")
    for given, count in (((weights, other), 576), ((other,), 512)):
        with pytest.raises(NoseprintError, match=f"have {count} dimensions, more than the limit of 64"):
            Embed(photos, given, gallery, dim=64, device="cpu")()
    with pytest.raises(NoseprintError, match="have 64 dimensions, more than the limit of 63"):
        Embed(photos, (weights,), gallery, dim=63, device="cpu")()
    assert not gallery.exists()


def test_it_is_evaluated_beside_its_untrained_features(demo, weights, monkeypatch):
    def without_weights(*args, **options):
        torch.manual_seed(1)
        return ProjectionNet(*args, pretrained=False, **options)

    monkeypatch.setattr(evaluation, "ProjectionNet", without_weights)
    result = evaluation.evaluate_members({"small": weights}, demo, device=torch.device("cpu"), frozen=True)
    assert {"small", "small untrained"} <= set(result.scores)
    assert result.embeddings["small"].shape[1] == 64
