"""Images and their classes, from tables and folders; each mistake gives one message, and all come at once."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.errors import DataError, NoseprintError

JPEG = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
GOOD = ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "test/dog/1.jpg", "unlabelled/1.jpg")


def images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)
    return folder


def table(folder: Path, text: str, *, name: str = "images.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def problems(folder: Path, **options) -> list[str]:
    with pytest.raises(DataError) as error:
        read_classes(folder, **options)
    return [str(fault) for fault in error.value.faults]


def split_of(found: ClassTable) -> dict[str, tuple[str, str]]:
    return {name: (split, label) for name, split, label in zip(found.names, found.splits, found.labels, strict=True)}


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_for_each_class(tmp_path, capsys):
    found = read_classes(images(tmp_path, *GOOD))
    assert split_of(found) == {
        "train/cat/1.jpg": ("train", "cat"),
        "train/cat/2.jpg": ("train", "cat"),
        "train/dog/1.jpg": ("train", "dog"),
        "val/cat/1.jpg": ("val", "cat"),
        "test/dog/1.jpg": ("test", "dog"),
        "unlabelled/1.jpg": ("unlabelled", ""),
    }
    assert found.paths == tuple(tmp_path / name for name in found.names)
    assert (found.classes, found.groups, found.levels) == (("cat", "dog"), None, {})
    assert capsys.readouterr().err == ""


def test_a_test_folder_without_classes_and_other_names_of_splits(tmp_path):
    names = ("Training/a/1.jpg", "Training/b/1.jpg", "validation/a/1.jpg", "test/1.jpg", "unlabeled/x/y/2.jpg")
    found = split_of(read_classes(images(tmp_path, *names)))
    assert list(found.values()) == [("train", "a"), ("train", "b"), ("val", "a"), ("test", ""), ("unlabelled", "")]


def test_hidden_files_are_ignored_and_other_files_are_named(tmp_path, capsys):
    images(tmp_path, *GOOD, "train/cat/.hidden.jpg", "train/.trash/1.jpg")
    (tmp_path / "train/cat/Thumbs.db").write_bytes(b"x")
    (tmp_path / "train/dog/film.mov").write_bytes(b"x")
    assert len(read_classes(tmp_path)) == len(GOOD)
    assert "1 .mov (dog/film.mov)" in capsys.readouterr().err


def test_all_faults_of_folders_come_at_once(tmp_path):
    images(tmp_path, "train/cat/1.jpg", "train/cat/young/2.jpg", "train/Cat /1.jpg", "train/3.jpg", "val/owl/1.jpg")
    images(tmp_path, "test/dog/1.jpg", "test/2.jpg")
    (tmp_path / "train/dog").mkdir()
    (tmp_path / "val/cat").mkdir()  # an empty folder is a fault in train only
    found = problems(tmp_path)
    expected = [
        "train: 1 photographs lie in no class's folder (3.jpg)",
        "train/cat: holds folders (young)",
        "train/dog: the class's folder holds no photograph",
        "test: 1 photographs lie in no class's folder (2.jpg)",
        "names of classes differ by case, blanks or punctuation only: 'Cat' and 'cat'",
        "class 'owl' has no training image and 1 in val: its images can never be predicted right",
        "class 'dog' has no training image and 1 in test: its images can never be predicted right",
    ]
    assert len(found) == len(expected), found
    for text, problem in zip(expected, found, strict=True):
        assert text in problem


def test_a_name_that_breaks_a_line_is_a_fault(tmp_path):
    images(tmp_path, *GOOD, "train/cat/a\nb.jpg")
    assert ["control character" in problem for problem in problems(tmp_path)] == [True]


def test_fewer_than_two_classes(tmp_path):
    [problem] = problems(images(tmp_path, "train/cat/1.jpg"))
    assert "every training image is of the class 'cat': two classes are needed" in problem


def test_an_empty_train_folder(tmp_path):
    (tmp_path / "train").mkdir()
    [problem] = problems(tmp_path)
    assert "has no photographs" in problem


def test_two_folders_for_one_split(tmp_path):
    [problem] = problems(images(tmp_path, *GOOD, "valid/cat/1.jpg"))
    assert "the folders val and valid are both for val" in problem


def test_neither_table_nor_train(tmp_path):
    images(tmp_path, "cat/1.jpg", "dog/1.jpg")
    with pytest.raises(NoseprintError, match=r"If the folders here \(cat, dog\) are the classes, move them into"):
        read_classes(tmp_path)
    with pytest.raises(NoseprintError, match="no such folder"):
        read_classes(tmp_path / "missing")


def test_an_option_of_a_table_without_a_table(tmp_path):
    with pytest.raises(NoseprintError, match="--group-column is for a table"):
        read_classes(images(tmp_path, *GOOD), columns=ClassColumns(group="sender"))


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_wins_over_folders(tmp_path, capsys):
    images(tmp_path, "train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg", "test/1.jpg", "train/dog/not named.jpg")
    text = "File Name,species,split\ntrain/cat/1.jpg,cat,train\ntrain/cat/2.jpg,dog,Training\ntrain/dog/1.jpg,cat,VAL\n"
    found = read_classes(table(tmp_path, text + "test/1.jpg,,test\n"))
    assert list(split_of(found).values()) == [("train", "cat"), ("train", "dog"), ("val", "cat"), ("test", "")]
    assert "2 images have another label than their folder (train/cat/2.jpg, train/dog/1.jpg)" in capsys.readouterr().err


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    images(tmp_path, "a/1.jpg", "a/2.jpg")
    table(tmp_path, "\ufeffimage,label\na/1.jpg,cat\na/2.jpg,dög\n")
    assert read_classes(tmp_path).labels == ("cat", "dög")
    table(tmp_path, '\ufeff"image","label"\n"a/1.jpg","cat"\n"a/2.jpg","dög"\n')
    assert read_classes(tmp_path).labels == ("cat", "dög")


def test_rows_of_other_splits_are_left_out_and_counted(tmp_path, capsys):
    images(tmp_path, *GOOD)
    text = "image,label,split\ntrain/cat/1.jpg,cat,train\ntrain/dog/1.jpg,dog,train\nmissing.jpg,Not sure,flagged\n"
    found = read_classes(table(tmp_path, text + "unlabelled/1.jpg,dog,unlabelled\nval/cat/1.jpg,,\n"))
    assert found.names[:3] == ("train/cat/1.jpg", "train/dog/1.jpg", "unlabelled/1.jpg")
    assert found.labels[2] == ""
    assert "2 rows are left out, whose split is none of train, val, test, unlabelled: empty (1), 'flagged' (1)" in (
        capsys.readouterr().err
    )


def test_without_a_column_of_splits_the_first_folder_says_the_split(tmp_path):
    images(tmp_path, *GOOD, "a.jpg")
    text = "image,label\na.jpg,cat\ntrain/dog/1.jpg,dog\nval/cat/1.jpg,cat\nunlabelled/1.jpg,\n"
    found = split_of(read_classes(table(tmp_path, text)))
    assert found["a.jpg"] == ("train", "cat")
    assert found["val/cat/1.jpg"] == ("val", "cat")
    assert found["unlabelled/1.jpg"] == ("unlabelled", "")


def test_splits_that_the_table_does_not_have_are_read_from_their_folders(tmp_path, capsys):
    images(tmp_path, "train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg", "val/cat/1.jpg")
    text = "image,label,kind,sender\ntrain/1.jpg,cat,pet,A\ntrain/2.jpg,dog,pet,A\ntest/2.jpg,owl,bird,B\n"
    (tmp_path / "images.csv").write_text(text.replace("test/2.jpg", "unlabelled/2.jpg"))
    images(tmp_path, "unlabelled/2.jpg")
    found = read_classes(tmp_path, columns=ClassColumns(group="sender"))
    rows = split_of(found)
    assert [rows[name] for name in ("test/1.jpg", "val/cat/1.jpg")] == [("test", ""), ("val", "cat")]
    assert found.groups == ("A", "A", "B", "val/cat/1.jpg", "test/1.jpg", "test/2.jpg")
    assert "it names no image of test: 2 are read from test/" in capsys.readouterr().err


def test_an_image_in_the_table_is_not_read_from_a_folder_as_well(tmp_path):
    images(tmp_path, "test/1.jpg", "test/2.jpg", "train/1.jpg")
    found = read_classes(table(tmp_path, "image,label,split\ntest/1.jpg,cat,train\ntrain/1.jpg,dog,train\n"))
    assert found.names == ("test/1.jpg", "train/1.jpg", "test/2.jpg")


LEVELS = """image,label,constant,kind,family,sender,fold,copy
1.jpg,cat,x,animal,feline,A,0,cat
2.jpg,cat,x,animal,feline,B,1,cat
3.jpg,lion,x,animal,feline,C,0,lion
4.jpg,dog,x,animal,canine,D,1,dog
5.jpg,oak,x,plant,tree,E,0,oak
"""


def test_levels_are_coarser_than_the_classes_and_the_finest_comes_first(tmp_path):
    images(tmp_path, *(f"{n}.jpg" for n in range(1, 6)))
    found = read_classes(table(tmp_path, LEVELS))
    assert list(found.levels) == ["family", "kind"]
    assert found.levels["kind"] == ("animal", "animal", "animal", "animal", "plant")


def test_a_group_is_never_guessed_and_a_second_label_column_is_not_the_label(tmp_path, capsys):
    images(tmp_path, *(f"{n}.jpg" for n in range(1, 6)))
    table(tmp_path, LEVELS.replace("copy", "relabelled").replace("0,cat", "0,dog"))
    found = read_classes(tmp_path)
    assert found.groups is None
    assert found.labels == ("cat", "cat", "lion", "dog", "oak")
    err = capsys.readouterr().err
    assert "columns that are not read: constant, fold, relabelled" in err
    assert "the column sender is not read; to keep images of one sender in one fold, pass --group-column sender" in err
    found = read_classes(tmp_path, columns=ClassColumns(group="sender"))
    assert found.groups == ("A", "B", "C", "D", "E")
    assert "--group-column" not in capsys.readouterr().err


def test_an_image_without_a_group_is_a_group_of_its_own(tmp_path):
    images(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    text = "image,label,sender\n1.jpg,a,X\n2.jpg,b,\n3.jpg,b,unknown\n"
    found = read_classes(table(tmp_path, text), columns=ClassColumns(group="sender"))
    assert found.groups == ("X", "2.jpg", "3.jpg")


def test_rows_can_be_chosen(tmp_path):
    images(tmp_path, *(f"{n}.jpg" for n in range(1, 6)))
    found = read_classes(table(tmp_path, LEVELS), columns=ClassColumns(group="sender"))
    chosen = found.where([False, True, False, False, True])
    assert (chosen.names, chosen.groups) == (("2.jpg", "5.jpg"), ("B", "E"))
    assert chosen.levels == {"family": ("feline", "tree"), "kind": ("animal", "plant")}
    assert len(found.split("test")) == 0
    assert len(found.split("train")) == 5


def test_paths_of_a_table(tmp_path):
    images(tmp_path / "data", "a/1.jpg", "a/2.jpg", "a/3.jpg")
    images(tmp_path, "4.jpg")
    rows = (r"a\1.jpg,x", f"{tmp_path}/data/a/2.jpg,y", "./a//3.jpg,x")
    table(tmp_path, "\n".join(("image,label", *rows)), name="mine.csv")
    columns = ClassColumns(table=tmp_path / "mine.csv")
    assert read_classes(tmp_path / "data", columns=columns).names == ("a/1.jpg", "a/2.jpg", "a/3.jpg")
    table(tmp_path, "image,label\na/1.jpg,x\na/2.jpg,y\n../4.jpg,x\n", name="mine.csv")
    assert "image '../4.jpg' is outside the data folder" in "\n".join(problems(tmp_path / "data", columns=columns))


def test_all_faults_of_a_table_come_at_once(tmp_path):
    images(tmp_path, "1.jpg", "2.jpg", "3.JPG", "5.jpg")
    (tmp_path / "folder").mkdir()
    text = """image,label,split
