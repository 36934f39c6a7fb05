"""What the lines at the end of train.sh say."""

import numpy as np
import pytest

from noseprint.cleaning.outcome import outcome
from noseprint.data.class_columns import ClassColumns
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, write_outputs


@pytest.fixture
def folder(tmp_path):
    for name in (*(f"train/{label}/{k}.jpg" for label in ("cat", "dog") for k in range(5)), "val/cat/1.jpg",
                 "val/dog/1.jpg", "val/dog/2.jpg", "val/dog/3.jpg"):  # fmt: skip
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"\xff\xd8\xff")
    for member, logits in (("one", [[1, 0], [1, 0], [0, 3], [9, 0]]), ("two", [[0, 2], [0, 2], [0, 2], [0, 2]])):
        names = ("val/cat/1.jpg", "val/dog/1.jpg", "val/dog/2.jpg", "val/dog/3.jpg")
        rows = np.array(logits, np.float32)
        (tmp_path / member).mkdir()
        outputs = ClassifierOutputs(names, rows, rows, ("cat", "dog"), member)
        write_outputs(tmp_path / member / "holdout.safetensors", outputs)
    return tmp_path


def lines(folder, labels=None):
    members = {name: folder / name for name in ("one", "two")}
    return outcome(folder / "data", columns=ClassColumns(), labels=labels, members=members)


def test_members_and_their_mean_are_scored_on_the_hold_out(folder):
    found = [line.split() for line in lines(folder)]
    assert found[1][:5] == ["10", "training", "images,", "with", "the"]
    values = {line[0]: (line[1], line[-1]) for line in found[2:4]}
    assert values == {"one": ("0.500", "0.667"), "two": ("0.750", "0.500")}
    assert found[4][:3] == ["their", "mean", "0.500"]


def test_what_the_cleaning_changed_is_counted(folder):
    labels = folder / "labels.csv"
    rows = [f"train/cat/{k}.jpg,cat" for k in range(5)] + ["train/dog/0.jpg,cat", "train/dog/1.jpg,dog"]
    labels.write_text("\n".join(["image,label", *rows]))
    assert "10 training images, 3 left out, 1 with a new label." in lines(folder, labels)[1]


def test_a_member_without_outputs_is_named(folder):
    (folder / "two" / "holdout.safetensors").unlink()
    with pytest.raises(NoseprintError, match=r"two.holdout\.safetensors"):
        lines(folder)
