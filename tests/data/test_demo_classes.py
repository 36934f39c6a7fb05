"""The drawn folder of classes: what is planted in it, that it is read as any other, and that it repeats."""

import csv
from collections import Counter

import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import read_classes
from noseprint.data.demo_classes import write_demo_classes
from noseprint.data.demo_leaves import CLASSES
from noseprint.errors import NoseprintError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("classes") / "demo"
    write_demo_classes(path, seed=3)
    return path


@pytest.fixture(scope="module")
def truth(folder):
    with (folder / "truth.csv").open(newline="") as file:
        return {row["image"]: row["label"] for row in csv.DictReader(file)}


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_read_as_any_folder(folder):
    table = read_classes(folder, columns=ClassColumns(group="photographer"))
    assert Counter(table.splits) == {"train": 385, "val": 60, "test": 240, "unlabelled": 36}
    assert table.classes == tuple(sorted(CLASSES))
    assert list(table.levels) == ["kind"]
    assert {name.split("/")[0] for name in table.names} == set(table.splits)
    groups = {split: set(table.split(split).groups) for split in ("train", "val", "test")}
    assert not groups["train"] & groups["val"]
    assert not groups["train"] & groups["test"]
    assert len(groups["train"]) == 10
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")} == set(table.names)


def test_what_is_planted(folder, truth):
    train = read_classes(folder).split("train")
    assert set(truth) == set(train.names)
    right = [truth[name] for name in train.names]
    counts = Counter(filter(None, right))
    assert (max(counts.values()), min(counts.values())) == (60, 12)
    leaves = [(given, true) for given, true in zip(train.labels, right, strict=True) if true]
    wrong = [(given, true) for given, true in leaves if given != true]
    assert len(wrong) / len(leaves) == pytest.approx(0.2, abs=0.005)
    within = sum(given.split("-")[0] == true.split("-")[0] for given, true in wrong)
    assert 0.65 < within / len(wrong) < 0.95
    assert right.count("") / len(right) == pytest.approx(0.05, abs=0.005)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(folder, tmp_path):
    write_demo_classes(tmp_path / "again", seed=3)
    assert everything(tmp_path / "again") == everything(folder)
    write_demo_classes(tmp_path / "other", seed=4)
    images = [
        {data for name, data in everything(path).items() if name.endswith(".jpg")}
        for path in (folder, tmp_path / "other")
    ]
    assert not images[0] & images[1]


def test_a_finished_demo_is_kept_and_another_folder_is_not_changed(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_demo_classes(folder, seed=3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(NoseprintError, match="is not a demo with these options"):
        write_demo_classes(folder, seed=4)
    with pytest.raises(NoseprintError, match="seed of at least 0"):
        write_demo_classes(tmp_path / "x", seed=-1)


def test_a_demo_that_lost_an_image_is_reported(tmp_path):
    write_demo_classes(tmp_path / "d")
    next((tmp_path / "d/train").rglob("*.jpg")).unlink()
    with pytest.raises(NoseprintError, match="has lost"):
        write_demo_classes(tmp_path / "d")
