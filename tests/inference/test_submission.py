"""A submission: its rows, and one message for each thing that a competition would refuse."""

from pathlib import Path

import numpy as np
import pytest

from noseprint.errors import DataError
from noseprint.inference.submission import submission_rows, write_submission

NAMES, CLASSES = ("test/7.jpg", "test/b.c.png"), ("x", "y", "z")
P = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])


def sample(tmp_path: Path, text: str) -> Path:
    (tmp_path / "sample.csv").write_text(text)
    return tmp_path / "sample.csv"


def test_a_row_has_the_most_probable_classes_and_ids_have_no_ending(tmp_path: Path) -> None:
    write_submission(tmp_path / "s.csv", submission_rows(NAMES, classes=CLASSES), P, classes=CLASSES, top=2)
    assert (tmp_path / "s.csv").read_text() == "id,predicted\n7,y z\nb.c,x y\n"


def test_the_sample_gives_the_order(tmp_path: Path) -> None:
    rows = submission_rows(NAMES, classes=CLASSES, sample=sample(tmp_path, "id,predicted\nb.c,\n7,\n"))
    assert list(rows.items()) == [("b.c", 1), ("7", 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,predicted\n7,\nb.c,\n8,\n", r"1 of 3 ids have no answer \(8\)"),
        ("id,predicted\n7,\n", r"1 of 2 test images are not among its ids \(b.c\)"),
        ("id,predicted\n7,\nb.c,\n7,\n", "line 4: the id '7' is already on line 2"),
        ("image,predicted\n7,\n", "there is no column id, but image"),
    ],
)
def test_ids_that_differ_from_the_sample_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        submission_rows(NAMES, classes=CLASSES, sample=sample(tmp_path, text))
    assert len(error.value.faults) == 1


def test_two_images_with_one_id_and_spaces_in_classes_are_refused() -> None:
    with pytest.raises(DataError) as error:
        submission_rows(("a/1.jpg", "b/1.png", "2.jpg"), classes=("sour milk", "milk"))
    assert [fault.problem.split(":")[0] for fault in error.value.faults] == [
        "1 of 2 class names have spaces (sour milk), and spaces separate the answers",
        "1 of 2 ids stand for two images, such as a/1.jpg and b/1.png",
    ]
