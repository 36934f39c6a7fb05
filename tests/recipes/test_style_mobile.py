"""recipes/style_mobile from photographs to the finished network, tiny: who sees what, and kills that change nothing."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from noseprint.data.holdout import content_hashes, split_hashes
from noseprint.data.prepared import read_prepared
from noseprint.data.transforms import apply_transform
from noseprint.errors import NoseprintError
from noseprint.inference.classify import read_outputs
from noseprint.models.weights import load_classifier, read_header
from noseprint.tasks import finishing
from noseprint.training.best import BestWeights
from noseprint.training.step import TrainingStep
from noseprint.training.task import Scores

from .conftest import ROOT

FAMILY = ROOT / "recipes" / "style_mobile"
NAMES = ("train", "prepare", "model", "dataset")
TINY = {"backbone": "test_efficientnet.r160_in1k", "pretrained": False, "image_size": 32, "train_size": 32}
SHORT = {"batch_size": 8, "lr": 1e-2, "minutes": None, "device": "cpu", "workers": 0, "save_every": 1}


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
    """A copy of the recipe folders, where results may be written, and data of three classes by 12 senders."""

    def __init__(self, root):
        self.root, self.data = root / "style_mobile", root / "data"
        shutil.copytree(FAMILY, self.root, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
        rng = np.random.default_rng(0)
        rows = ["image,label,sender"]
        for label, low in (("bright", 160), ("dark", 0), ("grey", 80)):
            (self.data / "train" / label).mkdir(parents=True)
            for number in range(24):
                name = f"train/{label}/{number}.jpg"
                cv2.imwrite(str(self.data / name), rng.integers(low, low + 90, (48, 60, 3), np.uint8))
                rows.append(f"{name},{label},{number // 2}")
        (self.data / "images.csv").write_text("\n".join(rows) + "\n")

    def run(self, folder, **changes):
        with script(self.root / folder, "prepare" if folder == "prepare" else "train") as module:
            module.main(replace(module.SMALL, data=self.data, **changes))

    def prepare(self):
        self.run("prepare", image_size=32, group_column="sender")

    def teachers(self):
        for fold in range(5):
            self.run("teacher", part=f"fold{fold}", epochs=1, **TINY, **SHORT)

    def student(self, folder="student", **changes):
        own = {"epochs": 3, "hidden": 16, "mixing": "gridmask", "pooling": "avg"}
        if folder == "student":
            own["targets"] = "probabilities"
        self.run(folder, **{**own, **TINY, **SHORT, **changes})

    def finish(self, **changes):
        names = {name: value for name, value in SHORT.items() if name != "lr"}
        self.run("finish", **{"students": "student,student_kd", **names, **changes})

    def result(self, folder, name="best.safetensors"):
        return self.root / folder / "results" / "small" / name

    def prepared(self):
        return read_prepared(self.result("prepare", ""))


@contextmanager
def killed(patched, name, *, at):
    """Die at the call number `at` of a function."""
    real, calls = getattr(patched, name), []

    def call_or_die(*arguments, **options):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patched, name, call_or_die)
        with pytest.raises(Killed):
            yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole run, with both students."""
    family = Family(tmp_path_factory.mktemp("style"))
    family.prepare()
    family.teachers()
    family.student()
    family.student("student_kd")
    family.finish()
    return family


@pytest.fixture
def family(trained, tmp_path):
    """A copy of the whole run that a test may change."""
    copy = object.__new__(Family)
    copy.root, copy.data = tmp_path / "style_mobile", trained.data
    shutil.copytree(trained.root, copy.root)
    return copy


def learned(weights):
    return set(split_hashes(read_header(weights).extra["trained_images"]))


