"""The scripts of recipes/web_finegrained that clean labels, each as clean.sh calls it, with a tiny network."""

import csv
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.cleaning.decisions import read_log

from .conftest import ROOT

STEPS = (
    "features/infer.py", "features/examples.py", "not_members/find.py", "suspects/find.py", "classes/list.py",
    "review/make.py",
)  # fmt: skip


class Family:
    """A copy of the recipe, and a data folder of two classes that can be told apart by their colour."""

    def __init__(self, root, monkeypatch, capsys):
        self.root, self.data, self.patch, self.capsys = root / "family", root / "data", monkeypatch, capsys
        for step in STEPS:
            shutil.copytree(
                ROOT / "recipes/web_finegrained" / step.split("/")[0], self.root / step.split("/")[0],
                ignore=shutil.ignore_patterns("results", "__pycache__"), dirs_exist_ok=True,
            )  # fmt: skip
        model = self.root / "features/model.py"
        tiny = model.read_text().replace('"tf_efficientnet_lite0.in1k", 224', '"test_efficientnet.r160_in1k", 32')
        model.write_text(tiny.replace("image_size=size", "image_size=size, pretrained=False"))
        random = np.random.default_rng(0)
        for row in range(24):
            label = ("red", "blue")[row % 2]
            shown = label if row > 1 else ("blue", "red")[row % 2]  # the first of each class has a wrong label
            self.draw(f"train/{label}/{row}.png", shown, random)
        for row in range(4):
            self.draw(f"test/red/{row}.png", "red", random)

    def draw(self, name, colour, random):
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = random.integers(0, 60, (40, 40, 3), np.uint8)
        image[:, :, {"blue": 0, "green": 1, "red": 2}[colour]] += 150
        cv2.imwrite(str(path), image)

    def run(self, script, *options, status=0):
        """Run a script in this process; return what it printed."""
        path = self.root / script
        with self.patch.context() as patch:
            patch.setattr(sys, "argv", [str(path), "--data", str(self.data), "--small", "--folds", "3", *options])
            patch.setattr(sys, "path", [str(path.parent), *sys.path])
            for name in ("dataset", "model"):
                patch.delitem(sys.modules, name, raising=False)
            code = 0
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as exit_:
                code = exit_.code
            for name in ("dataset", "model"):
                sys.modules.pop(name, None)
        out, error = self.capsys.readouterr()
        assert code == status, out + error
        return out if status == 0 else error

    def all(self, *options):
        return "".join(self.run(step, *options) for step in STEPS)

    def table(self, name):
        with (self.root / "results/small" / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def family(tmp_path, monkeypatch, capsys):
    return Family(tmp_path, monkeypatch, capsys)


def test_all_steps_from_photographs_to_the_page(family):
    said = family.all("--remove", "always")
    assert "so none was looked for" in said
    assert said.startswith("Checking 24 training images ...\nComputing the features of 24 images ...\n")
    suspects = family.table("suspects.csv")
    assert len(suspects) == 24
    assert {row["image"] for row in suspects[:2]} == {"train/red/0.png", "train/blue/1.png"}
    assert {row["image"] for row in family.table("dropped.csv")} == {row["image"] for row in suspects[:2]}
    assert len(family.table("labels.csv")) == 22
    assert [row["class"] for row in family.table("classes.csv")] == ["blue", "red"]
    page = (family.root / "results/small/review.html").read_text()
    assert "2 suspects, the most suspicious first" in page
    assert '<option value="blue">' in page
    assert {line.rule for line in read_log(family.root / "results/small/decisions.jsonl")} == {"noise-channel"}


def test_a_folder_of_pictures_that_are_no_members(family, tmp_path):
    random = np.random.default_rng(1)
    for row in range(4):
        family.draw(f"train/red/green{row}.png", "green", random)
        family.draw(f"../no/{row}.png", "green", random)
    family.all("--not-members", str(tmp_path / "no"))
    lines = read_log(family.root / "results/small/decisions.jsonl")
    gone = {line.image for line in lines if line.decision == "not a member"}
    assert gone == {f"train/red/green{row}.png" for row in range(4)}


def test_an_image_that_cannot_be_read_is_one_message_or_left_out(family):
    (family.data / "train/red/0.png").write_bytes(b"no image")
    error = family.run("features/infer.py", status=1)
    assert "1 of 24 photographs cannot be used. Go on without them with --skip-bad" in error
    assert error.count("\n") == 2
    family.all("--skip-bad")
    assert len(family.table("suspects.csv")) == 23
    skipped = family.root / "features/results/small/skipped.csv"
    assert "0.png" in skipped.read_text()


def test_one_picture_with_two_labels_is_named_before_anything_is_computed(family):
    shutil.copy(family.data / "train/red/2.png", family.data / "train/blue/copy.png")
    error = family.run("features/infer.py", status=1)
    assert "2 of 25 photographs cannot be used" in error
    assert "one picture with several labels, train/blue/copy.png (blue) and train/red/2.png (red)" in error
    family.all("--skip-bad")
    assert len(family.table("suspects.csv")) == 23


def test_odd_names_and_linked_images_are_judged_shown_and_left_out(family, tmp_path):
    odd = ("a b.png", "it's.png", '"quoted", with a comma.png', "\u00e9t\u00e9 \u4e2d.png", "linked.png", "100%#1.png")
    for row, name in enumerate(odd, 2):
        image = family.data / "train" / ("red", "blue")[row % 2] / f"{row}.png"
        target = tmp_path / f"elsewhere {row}.png"
        if name == "linked.png":
            image.rename(target)
            image.with_name(name).symlink_to(target)
        else:
            image.rename(image.with_name(name))
    family.data.rename(tmp_path / "d\u00e4ta '1' {x}")
    family.data = tmp_path / "d\u00e4ta '1' {x}"
    wrong = family.data / "train/red/0.png"
    wrong.rename(wrong.with_name('it\'s "wrong", \u00e9.png'))
    family.all("--remove", "always")
    assert {Path(row["image"]).name for row in family.table("suspects.csv")} > set(odd)
    dropped = {row["image"] for row in family.table("dropped.csv")}
    assert dropped == {'train/red/it\'s "wrong", \u00e9.png', "train/blue/1.png"}


def test_a_relative_data_folder_is_the_same_folder(family, monkeypatch):
    family.run("features/infer.py")
    monkeypatch.chdir(family.data.parent)
    family.data = Path(family.data.name)
    family.run("suspects/find.py")
    assert len(family.table("suspects.csv")) == 24


def test_a_folder_without_examples_is_one_message(family, tmp_path):
    (tmp_path / "no").mkdir()
    family.run("features/infer.py")
    error = family.run("features/examples.py", "--not-members", str(tmp_path / "no"), status=1)
    assert f"{tmp_path}/no: has no photographs" in error
    assert error.count("\n") == 1


def test_wrong_data_is_one_message(family, tmp_path):
    (family.data / "train/green").mkdir()
    assert "green: the class's folder holds no photograph" in family.run("features/infer.py", status=1)
    (family.data / "train/green").rmdir()
    (family.data / "test/green").mkdir()
    shutil.copy(family.data / "test/red/0.png", family.data / "test/green/1.png")
    assert "class 'green' has no training image and 1 in test" in family.run("features/infer.py", status=1)
    shutil.rmtree(family.data / "test/green")
    table = tmp_path / "own.csv"
    table.write_text("picture,kind\ntrain/red/0.png,red\n")
    error = family.run("features/infer.py", "--table", str(table), status=1)
    assert "own.csv, line 1: which column is the label? Name one with --label-column" in error
    table.write_text("picture,kind\ntrain/red/0.png,red\ntrain/none.png,blue\n")
    error = family.run("features/infer.py", "--table", str(table), "--label-column", "kind", status=1)
    assert "own.csv, line 3: there is no image" in error
    assert family.run("features/infer.py", "--data", str(tmp_path / "none"), status=1).count("\n") == 1


def test_the_folders_hold_only_their_scripts():
    for folder in {Path(step).parts[0] for step in STEPS}:
        held = {path.name for path in (ROOT / "recipes/web_finegrained" / folder).glob("*.py")}
        expected = {Path(step).name for step in STEPS if step.startswith(f"{folder}/")}
        assert held == expected | ({"dataset.py", "model.py"} if folder == "features" else set())
