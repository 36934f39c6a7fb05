"""The report of a run of classes, from the files of a run to the page as a parser sees it."""

import json
import re
from collections import Counter
from itertools import pairwise

import cv2
import numpy as np
import pytest

from noseprint.cleaning.decisions import Decision, append, read_log, replay
from noseprint.cleaning.find import SUSPECTS_HEADER
from noseprint.cleaning.label_files import export_labels
from noseprint.data.class_tables import read_classes
from noseprint.data.csv_rows import write_csv
from noseprint.errors import DataError, NoseprintError
from noseprint.files import file_hash
from noseprint.inference.classify import ClassifierOutputs, write_outputs
from noseprint.reporting.class_page import class_score_lines, class_scores_json, render_class_report
from noseprint.reporting.class_report_options import ReportOptions
from noseprint.reporting.class_run import read_class_run

CLASSES = ("cat", "dog & <b>fox</b>", "owl")
TRAIN, TEST = 8, 10  # images of each class
ONE, TWO = "b4", "b5"


def _write_images(root):
    lines = ["image,label,split,sender"]
    for split, number in (("train", TRAIN), ("test", TEST)):
        for row in range(number * len(CLASSES)):
            kind = row % len(CLASSES)
            name = f"{split}/{kind}/{row}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), np.full((30, 40, 3), 20 * kind + row, np.uint8))
            lines.append(f'{name},"{CLASSES[kind]}",{split},s{row % 7}')
    (root / "images.csv").write_text("\n".join(lines) + "\n")


def _outputs(images, wrong, *, sure):
    """Right answers, but for the rows `wrong`: the next class. Where two networks disagree, the surer one wins."""
    number = [CLASSES.index(label) for label in images.labels]
    answers = [(kind + (row in wrong)) % 3 for row, kind in enumerate(number)]
    logits = sure * np.eye(3, dtype=np.float32)[answers]
    return ClassifierOutputs(images.names, logits, np.zeros((len(images), 2), np.float32), CLASSES, "0" * 16)


def _write_run(family, data, *, holdout=True, test=True, cleaned=True):
    table = read_classes(data)
    train, tests = table.split("train"), table.split("test")
    for name, sure, rows in ((ONE, 3, [0, 1, 2, 3, 6]), (TWO, 2, [3, 4, 6, 9, 12, 15])):
        folder = family / name / "results" / "small"
        if holdout:
            write_outputs(folder / "holdout.safetensors", _outputs(train, rows, sure=sure))
        if test:
            write_outputs(folder / "test.safetensors", _outputs(tests, rows, sure=sure))
    results = family / "results" / "small"
    if test:
        given = dict(zip(tests.names, tests.labels, strict=True))
        given |= {tests.names[row]: CLASSES[1] for row in (3, 6)} | {tests.names[7]: CLASSES[2]}
        rows = [(name, label, 0.99 if name == tests.names[7] else 0.9) for name, label in given.items()]
        write_csv(results / "prediction.csv", ("image", "label", "probability"), rows)
    if cleaned:
        _write_cleaning(results, train)


def _write_cleaning(results, train):
    names = list(train.names)
    suspects = [names[2], names[0], names[4], names[5]]
    rows = [
        (name, train.labels[names.index(name)], CLASSES[1], f"{0.1 * (at + 1):.1f}", 2, 1, "dog is more likely")
        for at, name in enumerate(suspects)
    ]
    rows += [(n, lb, lb, "0.95", 1, 0, "") for n, lb in zip(names, train.labels, strict=True) if n not in suspects]
    write_csv(results / "suspects.csv", SUSPECTS_HEADER, rows)
    decisions = [("drop", "rule", ""), ("drop", "Ann", ""), ("relabel", "Ann", CLASSES[2]), ("keep", "Ann", "")]
    lines = []
    for name, (decision, who, to) in zip(suspects, decisions, strict=True):
        row = names.index(name)
        evidence = {"image": name, "sha256": file_hash(train.paths[row]), "label": train.labels[row]}
        lines.append(Decision(**evidence, decision=decision, who=who, to=to, rule="noise-channel"))
    append(results / "decisions.jsonl", lines)
    export_labels(results / "labels.csv", train, replay(read_log(results / "decisions.jsonl"), train))
    (results / "summary.txt").write_text("About 12.5% of the labels are wrong.\nRemoval helps: +2.0%.\n")
    write_csv(results / "classes.csv", ("class", "images", "reason"), [("owl", 8, "few images")])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    _write_images(root)
    return root


