import cv2
import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.errors import DataError, NoseprintError
from noseprint.inspection.check_classes import check_classes


@pytest.fixture
def folder(tmp_path):
    for value, name in enumerate(("train/cat/1", "train/cat/2", "train/dog/1", "test/dog/1", "unlabelled/1")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"{tmp_path / name}.png", np.full((9, 9, 3), value, np.uint8))
    return tmp_path


def test_a_good_folder_is_counted(folder):
    said = check_classes(folder, columns=ClassColumns())
    assert said.endswith("5 images (3 train, 1 test, 1 unlabelled) of 2 classes with 1 to 2 training images")


def test_broken_photographs_and_pictures_of_two_classes_come_at_once(folder):
    (folder / "train/dog/2.png").write_bytes((folder / "train/cat/2.png").read_bytes())
    (folder / "test/dog/2.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        check_classes(folder, columns=ClassColumns())
    found = [str(fault) for fault in error.value.faults]
    assert len(found) == 2
    assert "test/dog/2.png" in found[0]
    assert "train/cat/2.png: is the same picture as train/dog/2.png, with another label: keep one" in found[1]


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(NoseprintError, match="has neither"):
        check_classes(tmp_path, columns=ClassColumns())
