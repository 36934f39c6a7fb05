"""recipes/web_finegrained/folds: networks that judge labels they have not seen."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.cleaning.find import find_suspects, read_images
from noseprint.cleaning.options import CleaningOptions
from noseprint.cleaning.trained_folds import read_trained_folds
from noseprint.data.transforms import apply_transform
from noseprint.inference import classify
from noseprint.inference.classify import ClassifierOutputs, read_outputs, write_outputs
from noseprint.inference.out_of_fold import FILE
from noseprint.models.weights import read_header
from noseprint.training.step import TrainingStep

from .conftest import ROOT

FOLDER = ROOT / "recipes" / "web_finegrained" / "folds"
FOLDS = 3


class Killed(BaseException):
    """In place of a signal that nothing can catch: what is not on the disk is lost."""


class Recipe:
    """A copy of the folder, where results may be written, and data of three classes of different brightness."""

    def __init__(self, root):
        self.root = root
        self.folder = root / "folds"
        shutil.copytree(FOLDER, self.folder, ignore=shutil.ignore_patterns("results", "__pycache__"))
        rng = np.random.default_rng(0)
        for name, low in (("bright", 160), ("dark", 0), ("grey", 80)):
            (root / "data/train" / name).mkdir(parents=True)
            for number in range(12):
                low_or_wrong = 0 if (name, number) == ("bright", 3) else low
                pixels = rng.integers(low_or_wrong, low_or_wrong + 90, (40, 48, 3), np.uint8)
                cv2.imwrite(str(root / "data/train" / name / f"{number}.png"), pixels)
        names = tuple(sorted(path.relative_to(root / "data").as_posix() for path in root.glob("data/*/*/*.png")))
        features = np.repeat(np.eye(3, 8), 12, axis=0) + rng.normal(scale=0.1, size=(len(names), 8))
        features = features.astype(np.float32)
        self.features = root / "features/results/small/features.safetensors"
        self.features.parent.mkdir(parents=True)
        write_outputs(self.features, ClassifierOutputs(names, features[:, :3], features, ("a", "b", "c"), "0" * 16))
        self.train = importlib.import_module("train")
        self.options = replace(
            self.train.SMALL, data=root / "data", backbone="test_efficientnet.r160_in1k", pretrained=False,
            image_size=32, epochs=4, batch_size=8, lr=1e-2, folds=FOLDS, device="cpu", workers=0, save_every=1,
            holdout=0.2,
        )  # fmt: skip

    def part(self, fold, round=1):
        return replace(self.options, part=f"round{round}-fold{fold}")

    def fold(self, fold, round=1):
        options = self.part(fold, round)
        self.train.main(options)
        return options.results(self.folder) / FILE

    def judge(self, rounds=1):
        """The log of decisions, without the times."""
        images, outputs = read_images(self.options, self.features)
        results = self.folder / "results/small"
        trained = read_trained_folds(images, results=results, folds=FOLDS, rounds=rounds)
        log = self.root / "decisions.jsonl"
        log.unlink(missing_ok=True)
        options = CleaningOptions(data=self.options.data, folds=FOLDS, rule="top-k", remove="always")
        find_suspects(images, outputs, options=options, results=self.root, own=self.root, trained=trained)
        return [json.loads(line)["id"] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = str(tmp_path / "folds")
    sys.path.insert(0, folder)
    names = ("train", "model", "dataset")
    before = {name: sys.modules.pop(name, None) for name in names}
    yield Recipe(tmp_path)
    for name in names:
        sys.modules.pop(name, None)
        if before[name] is not None:
            sys.modules[name] = before[name]


@contextmanager
def killed_at(step):
    """The training dies before a step, or (None) before the outputs of the fold are written."""
    update = TrainingStep.update

    def die(*_, **__):
        raise Killed

    def update_or_die(own, number, batch):
        return die() if number == step else update(own, number, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "update", update_or_die)
        if step is None:
            patch.setattr(classify, "write_arrays", die)
        with pytest.raises(Killed):
            yield


def test_killed_at_any_step_of_any_fold_the_logits_and_the_log_are_the_same(recipe):
    files = [recipe.fold(fold) for fold in range(FOLDS)]
    undisturbed, log = [file.read_bytes() for file in files], recipe.judge()
    assert log
    shutil.rmtree(recipe.folder / "results")
    rng = np.random.default_rng(0)
    kills = [(int(rng.integers(FOLDS)), step) for step in (int(rng.integers(1, 8)), None)]
    for fold in range(FOLDS):
        for step in [step for at, step in kills if at == fold]:
            with killed_at(step):
                recipe.fold(fold)
        recipe.fold(fold)
    assert [file.read_bytes() for file in files] == undisturbed, kills
    assert recipe.judge() == log


def test_a_fold_leaves_the_outputs_of_the_images_that_it_has_not_seen(recipe):
    file = recipe.fold(1)
    outputs = read_outputs(file)
    assert (outputs.classes, len(outputs.table)) == (("bright", "dark", "grey"), 16)
    assert len(outputs.names) == 12
    header = read_header(file.parent / "best.safetensors")
    assert header.extra["recipe"] == "folds"
    assert sum(json.loads(header.extra["training_counts"])) < 24  # a part of the other folds is held out
    right = [outputs.classes[row.argmax()] in name for name, row in zip(outputs.names, outputs.logits, strict=True)]
    assert np.mean(right) > 0.6


@pytest.mark.parametrize("size", [32, 380])
def test_every_transform_ends_at_the_input_size(recipe, size):
    dataset = importlib.import_module("dataset")
    image = np.random.default_rng(0).integers(0, 256, (210, 190, 3), np.uint8)
    for transform in (dataset.training_transform(size), dataset.evaluation_transform(size)):
        for row in range(8):
            assert apply_transform(transform, image, (row,)).shape == (size, size, 3)


def test_the_full_network_is_that_of_the_method(recipe):
    assert (recipe.train.FULL.backbone, recipe.train.FULL.image_size) == ("tf_efficientnet_b4.ns_jft_in1k", 380)
    assert len(Path(recipe.train.__file__).read_text().splitlines()) <= 66
