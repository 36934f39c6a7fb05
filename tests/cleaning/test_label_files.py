import json
from dataclasses import asdict

import pytest

from noseprint.cleaning.decisions import append, read_log, replay
from noseprint.cleaning.label_files import (
    Exported,
    add_decisions,
    cleaned_table,
    export_labels,
    training_images,
)
from noseprint.data.class_tables import read_classes
from noseprint.errors import DataError, NoseprintError


def page_line(images, row, decision="drop", **fields):
    """A line as a review page writes it."""
    content = asdict(images.line(row, decision, **{"when": "2026-11-26T12:00:00.123Z"} | fields))
    return {name: value for name, value in content.items() if name not in ("id", "who", "supersedes")}


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_decisions_of_a_page_are_added_once(tmp_path, images):
    log = tmp_path / "log.jsonl"
    file = write(
        tmp_path / "page.jsonl",
        [page_line(images, 0, "relabel", to="été", rank=3, probability=1), page_line(images, 2)],
    )
    new = add_decisions(log, file, images, who=" Ann ")
    assert [(line.image, line.decision, line.to, line.who, line.rank) for line in new] == [
        ("train/cat/0.jpg", "relabel", "été", "Ann", 3),
        ("train/dog/2.jpg", "drop", "", "Ann", None),
    ]
    assert add_decisions(log, file, images, who="Ann") == []
    assert len(read_log(log)) == 2
    done = replay(read_log(log), images)
    assert done.labels[0] == "été"
    assert not done.kept[2]


def test_all_faults_of_a_file_are_reported_at_once_and_nothing_is_written(tmp_path, images):
    lines = [page_line(images, row) for row in range(6)]
    lines[0]["image"] = "none.jpg"
    lines[1] = page_line(images, 1, "relabel", to="unicorn")
    lines[2]["sha256"] = "0" * 64
    lines[3]["label"] = "wolf"
    lines[4]["decision"] = "burn"
    more = [{"decision": "undo", "image": "x"}, ["no object"], page_line(images, 0) | {"who": "Bo"}]
    more += [{**page_line(images, 0), "when": ""}, {**page_line(images, 0), "extra": 1}]
    log, file = tmp_path / "log.jsonl", write(tmp_path / "page.jsonl", [*lines, *more])
    file.write_bytes(file.read_bytes() + b"\n{torn\n\xff\n")
    with pytest.raises(DataError) as error:
        add_decisions(log, file, images, who="Ann")
    found = {fault.line: fault.problem for fault in error.value.faults}
    expected = {
        1: "no image 'none.jpg'", 2: "no class 'unicorn'", 3: "another file now", 4: "has the label 'dog' now",
        5: "decision", 7: "exports no undo", 8: "not a JSON object", 9: "who is not a field", 10: "no time",
        11: "extra", 13: "is no decision", 14: "is no decision",
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for number, words in expected.items():
        assert words in found[number]
    assert not log.exists()


def test_a_missing_or_empty_file_and_an_impossible_name_are_refused(tmp_path, images):
    empty = write(tmp_path / "empty.jsonl", [])
    for file, who, message in (
        (tmp_path / "none.jsonl", "Ann", "no such file"),
        (empty, "Ann", "holds no decisions"),
        (empty, "rule", "--who 'rule'"),
        (empty, " ", "--who"),
    ):
        with pytest.raises(NoseprintError, match=message):
            add_decisions(tmp_path / "log.jsonl", file, images, who=who)
    file = write(tmp_path / "page.jsonl", [page_line(images, 0)])
    images.paths[0].unlink()
    with pytest.raises(DataError, match="cannot be read"):
        add_decisions(tmp_path / "log.jsonl", file, images, who="Ann")


def test_the_cleaned_table_and_why_rows_are_left_out(tmp_path, images):
    log, out = tmp_path / "log.jsonl", tmp_path / "out" / "labels.csv"
    (line, *_) = append(
        log,
        [
            images.line(0, rank=7, probability=0.01, proposal="dog, wet", proposal_probability=0.9),
            images.line(1, "relabel", to="dog"),
            images.line(4, "keep"),
            images.line(5, "not a member", who="Ann", rule="", round=None, when="2026-11-26T12:00:00Z"),
        ],
    )
    done = export_labels(out, images, replay(read_log(log), images))
    assert done == Exported(kept=4, relabelled=1, dropped=2)
    assert out.read_text(encoding="utf-8").splitlines() == [
        "image,label",
        "train/cat/1.jpg,dog",
        "train/dog/2.jpg,dog",
        "train/dog/3.jpg,dog",
        "train/été/4.jpg,été",
    ]
    first, *rows = (out.parent / "dropped.csv").read_text(encoding="utf-8").splitlines()
    assert first == "image,label,decision,reason,who,when,id"
    assert rows[0] == (
        'train/cat/0.jpg,cat,drop,"rule: drop: round 1, rule top-5, cat has rank 7, probability 0.010, dog, wet is '
        f'proposed, probability 0.900",rule,{line.when},{line.id}'
    )
    assert rows[1].startswith("train/été/5.jpg,été,not a member,Ann: not a member,Ann,2026-11-26T12:00:00Z,")


# -- the cleaned table of a folder -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rows = [("train/1.jpg", "cat", "pet", "train"), ("train/2.jpg", "dog", "pet", "train"),
            ("train/3.jpg", "wolf", "wild", "train"), ("4.jpg", "cat", "pet", "val"), ("5.jpg", "", "", "test"),
            ("6.jpg", "", "", "unlabelled")]  # fmt: skip
    for name, *_ in rows:
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    lines = ["image,label,kind,split", *map(",".join, rows)]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    return tmp_path


def labels(folder, text):
    path = folder / "cleaned.csv"
    path.write_text(f"image,label\n{text}")
    return path


def test_the_cleaned_table_keeps_and_relabels_training_images_only(folder):
    table = cleaned_table(folder, labels=labels(folder, "train/3.jpg,wolf\ntrain/1.jpg,wolf\n"))
    assert table.names == ("train/1.jpg", "train/3.jpg", "4.jpg", "5.jpg", "6.jpg")
    assert table.labels == ("wolf", "wolf", "cat", "", "")
    assert table.levels == {"kind": ("wild", "wild", "pet", "", "")}
    assert training_images(folder, labels=labels(folder, "train/1.jpg,wolf\n")).names == ("train/1.jpg", "4.jpg")


def test_without_a_cleaning_the_labels_are_those_of_the_data(folder):
    assert cleaned_table(folder, labels=None) == read_classes(folder)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("train/1.jpg,cat\ngone.jpg,cat\nalso.jpg,dog\n", "'gone.jpg' and 1 more"),
        ("4.jpg,cat\n", "'4.jpg' and 0 more"),
        ("train/1.jpg,lion\n", "'lion'"),
        ("train/1.jpg\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_labels_that_do_not_fit_the_data_are_refused_in_one_message(folder, text, named):
    with pytest.raises(NoseprintError, match=r"run clean\.sh again") as error:
        cleaned_table(folder, labels=labels(folder, text))
    assert named in str(error.value)
