"""Which images of a folder of classes are held out."""

from dataclasses import replace
from pathlib import Path

import pytest

from noseprint.data.class_tables import ClassTable, hold_out
from noseprint.errors import NoseprintError


def table(number: int = 400, *, classes: int = 5, split: str = "train", **more) -> ClassTable:
    names = tuple(f"{split}/{k}.jpg" for k in range(number))
    labels = tuple(f"class {k % classes}" for k in range(number))
    return ClassTable(tuple(map(Path, names)), labels, (split,) * number, names, **more)


def both(a: ClassTable, b: ClassTable) -> ClassTable:
    return ClassTable(a.paths + b.paths, a.labels + b.labels, a.splits + b.splits, a.names + b.names)


def test_about_the_share_is_held_out_and_nothing_is_in_both():
    train, held = hold_out(table(), 0.2)
    assert 50 < len(held) < 110
    assert sorted(train.names + held.names) == sorted(table().names)


def test_the_val_split_is_taken_where_there_is_one_and_other_splits_never():
    val, test = table(7, split="val"), table(9, split="test")
    assert hold_out(both(both(table(), test), val), 0.2) == (table(), val)
    train, held = hold_out(both(table(), test), 0.2)
    assert set(train.splits + held.splits) == {"train"}


def test_the_choice_depends_neither_on_labels_nor_order_nor_other_images():
    names = set(hold_out(table(), 0.2)[1].names)
    assert set(hold_out(replace(table(), labels=("one",) * 200 + ("two",) * 200), 0.2)[1].names) == names
    fewer = table().where(k % 3 for k in range(400))
    assert set(hold_out(fewer, 0.2)[1].names) == names & set(fewer.names)
    assert set(hold_out(table(), 0.3)[1].names) > names


def test_groups_stay_together():
    groups = tuple(f"sender {k // 4}" for k in range(400))
    train, held = hold_out(table(groups=groups), 0.2)
    assert held.groups
    assert not set(train.groups) & set(held.groups)


def test_a_class_of_which_nothing_would_be_left_is_learned_from_whole():
    held = hold_out(table(), 0.2)[1].names
    labels = ["rare" if name in held[:2] else "common" for name in table().names]
    rare = replace(table(), labels=tuple(labels))
    train, out = hold_out(rare, 0.2)
    assert train.labels.count("rare") == 2
    assert set(out.names) == set(held[2:])
    groups = tuple("together" if name in held[:3] else name for name in table().names)
    together = hold_out(replace(rare, groups=groups), 0.5)
    assert any({"together"} <= set(part.groups) for part in together)
    assert not set(together[0].groups) & set(together[1].groups)


def test_what_cannot_be_held_out_is_refused():
    with pytest.raises(NoseprintError, match="outside"):
        hold_out(table(), 0.7)
    with pytest.raises(NoseprintError, match="of 3 training images in 3 classes none can be held out: add images"):
        hold_out(table(3, classes=3), 0.5)
    assert len(hold_out(table(), 0)[1]) == 0
