"""Labels judged by the networks of folds: what their files must hold, and what follows from them over the rounds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noseprint.cleaning.fold_options import FoldOptions
from noseprint.cleaning.rounds import judge_networks
from noseprint.cleaning.trained_folds import (
    images_of_fold,
    read_trained_folds,
)
from noseprint.data.class_tables import ClassTable
from noseprint.data.holdout import assign_folds
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, write_outputs
from noseprint.inference.out_of_fold import FILE, table_hash

CLASSES = ("cat", "dog", "été")
FOLDS = 3


@pytest.fixture
def images():
    """30 images, of two photographers for each class."""
    labels = tuple(CLASSES[row % 3] for row in range(30))
    names = tuple(f"train/{label}/{row}.jpg" for row, label in enumerate(labels))
    groups = tuple(f"{label} {row % 2}" for row, label in enumerate(labels))
    return ClassTable(tuple(map(Path, names)), labels, ("train",) * 30, names, groups)


def logits_of(images, wrong=()):
    """Sure of the label of each image, but for the rows `wrong`, of the next class."""
    true = np.array([CLASSES.index(label) for label in images.labels])
    true[list(wrong)] += 1
    return (6 * np.eye(3)[true % 3] + np.arange(len(true))[:, None] / 100).astype(np.float32)


def write(results, images, logits, *, round=1, folds=FOLDS):
    numbers = assign_folds(images.labels, folds=folds, groups=images.groups)
    for fold in range(folds):
        rows = np.flatnonzero(numbers == fold)[::-1]  # in another order than that of the table
        names = tuple(images.names[row] for row in rows)
        outputs = ClassifierOutputs(
            names, logits[rows], np.zeros((len(rows), 2), np.float32), CLASSES, str(fold) * 16, table_hash(images)
        )
        folder = results / f"round{round}-fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        write_outputs(folder / FILE, outputs)


def test_probabilities_come_in_the_order_of_the_table(images, tmp_path):
    logits = logits_of(images)
    write(tmp_path, images, logits)
    found = read_trained_folds(images, results=tmp_path, folds=FOLDS)
    assert found.networks == tuple(
        str(fold) * 16 for fold in assign_folds(images.labels, folds=3, groups=images.groups)
    )
    said, sure = (each - each.mean(axis=1, keepdims=True) for each in (logits, np.log(found.probabilities[0])))
    np.testing.assert_allclose(sure / sure[0, 0], said / said[0, 0], rtol=1e-3)  # but for the temperature


def test_networks_that_are_less_sure_than_right_find_as_much(images, tmp_path):
    more = ([f"train/{label}/{row}.jpg" for row, label in enumerate(images.labels * 10)], images.labels * 10)
    images = ClassTable(tuple(map(Path, more[0])), more[1], ("train",) * 300, tuple(more[0]))
    labels = np.array([CLASSES.index(label) for label in images.labels])
    found = []
    for sureness in (1, 0.1):
        write(tmp_path, images, np.float32(sureness) * logits_of(images, wrong=(0, 4)))
        trained = read_trained_folds(images, results=tmp_path, folds=FOLDS)
        cleaning = judge_networks(trained.probabilities, labels, features=np.zeros((300, 2)), rule="noise-channel")
        found.append(np.flatnonzero(cleaning.suspect).tolist())
    assert found == [[0, 4], [0, 4]]


def fold_is_missing(results, images):
    (results / "round1-fold2" / FILE).unlink()
    return images


def another_label(results, images):
    return replace(images, labels=("dog", *images.labels[1:]))


def other_groups(results, images):
    return replace(images, groups=None)


def image_removed(results, images):
    return images.where(row > 0 for row in range(len(images)))


def fold_twice(results, images):
    (results / "round1-fold2" / FILE).write_bytes((results / "round1-fold1" / FILE).read_bytes())
    return images


def fold_of_other_folds(results, images):
    """As if a training had been given another number of folds."""
    write(results, images, logits_of(images), folds=FOLDS + 1)
    return images


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (fold_is_missing, "round1-fold2: not trained to the end"),
        (another_label, "round1-fold0 was trained for other images, labels or groups"),
        (other_groups, "round1-fold0 was trained for other images, labels or groups"),
        (image_removed, "round1-fold0 was trained for other images, labels or groups"),
        (fold_twice, "round1-fold0 to round1-fold2 do not hold each image once"),
        (fold_of_other_folds, "round1-fold0 to round1-fold2 do not hold each image once"),
    ],
)
def test_folds_that_do_not_fit_the_table_are_refused(images, tmp_path, change, problem):
    write(tmp_path, images, logits_of(images))
    changed = change(tmp_path, images)
    with pytest.raises(NoseprintError) as error:
        read_trained_folds(changed, results=tmp_path, folds=FOLDS)
    assert problem in str(error.value)
    assert "Run clean.sh with the same options and --only folds --force" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_label_is_suspect_since_the_first_round_without_a_break(images, tmp_path):
    write(tmp_path, images, logits_of(images, wrong=(0, 4)))
    write(tmp_path, images, logits_of(images, wrong=(4, 8)), round=2)
    labels = np.array([CLASSES.index(label) for label in images.labels])
    trained = read_trained_folds(images, results=tmp_path, folds=FOLDS, rounds=2)
    settings = {"features": np.zeros((30, 2)), "rule": "noise-channel"}
    first = judge_networks(trained.probabilities[:1], labels, **settings)
    assert np.flatnonzero(first.suspect).tolist() == [0, 4]
    both = judge_networks(trained.probabilities, labels, **settings)
    assert {row: int(both.since[row]) for row in np.flatnonzero(both.suspect).tolist()} == {4: 1, 8: 2}
    assert [(each.new, each.returned) for each in both.rounds] == [(2, 0), (1, 1)]
    kept = judge_networks(trained.probabilities, labels, certain=np.arange(30) == 4, **settings)
    assert np.flatnonzero(kept.suspect).tolist() == [8]


def test_a_fold_is_trained_on_the_others_and_later_without_what_was_suspect(images, tmp_path):
    write(tmp_path, images, logits_of(images, wrong=(0, 4)))
    seen = []
    for fold in range(FOLDS):
        options = FoldOptions(data=Path(), epochs=1, batch_size=8, lr=1e-3, folds=FOLDS, part=f"round1-fold{fold}")
        train, own = images_of_fold(images, options, results=tmp_path)
        assert sorted(train.names + own.names) == sorted(images.names)
        assert not set(train.groups) & set(own.groups)
        later, same = images_of_fold(images, replace(options, part=f"round2-fold{fold}"), results=tmp_path)
        assert set(train.names) - set(later.names) == {images.names[row] for row in (0, 4)} & set(train.names)
        assert same == own
        seen += own.names
    assert sorted(seen) == sorted(images.names)


@pytest.mark.parametrize("part", ["", "fold1", "round0-fold1", "round1-fold5", "round1-fold1/..", "round1-fold1\n"])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(NoseprintError, match=r"give round1-fold0 to round1-fold4"):
        FoldOptions(data=Path(), epochs=1, batch_size=8, lr=1e-3, part=part)
