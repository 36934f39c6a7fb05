"""One picture under two classes is found, whatever its file format; nothing else is."""

import cv2
import numpy as np
import pytest

from noseprint.data.class_tables import read_classes
from noseprint.inspection.contradictions import find_contradictory_copies


@pytest.fixture
def folder(tmp_path):
    def write(name: str, seed: int) -> None:
        picture = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), np.uint8)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(cv2.imencode(f".{name.rpartition('.')[2]}", picture)[1].tobytes())

    write("train/cat/1.png", 1)
    write("train/cat/2.png", 2)
    write("train/cat/2 again.png", 2)  # the same label
    write("train/cat/3.png", 3)
    write("train/dog/1.bmp", 1)  # the same pixels in another file
    write("train/dog/4.png", 4)
    write("train/owl/1.png", 1)
    write("train/owl/4.png", 4)
    write("test/dog/3.png", 3)  # not a training image
    (tmp_path / "train/cat/bad.png").write_bytes(b"")
    (tmp_path / "train/dog/bad.png").write_bytes(b"")
    return tmp_path


def test_contradictory_copies(folder):
    table = read_classes(folder)
    found = [{table.names[row] for row in rows} for rows in find_contradictory_copies(table)]
    assert found == [
        {"train/cat/1.png", "train/dog/1.bmp", "train/owl/1.png"},
        {"train/dog/4.png", "train/owl/4.png"},
    ]


def test_rows_are_those_of_the_table(folder):
    table = read_classes(folder)
    order = tuple(name.startswith("test") or "/1." in name for name in table.names)
    chosen = table.where(order)
    chosen = type(chosen)(
        *(column[::-1] for column in (chosen.paths, chosen.labels, chosen.splits, chosen.names))
    )  # the test image first
    assert chosen.splits[0] == "test"
    assert find_contradictory_copies(chosen) == [(1, 2, 3)]