def test_no_teacher_ever_sees_the_hold_out_or_its_own_fold(trained):
    prepared = trained.prepared()
    held_out = set(content_hashes(prepared.split("val").paths))
    everything = set(content_hashes(prepared.split("train").paths))
    assert len(held_out | everything) == 72
    for fold in range(5):
        own = set(content_hashes(prepared.fold(fold)[1].paths))
        seen = learned(trained.result("teacher", f"fold{fold}/best.safetensors"))
        assert seen == everything - own
        assert not seen & held_out
        outputs = read_outputs(trained.result("teacher", f"fold{fold}/out_of_fold.safetensors"))
        assert outputs.names == prepared.fold(fold)[1].names
    for folder in ("student", "student_kd"):
        assert learned(trained.result(folder)) == everything


def test_the_finished_network_learned_from_all_and_the_proven_one_did_not(trained):
    proof = json.loads(trained.result("finish", "proof.json").read_text())
    assert proof["accepted"]
    assert len(proof["accuracy"]["snapshots"]) == 4
    prepared = trained.prepared()
    everything = set(content_hashes(prepared.labelled().paths))
    held_out = set(content_hashes(prepared.split("val").paths))
    assert learned(trained.result("finish")) == everything
    assert learned(trained.result("finish", "proof/best.safetensors")) == everything - held_out
    scores = read_header(trained.result("finish", "proof/best.safetensors")).holdout_scores
    assert scores["accuracy"] == proof["accuracy"]["mean"]
    assert read_header(trained.result("finish")).holdout_scores is None


def test_the_finished_network_is_the_mean_of_its_snapshots(trained):
    state = load_classifier(trained.result("finish")).state_dict()
    folder = trained.result("finish", "all_images/snapshots")
    each = [load_classifier(folder / f"{number}.safetensors").state_dict() for number in range(1, 5)]
    assert any(not torch.equal(each[0][key], each[3][key]) for key in state)
    for key, value in state.items():
        torch.testing.assert_close(value, sum(one[key].double() for one in each).div(4).to(value.dtype))


def test_the_neck_begins_with_the_statistics_of_the_training_images(trained):
    network = load_classifier(trained.result("student"))
    assert not network.neck.needs_statistics
    start = load_classifier(trained.result("student", "last/highest.safetensors"))
    assert torch.equal(start.neck.norm.running_mean, network.neck.norm.running_mean)  # frozen
    assert network.neck.norm.running_mean.abs().min() > 0


def test_a_teacher_that_saw_a_copy_of_an_image_of_its_fold_is_refused(family):
    prepared = family.prepared()
    train, own = prepared.fold(3)
    shutil.copy(train.paths[0], own.paths[0])
    with pytest.raises(NoseprintError, match="learned from 1 of the"):
        family.student(restart=True)
    family.student(targets="labels", restart=True)  # asks no teacher


def test_a_teacher_that_saw_the_hold_out_is_refused(family):
    prepared = family.prepared()
    shutil.copy(prepared.fold(0)[0].paths[0], prepared.split("val").paths[2])
    with pytest.raises(NoseprintError, match="learned from 1 of the"):
        family.student("student_kd", restart=True)
    with pytest.raises(NoseprintError, match="learned from 1 of the"):
        family.finish(restart=True)


def test_a_fold_that_was_not_trained_is_named(family):
    family.result("teacher", "fold2/out_of_fold.safetensors").unlink()
    with pytest.raises(NoseprintError, match=r"fold2: not trained to the end\. Run teacher/train.py for each --part"):
        family.student(restart=True)


def test_a_student_beside_its_teacher_is_killed_and_ends_with_the_same_bytes(family):
    whole = family.result("student_kd").read_bytes()
    shutil.rmtree(family.result("student_kd", ""))
    with killed(TrainingStep, "update", at=9):
        family.student("student_kd")
    family.student("student_kd")
    assert family.result("student_kd").read_bytes() == whole


@pytest.mark.parametrize(
    ("patched", "name", "at"),
    [(TrainingStep, "update", 11), (TrainingStep, "update", 22), (finishing, "save_weights", 2)],
)
def test_the_last_epochs_are_killed_and_end_with_the_same_bytes(family, patched, name, at):
    names = ("best.safetensors", "proof/best.safetensors", "proof.json")
    whole = [family.result("finish", name).read_bytes() for name in names]
    shutil.rmtree(family.result("finish", ""))
    with killed(patched, name, at=at):
        family.finish()
    family.finish()
    assert [family.result("finish", name).read_bytes() for name in names] == whole


