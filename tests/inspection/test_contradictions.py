"""One picture under two classes is found, whatever its file format; nothing else is."""

import contextlib
import csv

import cv2
import numpy as np
import pytest

from noseprint.data.class_tables import read_classes
from noseprint.data.decoding import decode, pixel_digest
from noseprint.errors import DataError, NoseprintError
from noseprint.inspection.contradictions import find_contradictory_copies, usable_images


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


def digests_of(table):
    found = {}
    for path in table.paths:
        with contextlib.suppress(DataError):
            found[path] = pixel_digest(decode(path))
    return found


def test_contradictory_copies(folder):
    table = read_classes(folder)
    found = [{table.names[row] for row in rows} for rows in find_contradictory_copies(table, digests_of(table))]
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
    assert find_contradictory_copies(chosen, digests_of(chosen)) == [(1, 2, 3)]


def test_broken_images_and_contradictory_copies_are_one_list(folder, tmp_path, capsys):
    table = read_classes(folder)
    with pytest.raises(NoseprintError, match="7 of 11 photographs cannot be used") as error:
        usable_images(table)
    assert len(str(error.value).splitlines()) == 8
    listed = tmp_path / "skipped.csv"
    kept = usable_images(table, skip_bad=True, skipped_csv=listed)
    assert set(kept.names) == {"train/cat/2.png", "train/cat/2 again.png", "train/cat/3.png", "test/dog/3.png"}
    assert f"{listed} lists them" in capsys.readouterr().err
    with listed.open() as file:
        assert {row["image"] for row in csv.DictReader(file)} == set(map(str, table.paths)) - set(map(str, kept.paths))
