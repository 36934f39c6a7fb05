"""The steps not-members, suspects and classes as they follow each other, on features that are made up."""

import contextlib
import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from noseprint.cleaning import decisions, find, label_files
from noseprint.cleaning.class_list import write_class_list
from noseprint.cleaning.decisions import Decision, append, file_hashes, read_log, replay, undo
from noseprint.cleaning.find import at_most, find_suspects, load_found, read_images
from noseprint.cleaning.not_members import take_not_members_out
from noseprint.cleaning.options import CleaningOptions
from noseprint.data.class_tables import ClassTable
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, empty_outputs

CLASSES = ("cat", "dog", "owl")
IMAGES, OTHERS = 90, 9


class Cleaning:
    """Images of three classes, which features tell apart. A fifth of the labels is wrong; the last are of no class."""

    def __init__(self, folder):
        random = np.random.default_rng(0)
        truth = np.arange(IMAGES) % 3
        self.wrong = np.arange(IMAGES) % 5 == 0
        given = np.where(self.wrong, (truth + 1) % 3, truth)
        labels = tuple(CLASSES[number] for number in given)
        names = tuple(f"train/{label}/{row:02}.jpg" for row, label in enumerate(labels))
        paths = tuple(folder / "data" / name for name in names)
        for row, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"image %d" % row)
        self.others = np.arange(IMAGES) >= IMAGES - OTHERS
        self.wrong &= ~self.others
        centre = np.where(self.others[:, None], -np.ones(8), 3 * np.eye(3, 8)[truth])
        features = (centre + random.normal(0, 0.25, (IMAGES, 8))).astype(np.float32)
        self.images = ClassTable(paths, labels, ("train",) * IMAGES, names)
        self.outputs = ClassifierOutputs(names, np.zeros((IMAGES, 3), np.float32), features, CLASSES, "0" * 16)
        examples = (-1 + random.normal(0, 0.25, (5, 8))).astype(np.float32)
        self.examples = replace(empty_outputs(self.outputs), names=tuple("abcde"), features=examples)
        self.folder, self.results, self.log = folder, folder / "results", folder / "results" / "decisions.jsonl"
        self.options = CleaningOptions(data=folder / "data", folds=3, rounds=2, remove="always")

    def take_out(self, examples=None, **options):
        take_not_members_out(
            self.images,
            self.outputs,
            examples or empty_outputs(self.outputs),
            options=replace(self.options, **options),
            log=self.log,
            out=self.folder / "not_members.csv",
        )

    def run(self, **options):
        options = replace(self.options, **options)
        return find_suspects(
            self.images, self.outputs, options=options, results=self.results, own=self.folder / "suspects"
        )

    def left_out(self):
        return ~np.array(replay(read_log(self.log), self.images).kept)

    def decide(self, row, decision, **fields):
        path = self.images.paths[row]
        line = Decision(
            image=self.images.names[row],
            sha256=file_hashes([path])[path],
            label=self.images.labels[row],
            decision=decision,
            who="Ann",
            **fields,
        )
        append(self.log, [line])

    def table(self, name):
        with (self.results / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def cleaning(tmp_path):
    return Cleaning(tmp_path)


def test_wrong_labels_are_listed_first_logged_and_left_out(cleaning, capsys):
    found = cleaning.run()
    rows = cleaning.table("suspects.csv")
    assert list(rows[0]) == ["image", "label", "proposal", "probability", "rank", "round", "reason"]
    assert sorted(row["image"] for row in rows) == sorted(cleaning.images.names)
    number = {name: row for row, name in enumerate(cleaning.images.names)}
    first = [number[row["image"]] for row in rows[: cleaning.wrong.sum()]]
    assert (cleaning.wrong | cleaning.others)[first].all()
    top = rows[0]
    truth = CLASSES[number[top["image"]] % 3]
    assert (top["proposal"], top["round"], top["reason"][: len(truth)]) == (truth, "1", truth)
    assert float(top["probability"]) < 0.05
    assert int(top["rank"]) > 1
    assert rows[-1]["reason"] == ""
    assert rows[-1]["round"] == "0"
    out = cleaning.left_out()
    assert np.array_equal(out, found.since > 0)
    kept = {row["image"]: row["label"] for row in cleaning.table("labels.csv")}
    given = zip(cleaning.images.names, cleaning.images.labels, out, strict=True)
    assert kept == {name: label for name, label, gone in given if not gone}
    assert {row["image"] for row in cleaning.table("dropped.csv")} == set(np.array(cleaning.images.names)[out])
    line = next(line for line in read_log(cleaning.log) if line.image == top["image"])
    assert (line.rule, line.threshold, line.decision, line.network) == ("noise-channel", 0.5, "drop", "0" * 16)
    assert line.fold == found.folds[number[line.image]]
    summary = (cleaning.results / "summary.txt").read_text()
    assert f"{out.sum()} of 90 labels are suspect, by the rule noise-channel." in summary
    assert f"labels.csv keeps {90 - out.sum()} images and leaves {out.sum()} out." in summary
    figures = json.loads((cleaning.results / "summary.json").read_text())
    assert (figures["suspect"], figures["judged"], figures["left_out"]) == (out.sum(), 90, out.sum())
    gain = [figures[name] for name in ("gain", "gain_low", "gain_high")]
    assert "{:+.1f} points [{:+.1f}, {:+.1f}]".format(*(100 * value for value in gain)) in summary
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Judging 90 labels of 3 classes by the rule noise-channel ..."
    assert said[1].startswith("fine, round 1: ")
    assert said[-1].startswith("Training without each of 3 folds")
    again = load_found(cleaning.folder / "suspects" / "out_of_fold.npz")
    assert again.rule == "noise-channel"
    assert np.array_equal(again.posterior, found.posterior)
    assert again.found_by.tolist() == found.found_by.tolist()


def test_never_leaves_all_in_and_takes_back_what_an_earlier_run_left_out(cleaning):
    cleaning.run()
    assert cleaning.left_out().any()
    cleaning.run(remove="never")
    assert not cleaning.left_out().any()
    assert "No image is left out" in (cleaning.results / "summary.txt").read_text()


def test_what_takes_long_has_a_bar_on_a_terminal_and_none_in_a_log(cleaning, capsys, monkeypatch):
    cleaning.run()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("NOSEPRINT_PROGRESS", "1")
    cleaning.run()
    bars = capsys.readouterr().err
    assert "settings:   0%|          | 0/10" in bars
    assert "does removal help:   0%|          | 0/3" in bars


def test_rounds_that_end_at_their_limit_are_named(cleaning):
    noise = np.random.default_rng(1).normal(0, 0.8, cleaning.outputs.features.shape).astype(np.float32)
    cleaning.outputs = replace(cleaning.outputs, features=cleaning.outputs.features + noise)
    said = {}
    for limit in (1, 2, 20):
        cleaning.run(rounds=limit)
        said[limit] = (cleaning.results / "summary.txt").read_text()
        with (cleaning.folder / "suspects/rounds.csv").open() as file:
            rounds = list(csv.DictReader(file))
        assert ((rounds[-1]["new"], rounds[-1]["returned"]) == ("0", "0")) == (limit == 20)
        assert json.loads((cleaning.results / "summary.json").read_text())["unsettled"] == ["fine"] * (limit == 2)
    assert "rounds, not at rest" not in said[1] + said[20]  # one round cannot show whether a second would change much
    assert "The fine step ended at its limit of 2 rounds, not at rest: in the last one " in said[2]


def test_the_guard_decides_by_default(cleaning):
    cleaning.run(remove="auto")
    summary = (cleaning.results / "summary.txt").read_text()
    assert ("Removal helps" in summary) == cleaning.left_out().any()


def test_the_last_run_counts_when_rules_change_and_change_back(cleaning):
    first = cleaning.run().since > 0
    second = cleaning.run(rule="margin", rounds=1).since > 0
    assert np.array_equal(cleaning.left_out(), second)
    assert not np.array_equal(first, second), "the rules agree: this test shows nothing"
    cleaning.run()
    assert np.array_equal(cleaning.left_out(), first)
    size = cleaning.log.stat().st_size
    cleaning.run()
    assert cleaning.log.stat().st_size == size


def test_what_a_person_took_back_stays_taken_back(cleaning):
    cleaning.run()
    name = next(line.image for line in read_log(cleaning.log))
    undo(cleaning.log, who="Ann", image=name)
    cleaning.run()
    assert name in {row["image"] for row in cleaning.table("labels.csv")}


def test_what_people_decided_counts(cleaning):
    wrong, right = np.flatnonzero(cleaning.wrong), np.flatnonzero(~cleaning.wrong)
    truth = CLASSES[wrong[1] % 3]
    cleaning.decide(wrong[0], "keep")
    cleaning.decide(wrong[1], "relabel", to=truth)
    cleaning.decide(right[0], "drop")
    found = cleaning.run()
    assert found.since[wrong[0]] == found.since[wrong[1]] == 0
    labels = {row["image"]: row["label"] for row in cleaning.table("labels.csv")}
    assert labels[cleaning.images.names[wrong[1]]] == truth
    assert cleaning.images.names[right[0]] not in labels
    reasons = {row["image"]: row["reason"] for row in cleaning.table("suspects.csv")}
    assert reasons[cleaning.images.names[right[0]]] == "a person took it out"
    assert "People have decided about 3 images" in (cleaning.results / "summary.txt").read_text()
    assert not [line for line in read_log(cleaning.log) if line.who == "rule" and line.image in
                {cleaning.images.names[row] for row in (wrong[0], wrong[1], right[0])}]  # fmt: skip


def test_decisions_about_images_that_changed_are_counted(cleaning):
    cleaning.decide(3, "keep")
    cleaning.decide(4, "keep")
    cleaning.images.paths[3].write_bytes(b"edited")
    cleaning.run()
    said = (cleaning.results / "summary.txt").read_text()
    assert "People have decided about 1 image;" in said
    assert "gone or has changed: 1. noseprint labels export lists them" in said


def test_pictures_of_no_class_are_out_of_the_training_and_on_the_list(cleaning, capsys):
    cleaning.take_out(cleaning.examples)
    said = capsys.readouterr().out
    assert "round 1: 6 more images are like the examples\nround 2: 3 more" in said
    assert "9 of 90 images are no member of any class, judged by 5 examples." in said
    assert np.array_equal(cleaning.left_out(), cleaning.others)
    (line, *_) = read_log(cleaning.log)
    assert (line.rule, line.decision, line.threshold, line.proposal) == (
        "not-members",
        "not a member",
        0.9,
        "not a member",
    )
    assert line.proposal_probability > 0.9
    found = cleaning.run()
    assert cleaning.left_out()[cleaning.others].all()
    assert "9 of 90 images are no member of any class." in (cleaning.results / "summary.txt").read_text()
    rows = cleaning.table("suspects.csv")
    assert sum(row["reason"] == "no member of any class, by the step not-members" for row in rows) == 9
    assert found.folds.min() >= 0
    assert {line.rule for line in read_log(cleaning.log) if line.image in np.array(cleaning.images.names)[-9:]} == {
        "not-members"
    }
    cleaning.take_out()
    assert "so none was looked for" in capsys.readouterr().out
    assert not cleaning.left_out()[cleaning.others].all()
    with (cleaning.folder / "not_members.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 90


def test_images_that_people_marked_are_examples(cleaning, capsys):
    for row in range(86, 90):
        cleaning.decide(row, "not a member")
    cleaning.take_out()
    assert "by 4 examples" in capsys.readouterr().out
    assert cleaning.left_out()[81:].all()


def test_at_most_a_share_of_a_class_is_left_out(cleaning):
    suspicion = np.arange(10.0)
    gone = np.arange(10) == 9
    labels = ["a"] * 5 + ["b"] * 5
    assert np.flatnonzero(at_most(~gone, suspicion, labels, most=0.4, gone=gone)).tolist() == [3, 4, 8]
    cleaning.run(most_of_class=0.1)
    names = np.array(cleaning.images.labels)
    out = cleaning.left_out()
    assert all(out[names == label].sum() == int(0.1 * (names == label).sum()) for label in CLASSES)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_at", range(12))
def test_killed_at_any_file_and_run_again_gives_the_same_log(cleaning, tmp_path, monkeypatch, killed_at):
    """Files are written aside and renamed, so all that a kill can change is which of them are there."""

    def all_steps(each):
        each.take_out(each.examples)
        found = each.run()
        write_class_list(each.results / "classes.csv", each.images, found, few=50, disorder=0.5)

    whole = Cleaning(tmp_path / "whole")
    all_steps(whole)
    count = 0

    def kill(original):
        def write(*args, **kwargs):
            nonlocal count
            count += 1
            if count == killed_at:
                raise KilledError
            return original(*args, **kwargs)

        return write

    with monkeypatch.context() as patch:
        for module, name in [(decisions, "atomic_write"), (find, "atomic_write"), (find, "write_csv")]:
            patch.setattr(module, name, kill(getattr(module, name)))
        patch.setattr(label_files, "write_csv", kill(label_files.write_csv))
        patch.setattr("noseprint.cleaning.class_list.write_csv", kill(label_files.write_csv))
        with contextlib.suppress(KilledError):
            all_steps(cleaning)
        assert count == (killed_at or 11)
    all_steps(cleaning)
    lines = [[replace(line, when="") for line in read_log(each.log)] for each in (whole, cleaning)]
    assert lines[0] == lines[1]
    for name in ("suspects.csv", "labels.csv", "classes.csv", "summary.txt", "summary.json"):
        assert (whole.results / name).read_bytes() == (cleaning.results / name).read_bytes()


def test_fewer_than_two_classes_left_is_one_message(cleaning):
    for row, label in enumerate(cleaning.images.labels):
        if label != "cat":
            cleaning.decide(row, "drop")
    with pytest.raises(NoseprintError, match="leaves fewer than two classes"):
        cleaning.run()


def test_features_of_other_images_are_refused(cleaning, monkeypatch):
    other = replace(cleaning.outputs, names=("train/cat/99.jpg", *cleaning.outputs.names[1:]))
    monkeypatch.setattr(find, "read_classes", lambda *_, **__: cleaning.images)
    monkeypatch.setattr(find, "read_outputs", lambda _: other)
    with pytest.raises(NoseprintError, match=r"run clean\.sh again with the same options"):
        read_images(cleaning.options, cleaning.folder / "features")
    some = SimpleNamespace(names=cleaning.outputs.names[1:])  # an image was left out with --skip-bad
    monkeypatch.setattr(find, "read_outputs", lambda _: some)
    images, _ = read_images(cleaning.options, cleaning.folder / "features")
    assert images.names == cleaning.outputs.names[1:]


def test_classes_to_look_at(cleaning):
    found = cleaning.run()
    labels = np.array(cleaning.images.labels)
    swapped = np.where((labels == "cat")[:, None], np.roll(found.probabilities, 1, axis=1), found.probabilities)
    path = cleaning.results / "classes.csv"
    assert write_class_list(path, cleaning.images, replace(found, probabilities=swapped), few=1, disorder=0.5) == 1
    (row,) = cleaning.table("classes.csv")
    assert (row["class"], row["images"], row["mistaken_for"]) == ("cat", str((labels == "cat").sum()), "dog")
    assert row["reason"] == "disorder"
    assert float(row["accuracy"]) < 0.5
    assert float(row["share_mistaken"]) > 0.5
    assert float(row["suspect"]) == pytest.approx((found.since[labels == "cat"] > 0).mean(), abs=1e-3)
    assert write_class_list(path, cleaning.images, found, few=50, disorder=0.0) == 3
    assert {row["reason"] for row in cleaning.table("classes.csv")} == {"few images"}
    write_class_list(path, cleaning.images, replace(found, probabilities=swapped), few=50, disorder=0.5)
    assert [row["reason"] for row in cleaning.table("classes.csv")] == ["few images; disorder", *["few images"] * 2]
    assert write_class_list(path, cleaning.images, found, few=1, disorder=0.0) == 0
