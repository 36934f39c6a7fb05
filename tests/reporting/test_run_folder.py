"""Reading what a run left on disk; damaged files count as missing."""

import json
from pathlib import Path

import pytest

from noseprint.reporting.run_folder import read_pseudo_labels, read_trainings


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"refused": 3}', '{"refused": [{}]}', "[" * 100_000),
        *(f'{{"epoch": 1, "loss": {loss}}}' for loss in ("1e308", "-1e308", "NaN", "9" * 400, '"1"')),
    ],
)
def test_damaged_files_are_ignored(tmp_path, demo, content, make):
    names = (demo / "validation" / "valid_data.csv").read_text().splitlines()[1].split(",")
    make.pseudo_labels(tmp_path, names)
    assert read_pseudo_labels(tmp_path, demo)
    for name in ("pseudo.json", "metrics.jsonl", "best.safetensors"):
        (tmp_path / name).write_text(content)
    assert read_pseudo_labels(tmp_path, demo) is None
    assert read_trainings({"one": tmp_path}) == {}


def test_epochs_end_where_a_crash_cut_off_a_line(tmp_path):
    lines = ['{"epoch": 1, "loss": 2, "seconds": 3.5}', '{"epoch": 2, "loss": 1.5, "unknown": "x"}', '{"epoch": 3, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    (training,) = read_trainings({"one": tmp_path, "two": tmp_path / "missing"}).values()
    assert training.curve("loss") == ([1, 2], [2, 1.5])
    assert training.curve("seconds") == ([1], [3.5])
    assert training.seconds is None  # epoch 2 did not record it


def test_the_scores_before_training_are_a_point_of_their_curves_and_no_steps(tmp_path):
    lines = [
        '{"step": 0, "epoch": 0.0, "seconds": 1.5, "auc": 0.7, "map": 0.4}',
        '{"step": 64, "epoch": 0.8, "loss": 2, "images_per_s": 80.0, "seconds": 30, "auc": 0.8, "map": 0.5}',
        '{"step": 96, "epoch": 1.2, "loss": 1, "images_per_s": 90.0, "seconds": 16, "auc": 0.9, "map": 0.6}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    (training,) = read_trainings({"one": tmp_path}).values()
    assert training.curve("map") == ([0, 0.8, 1.2], [0.4, 0.5, 0.6])
    assert training.curve("loss") == ([0.8, 1.2], [2, 1])
    assert (training.steps, training.seconds, training.images_per_s) == (96, 47.5, 85)
    assert training.gain is None


def test_the_gain_is_that_of_the_header(make):
    gain = make.training(0.459, 0.834, (0.25, 0.49)).gain
    assert (gain.by, gain.size, gain.step) == ("mAP", "102 photographs of 13 identities", 128)
    assert (gain.before, gain.after, gain.margin) == pytest.approx((0.459, 0.834, 0.12))
    unknown = make.training(0.459, 0.834, (-1, 1)).gain
    assert (unknown.unknown, unknown.margin, unknown.may_be_chance) == (True, None, False)
    assert make.training(0.459, 0.459, (0, 0), step=0).gain.margin is None  # the start weights against themselves


@pytest.mark.parametrize(
    "changes",
    [
        *({"value": value} for value in (None, "0.1", 1.5, float("nan"), float("inf"), -0.9, 0.7)),
        *({"before": before} for before in (-0.1, 1.1, [0.4], True)),
        *({"low": 0.5}, {"high": 2}, {"step": -1}, {"step": 1.5}, {"step": 10**400}, {"by": 3}, {"size": "x" * 101}),
    ],
)
def test_impossible_gains_count_as_missing(changes, make):
    training = make.training()
    assert training.gain
    training.header.extra["gain"] = json.dumps(json.loads(training.header.extra["gain"]) | changes)
    assert training.gain is None
    assert "can tell" not in make.page(trainings={"one": training}).text


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", "[" * 100_000])
def test_damaged_gains_count_as_missing(text, make):
    training = make.training()
    training.header.extra["gain"] = text
    assert training.gain is None


def test_pseudo_labels_are_checked_against_labels_that_no_training_used(tmp_path, demo, make):
    data = tmp_path / "data"
    (data / "validation").mkdir(parents=True)
    (data / "validation" / "images").symlink_to(demo / "validation" / "images")
    a, b, c = sorted(path.name for path in (demo / "validation" / "images").iterdir())[:3]
    (data / "validation" / "valid_data.csv").write_text(f"imageA,imageB\n{a},{b}\n{b},{c}\n{b},{a}\n")
    (data / "validation" / "labels.csv").write_text(f"imageA,imageB,label\n{b},{a},1\n{b},{c},0\n")
    make.pseudo_labels(tmp_path, [a, b, c])
    labels = read_pseudo_labels(tmp_path, data)
    assert [(pair.image_a.name, pair.image_b.name) for pair in labels.accepted] == [(a, b), (b, c)]
    assert (labels.correct, labels.labelled) == (1, 2)
    images = Path(data / "validation" / "images")
    assert (labels.refused[0].image_a, labels.refused[0].image_b) == (images / a, images / b)
