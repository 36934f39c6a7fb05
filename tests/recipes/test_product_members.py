"""The members of recipes/product_hierarchy, tiny: their rate, their cycles, and kills that change nothing."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
import timm
import torch

from noseprint.data.holdout import content_hashes, split_hashes
from noseprint.data.transforms import apply_transform
from noseprint.errors import NoseprintError
from noseprint.models.weights import load_classifier, read_header
from noseprint.training import fit as fitting
from noseprint.training.step import TrainingStep

from .conftest import ROOT

FAMILY = ROOT / "recipes" / "product_hierarchy"
NAMES = ("train", "find_rate", "draw_rates", "task", "model", "dataset")
TINY = {"backbone": "test_efficientnet.r160_in1k", "pretrained": False, "image_size": 32, "train_size": 32,
        "batch_size": 8, "device": "cpu", "workers": 0, "save_every": 1}  # fmt: skip


class Killed(BaseException):
    """In place of a signal that nothing can catch: what is not on the disk is lost."""


@contextmanager
def script(folder, name="train"):
    """The module of a script, as if it were started in its folder."""
    before, path = {name: sys.modules.pop(name, None) for name in NAMES}, list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path[:] = path
        for own, module in before.items():
            sys.modules.pop(own, None)
            if module is not None:
                sys.modules[own] = module


class Family:
    """A copy of the recipe folders, where results may be written, and what filter.py left of three classes."""

    def __init__(self, root):
        self.root, self.data = root / "product_hierarchy", root / "data"
        shutil.copytree(FAMILY, self.root, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
        rng = np.random.default_rng(0)
        rows = ["image,label,split,group"]
        for label, low in (("bright", 160), ("dark", 0), ("grey", 80)):
            (self.data / "train" / label).mkdir(parents=True)
            for number in range(16):
                name = f"train/{label}/{number}.jpg"
                cv2.imwrite(str(self.data / name), rng.integers(low, low + 90, (48, 60, 3), np.uint8))
                if number:  # the first of each class is left out
                    rows.append(f"{name},{label},{'val' if number > 12 else 'train'},{number // 2}")
        table = self.result("filter", "images.csv")
        table.parent.mkdir(parents=True)
        table.write_text("\n".join(rows) + "\n")

    def run(self, folder, name="train", **changes):
        with script(self.root / folder, name) as module:
            module.main(replace(module.SMALL, data=self.data, part="lite1", **{**TINY, **changes}))

    def result(self, folder, name):
        return self.root / folder / "results" / "small" / name

    def trained(self, **changes):
        self.run("members", **{"epochs": 6, "lr": 1e-2, **changes})
        return {
            name: self.result("members", f"lite1/{name}.safetensors").read_bytes()
            for name in ("best", *(f"snapshots/{number}" for number in (1, 2, 3)))
        }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A family whose member has been trained, and the bytes of its weights."""
    family = Family(tmp_path_factory.mktemp("products"))
    return family, family.trained()


@pytest.fixture
def family(tmp_path):
    return Family(tmp_path)


def test_a_member_keeps_the_weights_at_the_end_of_each_cycle(whole):
    family, weights = whole
    assert len(set(weights.values())) == 4
    header = read_header(family.result("members", "lite1/best.safetensors"))
    assert load_classifier(family.result("members", "lite1/snapshots/2.safetensors")).classes == header.heads
    seen = set(split_hashes(header.extra["trained_images"]))
    images = {number: content_hashes(sorted(family.data.glob(f"train/*/{number}.jpg"))) for number in range(16)}
    assert seen == {one for number in range(1, 13) for one in images[number]}
    records = [json.loads(line) for line in family.result("members", "lite1/metrics.jsonl").read_text().splitlines()]
    rates = [record["lr"] for record in records[1:]]
    assert rates[2] > rates[1] > rates[3] < rates[4]  # each cycle falls from the top


@pytest.mark.parametrize(
    ("patched", "name", "at"),
    [
        pytest.param(TrainingStep, "update", 10, id="in the second cycle"),
        pytest.param(fitting, "save_weights", 2, id="before the second snapshot"),
        pytest.param(fitting, "save_state", 12, id="after it, before the save"),
    ],
)
def test_a_member_that_is_killed_ends_with_the_same_bytes(whole, family, patched, name, at):
    real, calls = getattr(patched, name), []

    def call_or_die(*arguments, **options):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patched, name, call_or_die)
        with pytest.raises(Killed):
            family.trained()
    assert family.trained() == whole[1]


def test_the_rate_that_the_range_test_finds_is_used(family):
    family.run("members", "find_rate", epochs=6)
    found = json.loads(family.result("members", "lite1/lr_range.json").read_text())["lite1"]
    with script(family.root / "members", "draw_rates") as module:
        module.main(module.Options(members="lite1", run="small"))
    results = family.root / "results" / "small"
    assert json.loads((results / "lr_range.json").read_text()) == {"lite1": found}
    assert (results / "lr_range.csv").read_text().splitlines()[0] == "member,step,lr,loss,smoothed"
    assert (results / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    given = family.trained(lr=found["between"], epochs=3)
    lr_file = results / "lr_range.json"
    assert family.trained(lr_file=lr_file, epochs=3, restart=True) == given
    with pytest.raises(NoseprintError, match=r"no learning rate of lite1 .*/find_rate\.py --part lite1"):
        family.trained(lr_file=family.root / "train.sh")


def test_the_members_are_those_that_the_scripts_name():
    with script(FAMILY / "members", "model") as model:
        backbones = model.BACKBONES
    lines = (FAMILY / "options.sh").read_text().splitlines()
    named = [line.partition("=")[2] for line in lines if line.startswith(("FULL_MEMBERS=", "SMALL_MEMBERS="))]
    assert ",".join(named).split(",") == list(backbones)
    assert set(backbones.values()) <= set(timm.list_models(include_tags=True, pretrained=True))
    with script(FAMILY / "members") as train, pytest.raises(NoseprintError, match=r"--part vgg: model\.py has no such"):
        train.main(replace(train.FULL, part="vgg"))


def test_the_full_training_is_that_of_the_write_up():
    with script(FAMILY / "members") as train:
        full = train.FULL
    assert (full.image_size, full.optimizer, full.schedule) == (224, "sgd", "restarts")
    assert full.epochs < 20
    assert full.cycles == full.snapshots > 1


@pytest.mark.parametrize("size", [32, 224])
def test_every_transform_ends_at_the_input_size(size):
    image = np.random.default_rng(0).integers(0, 256, (210, 190, 3), np.uint8)
    with script(FAMILY / "members", "dataset") as dataset:
        for make in (dataset.training_transform, dataset.small_training_transform, dataset.evaluation_transform):
            for row in range(8):
                assert apply_transform(make(size), image, (row,)).shape == (size, size, 3)


@pytest.mark.parametrize("part", ["resnet50", "resnet101", "resnet152", "densenet161", "seresnext50"])
def test_a_full_size_network_takes_a_step(part):
    with script(FAMILY / "members", "model") as model:
        network = model.build_model(["a", "b", "c"], model.BACKBONES[part], image_size=64, pretrained=False)
    weights = dict(network.named_parameters())
    first, last = (weights[name] for name in (next(iter(weights)), "heads.0.weight"))
    before = first.clone(), last.clone()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    loss = torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1]))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in weights.values())
    assert not torch.equal(first, before[0])
    assert not torch.equal(last, before[1])