@pytest.fixture(scope="module")
def full(data, tmp_path_factory):
    family = tmp_path_factory.mktemp("family")
    _write_run(family, data)
    return read(family, data)


def read(family, data, **options):
    return read_class_run(ReportOptions(data=data, run="small", **{"members": "b4,b5"} | options), family=family)


def page_of(make, run):
    return make.parse(render_class_report(run))


def test_the_first_line_is_the_answer(full, make):
    text = page_of(make, full).text
    answer = full.evaluation.scores["answers"].top_1
    assert (
        "The ensemble (b4, b5) names the right class for 90.0% of 30 test images (95% interval "
        f"{100 * answer.low:.1f} to {100 * answer.high:.1f}%), among 3 classes."
    ) in text
    assert text.index("names the right class") < text.index("Mean per class")


def test_the_figures_are_those_of_the_files(full, make):
    scores = {name: of.top_1.value for name, of in full.evaluation.scores.items()}
    assert scores == pytest.approx({ONE: 25 / 30, TWO: 24 / 30, "ensemble": 25 / 30, "answers": 27 / 30})
    assert {name: gain.value for name, gain in full.evaluation.gains.items()} == pytest.approx({ONE: 1 / 30, TWO: 0})
    assert full.evaluation.over_mean.value == pytest.approx(2 / 30)
    text = page_of(make, full).text
    assert "The ensemble is no worse without b5." in text
    assert "On average it gives its answers a probability of 90.3%, and 90.0% of them are right." in text
    figures = class_scores_json(full)
    assert figures["scored"] == "test"
    assert figures["scores"]["answers"]["top_1"]["value"] == pytest.approx(0.9)
    assert not {"top_5", "log_loss"} & set(figures["scores"]["answers"])
    assert figures["confused"][0] == {"label": CLASSES[0], "answer": CLASSES[1], "images": 2, "share": 0.2}
    json.dumps(figures, allow_nan=False)
    lines = list(class_score_lines(full))
    assert lines[0] == "The test: 30 images of 3 classes"
    assert any(re.match(r"answers +0\.9000 \[.*\] +- ", line) for line in lines)


def test_errors_and_confused_classes_come_with_pictures_of_both_classes(full, make):
    page = page_of(make, full)
    pictures = [attributes["alt"] for attributes in page.all("img")]
    table = full.table
    assert pictures[:4] == [f"Photograph {row}.png" for row in (3, 6, 22, 19)]  # wrong ones; trusted ones of the answer
    assert table.labels[22] == table.labels[19] == CLASSES[1]
    assert f"{table.split('test').names[7]} Label: {CLASSES[1]} Answer: owl, 99.0%" in page.text
    assert page.text.index("99.0%") < page.text.index("Answer: dog")


def test_what_cleaning_changed_and_who_decided(full, make):
    text = page_of(make, full).text
    assert "4 of 24 training labels are suspect. 2 images are left out" in text
    assert "2 images are left out of the training (1 by rules, 1 by people)." in text
    assert "1 got another label (by people). People kept 1." in text
    assert "About 12.5% of the labels are wrong. Removal helps: +2.0%." in text
    assert "No person has looked at a random sample." in text
    for decided in ("Left out by rule noise-channel", "Left out by Ann", "Now owl, by Ann", "Kept by Ann"):
        assert decided in text
    assert "few images" in text
    assert full.evaluation.scores[ONE].by_frequency.keys() == {"few"}