1.jpg,cat,train
1.jpg,dog,train
2.jpg,dog,train
2.jpg,dog,train
3.jpg,cat,train
4.jpg,cat,train
5.jpg,,train
folder,cat,train
,cat,train
5.jpg,owl,test
"""
    found = "\n".join(problems(table(tmp_path, text)))
    for expected in (
        "line 10: image is empty",
        "line 3: image '1.jpg' is already listed on line 2 with the label 'cat', and here with 'dog': delete one row",
        "line 5: image '2.jpg' is already listed on line 4: delete one row",
        f"line 6: there is no image {tmp_path}/3.jpg, but {tmp_path}/3.JPG",
        f"line 7: there is no image {tmp_path}/4.jpg: add it, delete the row",
        "line 8: '5.jpg' has no label",
        "line 9: 'folder' in",
        "line 11: image '5.jpg' is already listed on line 8",
        "class 'owl' has no training image and 1 in test",
    ):
        assert expected in found
    assert len(found.splitlines()) == 9


def test_missing_images_may_be_accepted(tmp_path):
    table(tmp_path, "image,label\n1.jpg,cat\n2.jpg,dog\n")
    assert len(problems(tmp_path)) == 2
    assert len(read_classes(tmp_path, missing_ok=True)) == 2


def test_two_tables(tmp_path):
    images(tmp_path, "1.jpg", "2.jpg")
    for name in ("images.csv", "train.csv"):
        table(tmp_path, "image,label\n1.jpg,a\n2.jpg,b\n", name=name)
    [problem] = problems(tmp_path)
    assert "images.csv and train.csv may both be the table: name one of them with --table FILE" in problem
    assert len(read_classes(tmp_path, columns=ClassColumns(table=tmp_path / "train.csv"))) == 2


def test_a_table_without_training_rows(tmp_path):
    images(tmp_path, "1.jpg")
    [problem] = problems(table(tmp_path, "image,label,split\n1.jpg,a,test\n"))
    assert "there are no training images" in problem
    [problem] = problems(table(tmp_path, "image,label\n"))
    assert "there are no training images" in problem


def test_a_linked_image_may_lie_elsewhere(tmp_path):
    images(tmp_path, "data/2.jpg", "elsewhere/1.jpg")
    (tmp_path / "data/1.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    assert len(read_classes(table(tmp_path / "data", "image,label\n1.jpg,a\n2.jpg,b\n"))) == 2


def test_a_fault_does_not_cause_another(tmp_path):
    images(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/Dog/1.jpg", "train/owl/old/1.jpg", "test/owl/1.jpg")
    found = problems(tmp_path)
    assert len(found) == 2
    assert "train/owl: holds folders (old)" in found[0]
    assert "'Dog' and 'dog'" in found[1]


def test_a_missing_label_is_no_class(tmp_path):
    images(tmp_path, "1.jpg", "2.jpg")
    found = problems(table(tmp_path, "image,label\n1.jpg,cat\n2.jpg,\n"))
    assert len(found) == 2
    assert "has no label" in found[0]
    assert "two classes are needed" in found[1]


def test_a_split_of_the_table_is_not_filled_up_from_its_folder(tmp_path):
    images(tmp_path, *GOOD, "test/dog/not named.jpg", "train/dog/not named.jpg")
    rows = "train/cat/1.jpg,cat\ntrain/dog/1.jpg,dog\ntest/dog/1.jpg,dog\n"
    found = read_classes(table(tmp_path, f"image,label\n{rows}"))
    assert sorted(found.names) == sorted(
        ["train/cat/1.jpg", "train/dog/1.jpg", "test/dog/1.jpg", "val/cat/1.jpg", "unlabelled/1.jpg"]
    )
