"""Small images, a hold-out and folds: what is in which part, and that the same data give the same bytes."""

import shutil
from collections import Counter
from functools import partial

import cv2
import numpy as np
import pytest

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import read_classes
from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import decode
from noseprint.data.prepared import read_prepared
from noseprint.errors import DataError, NoseprintError
from noseprint.importing import prepared_classes
from noseprint.importing.prepared_classes import prepare_classes
from noseprint.inspection.contradictions import usable_images


def draw(path, seed, *, shape=(40, 52)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8))


@pytest.fixture
def data(tmp_path):
    """30 images of two classes by 10 senders, and two of test; a table says who sent which."""
    rows = []
    for number in range(30):
        name = f"train/{'cat' if number % 2 else 'dog'}/{number}.jpg"
        draw(tmp_path / "data" / name, number)
        rows.append((name, name.split("/")[1], "train", f"sender {number // 3}"))
    for number in (30, 31):
        name = f"test/cat/{number}.png"
        draw(tmp_path / "data" / name, number, shape=(20, 30))
        rows.append((name, "cat", "test", "another"))
    write_csv(tmp_path / "data" / "images.csv", ("image", "label", "split", "sender"), rows)
    return tmp_path / "data"


def prepare(data, results, *, group="sender", size=28, **options):
    table = read_classes(data, columns=ClassColumns(group=group), quiet=True)
    usable = partial(usable_images, skipped_csv=results / "skipped.csv", **options)
    return prepare_classes(table, results, image_size=size, usable=usable)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fifth_is_held_out_and_the_rest_is_cut_into_folds_by_sender(data, tmp_path):
    line = prepare(data, tmp_path / "made")
    assert "(a fifth of the training images)" in line
    made = read_prepared(tmp_path / "made")
    assert 3 <= len(made.split("val")) <= 9
    assert len(made.split("train")) + len(made.split("val")) == len(made.labelled()) == 30
    assert Counter((made.folds >= 0).tolist()) == {True: len(made.split("train")), False: 32 - len(made.split("train"))}
    parts = [set(made.split("val").groups), *(set(made.fold(fold)[1].groups) for fold in range(5))]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10
    for fold in range(5):
        train, own = made.fold(fold)
        assert len(train) + len(own) == len(made.split("train"))
        assert set(train.splits) == set(own.splits) == {"train"}
    assert [name.removeprefix("images/") for name in made.images.names] == list(made.sources)


def test_large_images_become_small_once_and_small_ones_stay_as_they_are(data, tmp_path):
    draw(data / "train/cat/1.jpg", 1, shape=(80, 64))
    (data / "train/cat/3.jpg").rename(data / "train/cat/3.bmp")
    table = data / "images.csv"
    table.write_text(table.read_text().replace("cat/3.jpg", "cat/3.bmp"))
    draw(data / "train/cat/3.bmp", 3, shape=(64, 64))
    prepare(data, tmp_path / "made")
    images = tmp_path / "made" / "images"
    assert decode(images / "train/cat/1.jpg").shape == (40, 32, 3)
    assert decode(images / "train/cat/5.jpg").shape == (32, 42, 3)
    exact = decode(images / "train/cat/3.bmp.png")  # without loss
    assert np.array_equal(exact, cv2.resize(decode(data / "train/cat/3.bmp"), (32, 32), interpolation=cv2.INTER_AREA))
    (data / "train/cat/3.bmp").rename(data / "train/cat/5.jpg.bmp")  # not overwritten by that of another image
    draw(data / "train/cat/5.jpg.bmp.png", 5, shape=(64, 64))
    table.write_text(
        table.read_text().replace("cat/3.bmp", "cat/5.jpg.bmp").replace("cat/5.jpg,", "cat/5.jpg.bmp.png,")
    )
    prepare(data, tmp_path / "alike")
    made = tmp_path / "alike" / "images/train/cat"
    assert np.array_equal(decode(made / "5.jpg.bmp.png.png"), exact)
    assert not np.array_equal(decode(made / "5.jpg.bmp.png"), exact)
    assert len(set(read_prepared(tmp_path / "alike").images.names)) == 32
    assert (images / "test/cat/30.png").read_bytes() == (data / "test/cat/30.png").read_bytes()


def test_the_same_data_give_the_same_bytes_and_a_killed_run_leaves_nothing_half_written(data, tmp_path, monkeypatch):
    prepare(data, tmp_path / "one")
    whole = files(tmp_path / "one")
    prepare(data, tmp_path / "one", size=16)  # another size takes its place
    assert files(tmp_path / "one").keys() == whole.keys()

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared_classes, "write_csv", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(data, tmp_path / "one")
    with pytest.raises(NoseprintError, match=r"images.csv is missing: run prepare/prepare.py"):
        read_prepared(tmp_path / "one")
    prepare(data, tmp_path / "one")
    assert files(tmp_path / "one") == whole