def test_a_run_on_the_labels_as_given_says_so(full, data, tmp_path, make):
    _write_run(tmp_path, data)
    run = read(tmp_path, data, labels="given")
    assert len(run.training) == TRAIN * len(CLASSES) == len(full.training) + 2
    assert "trained on the labels as they were given (--labels given)" in page_of(make, run).text
    assert "--labels given)" not in page_of(make, full).text


def test_the_page_is_one_safe_file_that_says_nothing_about_this_machine(full, data, make):
    html = render_class_report(full)
    page = make.parse(html)
    assert render_class_report(full) == html
    assert page.all("script") == page.all("link") == page.all("b") == []
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(a.get("src", "data:").startswith("data:image/jpeg") for a in page.all("img"))
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert str(data.parent) not in html
    assert str(data.parent) not in json.dumps(class_scores_json(full))
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(len(a["aria-label"]) > 20 for a in page.all("svg"))


def test_intervals_are_by_group_where_groups_are_named(full, data, tmp_path, make):
    _write_run(tmp_path, data)
    run = read(tmp_path, data, group_column="sender")
    assert len(set(run.evaluation.groups)) == 7
    assert "from a bootstrap over 7 groups of images" in page_of(make, run).text
    assert run.evaluation.scores[ONE].top_1 != full.evaluation.scores[ONE].top_1


def test_a_run_without_anything_says_how_to_get_it(data, tmp_path, make):
    run = read(tmp_path, data)
    page = page_of(make, run)
    assert page.sections == ["cleaning", "classes"]
    for advice in ("train.sh trains the members", "clean.sh finds"):
        assert advice in page.text
    assert class_scores_json(run) == {"run": "small", "data": data.name, "members": ()}
    assert "train.sh" in next(class_score_lines(run))


def test_before_the_test_is_answered_the_holdout_is_scored(data, tmp_path, make):
    _write_run(tmp_path, data, test=False, cleaned=False)
    run = read(tmp_path, data)
    text = page_of(make, run).text
    assert run.scored == "hold-out"
    assert "for 79.2% of 24 images that were held out from the training" in text
    assert "The test images are not classified yet: run predict.sh." in text


def test_a_test_without_labels_is_described_by_the_holdout_and_the_probabilities(data, tmp_path, make):
    blind = tmp_path / "blind"
    _write_images(blind)
    for row, image in enumerate(sorted((blind / "test").rglob("*.png"))):
        image.rename(blind / "test" / f"{row}.png")
    for folder in range(len(CLASSES)):
        (blind / "test" / str(folder)).rmdir()
    table = (blind / "images.csv").read_text().splitlines()
    (blind / "images.csv").write_text("\n".join(line for line in table if not line.startswith("test/")) + "\n")
    _write_run(tmp_path, data)
    run = read(tmp_path, blind)
    text = page_of(make, run).text
    assert run.scored == "hold-out"
    assert "The test images have no labels" in text
    assert "prediction.csv answers 30 images without a known class." in text
    assert "about 90% of these answers are right" in text


def test_files_that_do_not_belong_together_are_refused(data, tmp_path):
    _write_run(tmp_path, data)
    results = tmp_path / "results" / "small"
    lines = (results / "prediction.csv").read_text().splitlines()
    (results / "prediction.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(NoseprintError, match=r"1 images, such as .*, have no answer: run predict.sh again"):
        read(tmp_path, data)
    (results / "prediction.csv").write_text("\n".join([lines[0], lines[1].replace("0.9", "1.9"), *lines[2:]]) + "\n")
    with pytest.raises(DataError, match=r"prediction.csv.*less than or equal to 1.*: run predict.sh again"):
        read(tmp_path, data)


def test_one_member_is_no_ensemble(data, tmp_path, make):
    _write_run(tmp_path, data)
    (tmp_path / "results" / "small" / "prediction.csv").unlink()
    run = read(tmp_path, data, members=ONE)
    assert list(run.evaluation.scores) == [ONE]
    page = page_of(make, run)
    assert "The network (b4) names the right class for 83.3% of 30 test images" in page.text
    assert "members" not in page.sections
