import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.cleaning.decisions import Decision, append, read_log
from noseprint.cli import main
from noseprint.data.csv_rows import read_rows
from noseprint.files import file_hash


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `noseprint labels ...` in a folder with data, three decisions of rules and a page's file."""
    monkeypatch.chdir(tmp_path)
    lines = []
    for name, shade in (("train/cat/0.jpg", 0), ("train/cat/1.jpg", 90), ("train/dog/2.jpg", 180), ("test/3.jpg", 9)):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((32, 32, 3), shade, np.uint8))
        label = path.parent.name
        given = {"image": name, "sha256": file_hash(path), "label": label, "rule": "top-5", "round": 1}
        lines.append(Decision(**given, decision="drop"))
    append(tmp_path / "log.jsonl", lines[:3])

    def labels_command(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["noseprint", "labels", *arguments])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        out, error = capsys.readouterr()
        assert code == status, out + error
        return out if status == 0 else error

    return labels_command


def page_file(**changes):
    content = {"image": "train/cat/0.jpg", "sha256": file_hash(Path("data/train/cat/0.jpg")), "label": "cat"}
    content |= {"rule": "sample", "decision": "keep", "when": "2026-01-01T00:00:00Z"} | changes
    Path("page.jsonl").write_text(json.dumps(content) + "\n")


LOG = ("--log", "log.jsonl")


def test_history_add_undo_and_export(run, tmp_path):
    page_file()
    assert "1 decision is added\nRandom sample: 0 of 1 labels are wrong, 0.0%" in run(
        "add", "page.jsonl", *LOG, "--who", "Ann"
    )
    lines = run("history", "train/cat/0.jpg", *LOG).splitlines()
    assert [line.split("  ")[2].strip() for line in lines] == ["outranked", "counts"]
    assert lines[1].endswith("Ann: keep: rule sample")
    message = run("undo", "--round", "1", *LOG, "--who", "Bo")
    undone = read_log(tmp_path / "log.jsonl")[-1]
    assert message.startswith("3 decisions are taken back.")
    assert undone.id in message
    assert run("undo", undone.id, *LOG, "--who", "Bo").startswith("3 decisions are restored.")
    said = run("export", "out/labels.csv", *LOG)
    assert said.startswith(
        "out/labels.csv: 1 training images, 0 of them with a new label; 2 left out, listed in out/dropped.csv"
    )
    assert list(read_rows(Path("out/labels.csv"), ("image", "label"), faults=[])) == [(2, ["train/cat/0.jpg", "cat"])]


def test_a_file_written_by_hand_needs_five_fields(run):
    required = ("image", "sha256", "label", "decision", "when")
    page_file()
    given = json.loads(Path("page.jsonl").read_text())
    for left_out in required:
        Path("page.jsonl").write_text(json.dumps({name: given[name] for name in required if name != left_out}))
        assert "page.jsonl, line 1: " in run("add", "page.jsonl", *LOG, "--who", "Ann", status=1)
    for name, value in (("who", "Bo"), ("mood", "good")):
        Path("page.jsonl").write_text(json.dumps(given | {name: value}))
        assert name in run("add", "page.jsonl", *LOG, "--who", "Ann", status=1)
    Path("page.jsonl").write_text(json.dumps({name: given[name] for name in required}))
    assert "1 decision is added" in run("add", "page.jsonl", *LOG, "--who", "Ann")


def test_export_says_which_decisions_are_not_applied(run):
    Path("data/train/cat/0.jpg").write_bytes(b"another")
    said = run("export", "labels.csv", *LOG)
    assert "0.jpg: is another file than the one that was decided about" in said
    assert "1 training images" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("undo", "f" * 16, "--round", "1", *LOG, "--who", "Bo"), "not both"),
        (("export", "data/labels.csv", *LOG), "would be read as the table of data"),
        (("history", "0.jpg", *LOG), "no decision about '0.jpg'"),
        (("history", "train/cat/0.jpg", "--log", "none"), "--log none: no such file"),
        (("undo", "f" * 16, *LOG, "--who", "Bo"), "has no line"),
        (("undo", *LOG, "--who", "Bo"), "must name what it takes back"),
        (("export", "dropped.csv", *LOG), "name another CSV file"),
        (("export", "-", *LOG), "name another CSV file"),
        (("export", "labels.txt", *LOG), "ends in .csv"),
        (("add", "none.jsonl", *LOG, "--who", "Bo"), "no such file"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(run, tmp_path, arguments, message):
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert message in run(*arguments, status=1)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_table_with_columns_of_other_names(run):
    Path("own.csv").write_text("what,who\ntrain/cat/0.jpg,lynx\ntrain/cat/1.jpg,lynx\ntrain/dog/2.jpg,dog\n")
    said = run("export", "out.csv", *LOG, "--table", "own.csv", "--image-column", "what", "--label-column", "who")
    assert "has the label 'lynx' now, and 'cat' was decided about" in said
    assert Path("out.csv").read_text() == "what,who\ntrain/cat/0.jpg,lynx\ntrain/cat/1.jpg,lynx\n"


def test_the_cleaned_table_keeps_the_columns_and_the_other_splits(run):
    Path("data/images.csv").write_text(
        "sender,image,label,split,note\nann,train/cat/0.jpg,cat,train,\nbo,train/cat/1.jpg,cat,train,dark\n"
        "bo,train/dog/2.jpg,dog,train,\nann,test/3.jpg,dog,test,\n"
    )
    page_file(decision="relabel", to="dog")
    run("add", "page.jsonl", *LOG, "--who", "Ann")
    (one,) = [line for line in read_log(Path("log.jsonl")) if line.image == "train/cat/1.jpg"]
    assert run("undo", one.id, *LOG, "--who", "Ann").startswith("1 decision is taken back.")
    run("export", "out.csv", *LOG)
    assert Path("out.csv").read_text() == (
        "sender,image,label,split,note\nann,train/cat/0.jpg,dog,train,\nbo,train/cat/1.jpg,cat,train,dark\n"
        "ann,test/3.jpg,dog,test,\n"
    )


def test_an_undo_says_what_is_taken_back_and_what_is_restored(run):
    first = run("undo", "--image", "train/cat/0.jpg", *LOG, "--who", "Bo")
    assert first.startswith("1 decision is taken back. To reverse that: noseprint labels undo ")
    undone = read_log(Path("log.jsonl"))[-1]
    other = read_log(Path("log.jsonl"))[1]
    both = run("undo", undone.id, other.id, *LOG, "--who", "Bo")
    assert both.startswith("1 decision is taken back. 1 decision is restored. To reverse that:")


def test_add_prints_every_fault(run):
    page_file(label="owl", sha256="0" * 64)
    error = run("add", "page.jsonl", *LOG, "--who", "Ann", status=1)
    assert "page.jsonl, line 1: 'train/cat/0.jpg' has the label 'cat' now, and on the page 'owl'" in error
    assert "page.jsonl, line 1: 'train/cat/0.jpg' is another file now than on the page" in error
    assert len(read_log(Path("log.jsonl"))) == 3