def test_a_mean_that_is_worse_beyond_chance_is_refused_and_the_student_stays(family):
    family.finish(restart=True, lr=0.05, students="student")
    proof = json.loads(family.result("finish", "proof.json").read_text())
    assert not proof["accepted"]
    assert "the mean is worse, so student stays as it is" in proof["why"]
    for name in ("best.safetensors", "proof/best.safetensors"):
        assert family.result("finish", name).read_bytes() == family.result("student").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "groups", "worse"),
    [
        (0, 20, False),
        (2, 20, False),  # two of 200 images, of two groups: chance
        (40, 20, True),
        (2, 4, True),  # too few groups for an interval
    ],
)
def test_a_mean_is_refused_only_if_it_is_worse_beyond_chance(wrong, groups, worse):
    def scores(right):
        return Scores({}, "accuracy", "", right, (np.arange(200) % groups).astype(str))

    right = np.ones(200)
    right[:wrong] = 0
    assert finishing.worse_beyond_chance(scores(right), scores(np.ones(200))) == worse


def test_the_last_epochs_do_not_advise_to_train_longer(family, capsys, monkeypatch):
    monkeypatch.setattr(BestWeights, "summary", lambda *_, advise=True, **__: [f"summary, advise: {advise}"])
    family.finish(restart=True, students="student")
    assert capsys.readouterr().out.count("summary, advise: False") in (1, 2)  # with all images, if the mean is accepted


def test_fewer_steps_than_snapshots_leave_fewer_snapshots(family):
    family.finish(restart=True, students="student", batch_size=64)  # a step for each of the 2 epochs
    proof = json.loads(family.result("finish", "proof.json").read_text())
    assert len(proof["accuracy"]["snapshots"]) == 2


def test_the_better_student_is_taken(tmp_path, trained):
    students = {name: trained.result(name) for name in ("student", "student_kd")}
    scores = {name: read_header(path).holdout_scores["accuracy"] for name, path in students.items()}
    name, line = finishing.best_student(students)
    assert scores[name] == max(scores.values())
    assert line.startswith(f"{name}: accuracy {scores[name]:.4f} on the hold-out, +")


def test_the_full_networks_are_those_of_the_method():
    student = ("mobilenetv3_small_100.lamb_in1k", 224)
    of = {"teacher": ("efficientnet_b1.ft_in1k", 240), "student": student, "student_kd": student}
    for folder, (backbone, size) in of.items():
        with script(FAMILY / folder) as module:
            full = module.FULL
        assert (full.backbone, full.image_size) == (backbone, size)
        assert (full.epochs, full.optimizer, full.lr, full.mixing) == (20, "radam", 1e-3, "cutmix")
        if folder != "teacher":
            assert (full.hidden, full.batch_size, full.soft_share) == (1280, 256, 0.2)
            assert full.targets == {"student": "argmax", "student_kd": "labels"}[folder]


@pytest.mark.parametrize("folder", ["teacher", "student"])
@pytest.mark.parametrize("size", [32, 224])
def test_every_transform_ends_at_the_input_size(folder, size):
    image = np.random.default_rng(0).integers(0, 256, (210, 190, 3), np.uint8)
    with script(FAMILY / folder, "dataset") as dataset:
        for make in (dataset.training_transform, dataset.small_training_transform, dataset.evaluation_transform):
            for row in range(8):
                assert apply_transform(make(size), image, (row,)).shape == (size, size, 3)


def test_siblings_differ_in_their_decisions_only():
    def code(path):
        return (FAMILY / path).read_text().split('"""', 2)[2]

    for folder in ("student", "student_kd", "finish"):
        assert code(f"{folder}/dataset.py") == code("teacher/dataset.py")
    assert code("student_kd/model.py") == code("student/model.py")
