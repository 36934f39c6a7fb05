"""distil, fusion and predict of recipes/web_finegrained, after two tiny members."""

import csv
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.inference import cached_outputs as module
from noseprint.inference.classify import read_outputs
from noseprint.models.weights_header import read_header

FAMILY = Path(__file__).parents[2] / "recipes" / "web_finegrained"
TINY = ["--backbone", "test_efficientnet.r160_in1k", "--no-pretrained", "--image-size", "32", "--train-size", "32"]
SHORT = ["--batch-size", "8", "--device", "cpu", "--workers", "0", "--run", "tiny"]
TOGETHER = ["--members", "b4,b5"]


def run(script: Path, data: Path, *options: str) -> None:
    """Run a script as a user does, but in this process: loading torch takes seconds."""
    before = sys.argv, list(sys.path)
    for name in ("dataset", "model"):
        sys.modules.pop(name, None)
    sys.argv, sys.path[0] = [str(script), "--data", str(data), *options], str(script.parent)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


def infer(family: Path, folder: str, data: Path, *options: str) -> Path:
    run(family / folder / "infer.py", data, "--device", "cpu", "--engine", "torch", "--run", "tiny", *options)
    return family / folder / "results" / "tiny"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three classes that differ in brightness."""
    data, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 4), ("test", 4)):
        for label, low in (("bright", 160), ("dark", 0), ("grey", 90)):
            (data / split / label).mkdir(parents=True)
            for k in range(number):
                cv2.imwrite(str(data / split / label / f"{k}.jpg"), rng.integers(low, low + 90, (40, 52, 3), np.uint8))
    (data / "unlabelled").mkdir()
    for k in range(3):
        cv2.imwrite(str(data / f"unlabelled/{k}.jpg"), np.full((40, 40, 3), 40 + 70 * k, np.uint8))
    return data


@pytest.fixture(scope="module")
def family(tmp_path_factory, data) -> Path:
    """The folders, with two members that have been trained and have answered."""
    family = tmp_path_factory.mktemp("family")
    for folder in ("b4", "b5", "distil", "fusion", "predict"):
        shutil.copytree(FAMILY / folder, family / folder, ignore=shutil.ignore_patterns("results", "__pycache__"))
    for seed, member in enumerate(("b4", "b5")):
        run(family / member / "train.py", data, *TINY, *SHORT, "--epochs", "3", "--seed", str(seed))
        infer(family, member, data)
    return family


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("targets", "images"), [("members", 27), ("half", 24)])
def test_a_student_learns_from_the_members_whose_answers_are_computed_once(family, data, targets, images, monkeypatch):
    computed = []
    classify = module.classify_photographs
    monkeypatch.setattr(module, "classify_photographs", lambda *a, **k: computed.append(len(a[1])) or classify(*a, **k))
    for _ in range(2):
        run(
            family / "distil/train.py",
            data,
            *TINY,
            *SHORT,
            *TOGETHER,
            "--epochs",
            "1",
            "--targets",
            targets,
            "--restart",
        )
    assert computed == [images, images]
    assert sum(map(float, read_header(family / "distil/results/tiny/best.safetensors").extra["training_counts"]
                   .strip("[]").split(","))) == pytest.approx(images, abs=0.1)  # fmt: skip
    found = read_outputs(infer(family, "distil", data) / "test.safetensors")
    assert len(found.names) == 12


@pytest.mark.parametrize("options", [["--views", "2"], ["--views", "0", "--head", "conv"]])
def test_the_fusion_answers_from_the_features_of_the_members(family, data, options, monkeypatch):
    run(family / "fusion/train.py", data, *SHORT, *TOGETHER, "--epochs", "20", "--lr", "0.01", *options)
    results = infer(family, "fusion", data)
    members = [read_outputs(family / name / "results/tiny/test.safetensors") for name in ("b4", "b5")]
    found = read_outputs(results / "test.safetensors")
    np.testing.assert_array_equal(found.features, np.concatenate([one.features for one in members], axis=1))
    assert found.names == members[0].names
    assert len(read_outputs(results / "unlabelled.safetensors").names) == 3
    monkeypatch.setattr(module, "classify_photographs", None)  # the views are kept, whatever the head
    run(family / "fusion/train.py", data, *SHORT, *TOGETHER, "--epochs", "1", *options, "--restart", "--head", "linear")


def test_the_answer_has_a_row_for_each_test_image(family, data, capsys):
    answers = {}
    for method in ("mean", "greedy", "vote"):
        run(family / "predict/answer.py", data, *TOGETHER, "--run", "tiny", "--method", method)
        found = rows_of(family / "results/tiny/prediction.csv")
        assert list(found[0]) == ["image", "label", "probability"]
        assert len(found) == 12
        assert all(0 < float(row["probability"]) <= 1 for row in found)
        answers[method] = [row["label"] for row in found]
    assert "of the 12 images whose class is known" in capsys.readouterr().out
    run(family / "predict/answer.py", data, *TOGETHER, "--run", "tiny", "--capacity", "4", "--prior", "exactly-4-each")
    found = [row["label"] for row in rows_of(family / "results/tiny/prediction.csv")]
    assert [found.count(label) for label in ("bright", "dark", "grey")] == [4, 4, 4]


def test_photographs_of_a_folder_are_answered_and_broken_ones_listed(family, data, tmp_path, capsys):
    photographs = tmp_path / "photos"
    shutil.copytree(data / "test/dark", photographs)
    (photographs / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    for member in ("b4", "b5"):
        infer(family, member, data, "--images", str(photographs), "--skip-bad")
    out = tmp_path / "answer.csv"
    run(family / "predict/answer.py", data, *TOGETHER, "--run", "tiny", "--images", str(photographs), "--out", str(out))
    assert [row["image"] for row in rows_of(out)] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert "broken.jpg" in rows_of(tmp_path / "answer.skipped.csv")[0]["image"]
    said = capsys.readouterr().out
    assert "answer.skipped.csv lists the photographs that cannot be read" in said
    assert f"The answer is in {out}." in said


def test_a_member_that_was_not_trained_is_named(family, data, capsys):
    for script in ("distil/train.py", "fusion/train.py"):
        with pytest.raises(SystemExit):
            run(family / script, data, *SHORT, "--members", "b4,b6")
        assert "b6/results/tiny/best.safetensors is missing: train b6" in capsys.readouterr().err


def test_members_must_be_named_each_once(family, data, capsys):
    for given in ([], ["--members", "b4,b4"], ["--members", " ,"]):
        for script in ("distil/train.py", "fusion/train.py", "predict/answer.py"):
            short = ["--run", "tiny"] if script == "predict/answer.py" else SHORT
            with pytest.raises(SystemExit):
                run(family / script, data, *short, *given)
            assert "name the folders of the networks, each once" in capsys.readouterr().err
