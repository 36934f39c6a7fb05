import cv2
import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.errors import NoseprintError
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
    with pytest.raises(NoseprintError, match=r"^3 of 7 photographs cannot be used\. Go on without them with") as error:
        check_classes(folder, columns=ClassColumns())
    broken, *copies = str(error.value).splitlines()[1:]
    assert f"{folder}/test/dog/2.png: is not" in broken
    assert "row" not in broken  # there is no table
    problem = "one picture with several labels, train/cat/2.png (cat) and train/dog/2.png (dog): keep the copy"
    assert [line.strip() for line in copies] == [
        f"{folder}/train/{name}: {problem} with the right label" for name in ("cat/2.png", "dog/2.png")
    ]


def test_every_fault_of_the_folders_is_named(folder):
    (folder / "train/owl").mkdir()
    (folder / "train/emu").mkdir()
    with pytest.raises(NoseprintError) as error:
        check_classes(folder, columns=ClassColumns())
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == [
        f"{folder}/train/{name}" for name in ("emu", "owl")
    ]


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(NoseprintError, match="has neither"):
        check_classes(tmp_path, columns=ClassColumns())
