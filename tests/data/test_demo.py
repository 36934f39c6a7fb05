"""The synthetic data folder: its layout and statistics, and that it never changes an existing folder."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.data import demo
from noseprint.data.demo import write_demo
from noseprint.errors import NoseprintError
from noseprint.files import scratch_folder

TRAIN, OTHERS = 16, 6


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((folder / "images").iterdir()):
        found[path.name] = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert found[path.name] is not None, path
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "deep" / "data"
    write_demo(path, train_identities=TRAIN, pair_identities=OTHERS, seed=3)
    return path


def test_tables_name_every_image_and_no_other(folder):
    assert list(rows(folder / "train/train_data.csv")[0]) == ["dog ID", "nose print image"]
    for split, table in (("validation", "valid_data.csv"), ("test", "test_data.csv")):
        pairs = rows(folder / split / table)
        assert list(pairs[0]) == ["imageA", "imageB"]
        named = {name for pair in pairs for name in pair.values()}
        assert named <= set(pictures(folder / split))
    assert {r["nose print image"] for r in rows(folder / "train/train_data.csv")} == set(pictures(folder / "train"))
    assert {r["image"] for r in rows(folder / "retrieval.csv")} == set(pictures(folder / "test"))


def test_training_identities_have_two_to_eight_images(folder):
    ids = [int(row["dog ID"]) for row in rows(folder / "train/train_data.csv")]
    counts = np.bincount(ids)
    assert counts.shape == (TRAIN,)
    assert counts.min() == 2
    assert counts.max() <= 8


def test_identities_of_the_splits_are_disjoint(tmp_path, monkeypatch):
    drawn: list[tuple[str, int]] = []

    def record(folder: Path, identity: int, *, shots: int, split: str, seed: int) -> list[str]:
        drawn.append((split, identity))
        return [f"{identity}-{shot}.jpg" for shot in range(shots)]

    monkeypatch.setattr(demo, "_write_photos", record)
    for split in ("train", "validation", "test"):
        (tmp_path / split).mkdir()
    demo._write_splits(tmp_path, train_identities=TRAIN, pair_identities=OTHERS, seed=0)
    splits, identities = zip(*drawn, strict=True)
    assert [splits.count(split) for split in ("train", "validation", "test")] == [TRAIN, OTHERS, OTHERS]
    assert len(set(identities)) == len(drawn)


def test_labels_are_the_same_rows_and_agree_with_the_identities(folder):
    identity = {row["image"]: row["identity"] for row in rows(folder / "retrieval.csv")}
    assert len(set(identity.values())) == OTHERS
    for row in rows(folder / "test/labels.csv"):
        assert row["label"] == str(int(identity[row["imageA"]] == identity[row["imageB"]]))
        assert row["imageA"] != row["imageB"]
    for split, table in (("validation", "valid_data.csv"), ("test", "test_data.csv")):
        labels = rows(folder / split / "labels.csv")
        assert [(r["imageA"], r["imageB"]) for r in labels] == [tuple(r.values()) for r in rows(folder / split / table)]
        assert 0.4 < np.mean([int(r["label"]) for r in labels]) < 0.65
        assert len({frozenset((r["imageA"], r["imageB"])) for r in labels}) == len(labels)


def test_retrieval_has_one_query_and_a_gallery_for_each_identity(folder):
    table = rows(folder / "retrieval.csv")
    assert {row["folder"] for row in table} == {"test"}
    for identity in {row["identity"] for row in table}:
        roles = sorted(row["role"] for row in table if row["identity"] == identity)
        assert roles == ["gallery"] * 3 + ["query"]


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    write_demo(tmp_path / "again", train_identities=TRAIN, pair_identities=OTHERS, seed=3)
    assert everything(tmp_path / "again") == everything(folder)


def test_another_seed_gives_other_dogs(tmp_path):
    for seed in (0, 1):
        write_demo(tmp_path / str(seed), train_identities=2, pair_identities=2, seed=seed)
    first, second = (everything(tmp_path / str(seed)) for seed in (0, 1))
    assert not {data for name, data in first.items() if name.endswith(".jpg")} & set(second.values())


def test_a_finished_demo_is_not_written_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_demo(folder, train_identities=TRAIN, pair_identities=OTHERS, seed=3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_finished_demo_with_other_parameters_is_rejected(folder):
    before = everything(folder)
    with pytest.raises(NoseprintError, match="is not a demo with these options"):
        write_demo(folder, train_identities=TRAIN, pair_identities=OTHERS, seed=4)
    assert everything(folder) == before


def test_another_folder_is_not_changed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README.md").write_text("my dogs\n")
    with pytest.raises(NoseprintError, match=re.escape(str(tmp_path / "mine"))):
        write_demo(tmp_path / "mine", train_identities=2, pair_identities=2)
    assert everything(tmp_path) == {"mine/README.md": b"my dogs\n"}


def test_a_demo_that_lost_an_image_is_reported(tmp_path):
    write_demo(tmp_path / "d", train_identities=2, pair_identities=2)
    next((tmp_path / "d/test/images").iterdir()).unlink()
    with pytest.raises(NoseprintError, match="has lost"):
        write_demo(tmp_path / "d", train_identities=2, pair_identities=2)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "write_csv", full)
    with pytest.raises(NoseprintError, match="No space left"):
        write_demo(tmp_path / "d", train_identities=2, pair_identities=2)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_finish_the_same_demo_first(tmp_path, monkeypatch):
    write_splits = demo._write_splits

    def interrupted(part: Path, **sizes: int) -> None:
        monkeypatch.setattr(demo, "_write_splits", write_splits)
        write_demo(tmp_path / "d", train_identities=2, pair_identities=2)
        write_splits(part, **sizes)

    monkeypatch.setattr(demo, "_write_splits", interrupted)
    write_demo(tmp_path / "d", train_identities=2, pair_identities=2)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("wrong", [{"train_identities": 1}, {"pair_identities": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_rejected(tmp_path, wrong):
    with pytest.raises(NoseprintError, match=r"at least 2 identities of each kind, and a seed of at least 0"):
        write_demo(tmp_path / "d", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed_and_those_of_a_live_one_are_not(tmp_path):
    abandoned = tmp_path / ".demo.abc.part"
    (abandoned / "demo" / "train").mkdir(parents=True)
    with scratch_folder(tmp_path / "demo") as alive:
        assert not abandoned.exists()
        write_demo(tmp_path / "demo", train_identities=2, pair_identities=2)
        assert alive.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]
