"""The filter finds what was planted, and nothing else; it says how many of each."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.csv_rows import write_csv
from noseprint.data.filtered import read_filtered
from noseprint.errors import NoseprintError
from noseprint.inspection.class_filter import filter_classes, filter_text, write_filtered


def picture(seed: int, side: int = 96) -> np.ndarray:
    """A smooth random picture, unlike any other."""
    grid = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)


def save(data: Path, name: str, pixels: np.ndarray) -> None:
    (data / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(data / name), pixels)


@pytest.fixture
def data(tmp_path) -> Path:
    for number in range(12):
        save(tmp_path, f"train/{'cat' if number % 2 else 'dog'}/{number}.jpg", picture(number))
    for number in range(4):
        save(tmp_path, f"val/{'cat' if number % 2 else 'dog'}/v{number}.jpg", picture(100 + number))
        save(tmp_path, f"test/t{number}.jpg", picture(200 + number))
    return tmp_path


def left_out(data: Path) -> dict[str, tuple[str, str]]:
    _, out = filter_classes(read_classes(data), least_side=32)
    return {row.image: (row.reason.partition(":")[0], row.other) for row in out}


def test_clean_data_are_left_as_they_are(data):
    table, out = filter_classes(read_classes(data), least_side=32)
    assert (table, out) == (read_classes(data), [])
    assert filter_text(table, out) == ("20 images (12 train, 4 val, 4 test) of 2 classes with 6 training images each")


def test_what_is_planted_is_found(data):
    (data / "train/cat/broken.jpg").write_bytes((data / "train/cat/1.jpg").read_bytes()[:200])
    (data / "val/cat/broken.jpg").write_bytes(b"<html>")
    save(data, "train/cat/tiny.png", picture(50, side=31))
    save(data, "train/cat/just.png", picture(51, side=32))
    save(data, "val/cat/tiny.png", picture(52, side=20))
    save(data, "train/cat/copy.jpg", cv2.resize(picture(101), (80, 80)))
    save(data, "train/dog/equal.png", cv2.imread(str(data / "test/t2.jpg")))
    save(data, "train/dog/equal2.png", cv2.imread(str(data / "test/t2.jpg")))
    save(data, "train/dog/both.png", picture(60))
    save(data, "train/cat/both.png", picture(60))
    assert left_out(data) == {
        "train/cat/broken.jpg": ("broken", ""),
        "val/cat/broken.jpg": ("broken", ""),
        "train/cat/tiny.png": ("tiny", ""),
        "train/cat/copy.jpg": ("near copy", "val/cat/v1.jpg"),
        "train/dog/equal.png": ("near copy", "test/t2.jpg"),
        "train/dog/equal2.png": ("near copy", "test/t2.jpg"),
        "train/dog/both.png": ("several labels", "train/cat/both.png"),
        "train/cat/both.png": ("several labels", "train/dog/both.png"),
    }
    text = filter_text(*filter_classes(read_classes(data), least_side=32))
    assert text.endswith(
        "; left out: 2 cannot be read, 1 are too small, 3 are copies of images in val or test, "
        "2 are pictures with several labels"
    )


def test_all_copies_of_a_near_copy_are_left_out(data):
    for name in ("a", "b"):
        save(data, f"train/cat/{name}.png", cv2.resize(picture(101), (80, 80)))
    assert set(left_out(data)) == {"train/cat/a.png", "train/cat/b.png"}


def test_a_class_must_keep_an_image(data):
    save(data, "train/cow/1.png", picture(70, side=20))
    with pytest.raises(NoseprintError, match=r"1 classes keep no training image \(cow\): 1 are too small"):
        filter_classes(read_classes(data), least_side=32)


def test_the_table_is_read_back_with_groups_and_levels(data):
    given = read_classes(data)
    for number in range(4):
        save(data, f"train/cow/{number}.png", picture(80 + number, side=20 if number == 3 else 64))
    names = [*given.split("train").names, *(f"train/cow/{number}.png" for number in range(4))]
    kinds = {"cow": "farm", "cat": "house", "dog": "house"}
    rows = [(name, (label := name.split("/")[1]), kinds[label], f"user {k % 5}") for k, name in enumerate(names)]
    write_csv(data / "images.csv", ("image", "label", "kind", "user"), rows)
    columns = ClassColumns(group="user")
    left, out = filter_classes(read_classes(data, columns=columns), least_side=32)
    assert [row.image for row in out] == ["train/cow/3.png"]
    results = data.parent / "results"
    write_filtered(left, out, results)
    again = read_filtered(data, results)
    assert again == left
    assert again.levels.keys() == {"kind"}
    assert Counter(again.splits) == {"train": 15, "val": 4, "test": 4}
    assert isinstance(again, ClassTable)
    assert (results / "left_out.csv").read_text() == "image,reason,other\ntrain/cow/3.png,tiny,\n"
