"""Which networks of a training are mixed."""

from pathlib import Path

import pytest
import torch

from noseprint.data.instances import distractors
from noseprint.errors import DataError, NoseprintError
from noseprint.inference import phase_soups
from noseprint.inference.phase_soups import best_soup
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import load_projection, save_weights

from ..tasks.tiny_instances import draw_images, network, read

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soups") / "images"
    draw_images(folder, identities=6, each=2)
    return read(folder)


def save(folder: Path, name: str, *, backbone: float, head: float = 0.0, image_size: int = 32) -> Path:
    """A network whose first backbone weight is changed by `backbone` and whose projection by `head`."""
    net = network(image_size=image_size)
    with torch.no_grad():
        first(net).add_(backbone)
        net.projection.bias.add_(head)
    path = folder / name / "best.safetensors"
    save_weights(path, net, extra={})
    return path


def first(net: ProjectionNet) -> torch.Tensor:
    return next(net.backbone.parameters())


def finish(folder: Path, *names: str) -> None:
    (folder / "phases.csv").write_text("phase,mAP\n" + "".join(f"{name},\n" for name in ("start", *names)))


def prefer(monkeypatch, wanted: float) -> None:
    """Score networks by how near their first weight is to `wanted` above that of the start."""
    base = first(network()).flatten()[0].item()

    def embed(net, paths, **more):
        rows = torch.zeros(len(paths), 2)
        error = abs(first(net).flatten()[0].item() - base - wanted)
        rows[:, 0] = torch.cos(torch.tensor(error))
        return rows.numpy()

    class Found:
        def __init__(self, rows):
            self.average_precision, self.domains = rows[:, 0].astype(float), ["all"] * len(rows)

    monkeypatch.setattr(phase_soups, "embed_images", embed)
    monkeypatch.setattr(phase_soups, "score_instances", lambda rows, **more: Found(rows))
    monkeypatch.setattr(phase_soups, "domain_mean", lambda values, domains: float(values.mean()))


def test_networks_with_one_head_are_mixed_if_that_helps(tmp_path, table, monkeypatch):
    start, one = save(tmp_path, "start", backbone=0.0), save(tmp_path, "1-backbone", backbone=0.4)
    save(tmp_path, "2-head", backbone=0.4, head=0.1)  # with another head
    finish(tmp_path, "backbone", "head")
    prefer(monkeypatch, 0.2)
    net, files = best_soup(tmp_path, table, device=CPU)
    assert sorted(files) == sorted((start, one))
    torch.testing.assert_close(first(net), (first(load_projection(start)) + first(load_projection(one))) / 2)
    prefer(monkeypatch, 0.4)
    assert best_soup(tmp_path, table, device=CPU) is None


def test_folders_that_an_earlier_training_left_are_not_mixed(tmp_path, table, monkeypatch):
    save(tmp_path, "start", backbone=0.0)
    save(tmp_path, "1-backbone", backbone=0.4)
    save(tmp_path, "2-old", backbone=0.2)
    finish(tmp_path, "backbone")
    prefer(monkeypatch, 0.2)
    _, files = best_soup(tmp_path, table, device=CPU)
    assert [path.parent.name for path in files] == ["start", "1-backbone"]


def test_equal_networks_and_those_of_another_size_are_no_soup(tmp_path, table, monkeypatch):
    save(tmp_path, "start", backbone=0.0)
    save(tmp_path, "1-classifier", backbone=0.0)
    save(tmp_path, "2-large", backbone=0.1, image_size=40)
    finish(tmp_path, "classifier", "large")
    prefer(monkeypatch, 0.2)
    assert best_soup(tmp_path, table, device=CPU) is None


def test_the_largest_group_with_one_head_is_tried(tmp_path, table, monkeypatch):
    save(tmp_path, "start", backbone=0.0)
    save(tmp_path, "1-backbone", backbone=0.1)
    for number, name in enumerate(("head", "backbone-2", "backbone-3"), 2):
        save(tmp_path, f"{number}-{name}", backbone=0.1 * number, head=0.5)
    finish(tmp_path, "backbone", "head", "backbone-2", "backbone-3")
    prefer(monkeypatch, 0.35)
    _, files = best_soup(tmp_path, table, device=CPU)
    assert {path.parent.name for path in files} == {"3-backbone-2", "4-backbone-3"}


def test_the_score_is_that_of_the_hold_out_among_training_images(tmp_path, table, monkeypatch):
    save(tmp_path, "start", backbone=0.0)
    save(tmp_path, "1-backbone", backbone=0.1)
    finish(tmp_path, "backbone")
    seen, right = [], phase_soups.embed_images

    def embed(net, paths, **more):
        seen.append(tuple(paths))
        return right(net, paths, **more)

    monkeypatch.setattr(phase_soups, "embed_images", embed)
    best_soup(tmp_path, table, device=CPU)
    searched = {*table.part("val").paths, *distractors(table.part("train")).paths}
    assert len(searched) > len(table.part("val"))
    assert all(set(paths) == searched for paths in seen)


def test_a_training_that_was_not_finished_is_refused(tmp_path, table):
    save(tmp_path, "start", backbone=0.0)
    with pytest.raises(NoseprintError, match=r"phases\.csv is missing: run the training in .* again"):
        best_soup(tmp_path, table, device=CPU)
    finish(tmp_path, "backbone")
    with pytest.raises(NoseprintError, match=r"1-backbone/best\.safetensors: no such weights file"):
        best_soup(tmp_path, table, device=CPU)
    (tmp_path / "phases.csv").write_text("nonsense\n")
    with pytest.raises(DataError):
        best_soup(tmp_path, table, device=CPU)