def test_copies_are_in_one_fold_and_those_of_held_out_images_are_left_out(data, tmp_path):
    table = data / "images.csv"
    rows = []
    for number in range(32, 37):  # five more senders, who all sent the same picture
        shutil.copy(data / "train/cat/1.jpg", data / f"train/cat/{number}.jpg")
        rows.append(f"train/cat/{number}.jpg,cat,train,new {number}\n")
    shutil.copy(data / "test/cat/30.png", data / "train/cat/40.png")
    rows.append("train/cat/40.png,cat,train,new 40\n")
    table.write_text(table.read_text() + "".join(rows))
    line = prepare(data, tmp_path / "made")
    assert "1 training images are left out, since val or test holds a copy" in line
    made = read_prepared(tmp_path / "made")
    assert "images/train/cat/40.png" not in made.images.names
    assert not (tmp_path / "made/images/train/cat/40.png").exists()
    parts = zip(made.images.splits, made.folds.tolist(), made.images.groups, strict=True)
    of = dict(zip(made.images.names, parts, strict=True))
    assert len({of[f"images/train/cat/{number}.jpg"] for number in (1, *range(32, 37))}) == 1


def test_a_class_that_one_sender_sent_is_not_held_out_whole(data, tmp_path):
    table = data / "images.csv"
    for sender in range(10):
        lines = table.read_text().splitlines()
        lines = [line.replace("dog,train", "cat,train") for line in lines]
        chosen = [line.replace("cat,train", "owl,train") if f"sender {sender}" in line else line for line in lines]
        other = tmp_path / f"data {sender}"
        shutil.copytree(data, other)
        (other / "images.csv").write_text("\n".join(chosen) + "\n")
        prepare(other, tmp_path / f"made {sender}")
        assert read_prepared(tmp_path / f"made {sender}").images.classes == ("cat", "owl")


def test_originals_that_are_gone_or_changed_are_said(data, tmp_path, capsys):
    prepare(data, tmp_path / "made")
    capsys.readouterr()
    made = read_prepared(tmp_path / "made")
    found = made.originals("test", data)
    assert found.names == ("test/cat/30.png", "test/cat/31.png")
    assert found.paths == tuple(data / name for name in found.names)
    assert capsys.readouterr().out == ""
    (data / "test/cat/30.png").unlink()
    draw(data / "test/cat/31.png", 5, shape=(30, 30))
    found = made.originals("test", data)
    assert found.paths == (tmp_path / "made/images/test/cat/30.png", data / "test/cat/31.png")
    gone, changed = capsys.readouterr().out.splitlines()
    assert f"1 of 2 originals are gone from {data}" in gone
    assert "1 of 2 photographs of test have changed since train.sh prepared them (test/cat/31.png): run" in changed


def test_a_table_from_before_the_sizes_can_be_read(data, tmp_path, capsys):
    prepare(data, tmp_path / "made")
    table = tmp_path / "made" / "images.csv"
    table.write_text("".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines()))
    draw(data / "test/cat/31.png", 5, shape=(30, 30))
    capsys.readouterr()
    read_prepared(tmp_path / "made").originals("test", data)
    assert "changed" not in capsys.readouterr().out


def test_classes_with_a_single_image_or_a_single_sender_are_named(data, tmp_path):
    assert "warning" not in prepare(data, tmp_path / "made")
    table = data / "images.csv"
    draw(data / "train/owl/50.jpg", 50)
    text = table.read_text().replace("dog,train,sender 1\n", "fox,train,sender 1\n")
    text = text.replace("cat,train,sender 1\n", "fox,train,sender 1\n")
    table.write_text(text + "train/owl/50.jpg,owl,train,sender 77\n")
    first, unjudged, untaught = prepare(data, tmp_path / "made").splitlines()
    assert "of 4 classes" in first
    assert (
        "2 of the classes have no image in the hold-out, so it cannot judge them (fox, owl): add images of" in unjudged
    )
    assert "2 of the classes are in one fold only" in untaught
    assert "(fox, owl)" in untaught


def test_the_datas_own_hold_out_is_kept(data, tmp_path):
    (data / "images.csv").unlink()
    (data / "val/cat").mkdir(parents=True)
    (data / "train/cat/1.jpg").rename(data / "val/cat/1.jpg")
    prepare(data, tmp_path / "made", group=None)
    made = read_prepared(tmp_path / "made")
    assert made.split("val").names == ("images/val/cat/1.jpg",)
    assert len(made.split("train")) == 29


def test_every_fault_comes_at_once_and_can_be_left_out(data, tmp_path):
    for name in ("train/cat/1.jpg", "train/dog/0.jpg"):
        (data / name).write_bytes(b"no image")
    with pytest.raises(NoseprintError, match="2 of 32 photographs cannot be used") as error:
        prepare(data, tmp_path / "made")
    assert "1.jpg" in str(error.value)
    assert "0.jpg" in str(error.value)
    assert not list((tmp_path / "made").iterdir())
    prepare(data, tmp_path / "made", skip_bad=True)
    assert len(read_prepared(tmp_path / "made").images) == 30
    assert (tmp_path / "made" / "skipped.csv").is_file()


def test_too_few_senders_are_refused(data, tmp_path):
    table = data / "images.csv"
    text = table.read_text()
    for number in range(4, 10):
        text = text.replace(f"sender {number}", "sender 0")
    table.write_text(text)
    with pytest.raises(NoseprintError, match="name another column of groups"):
        prepare(data, tmp_path / "made")


def test_a_table_that_was_changed_is_refused(data, tmp_path):
    prepare(data, tmp_path / "made")
    table = tmp_path / "made" / "images.csv"
    table.write_text(table.read_text().replace(",val,", ",train,"))
    with pytest.raises(DataError, match="prepare the data again"):
        read_prepared(tmp_path / "made")
