"""Reading what a run left on disk; damaged files count as missing."""

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
