"""The report of an embedding for many domains, from the files of a run to the page."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.data.csv_rows import write_csv
from noseprint.data.instances import InstanceTable
from noseprint.errors import DataError, NoseprintError
from noseprint.inference.embedding_results import SCORES_HEADER
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.reporting.instance_page import InstanceRun, read_instance_run, render_instance_report

STEPS = {"frozen a: PCA": (0.6, 0.7), "trained a: head & <b>more</b>": (0.8, 0.75)}
"""Candidate -> its scores on the hold-out and in the test."""
MEAN = "mean of domains"
EACH = 4


@pytest.fixture
def table(tmp_path) -> InstanceTable:
    """Six things of two domains in the test, and one that is held out; the first image of each is a query."""
    rows = []
    for number in range(7):
        for shot in range(EACH):
            name = f"{number}-{shot}.png"
            cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), 30 * number + shot, np.uint8))
            part, role = ("test", "index" if shot else "query") if number < 6 else ("val", "both")
            rows.append((tmp_path / name, f"thing<{number}>", "toys" if number % 2 else "art", part, role, name))
    return InstanceTable(*(tuple(column) for column in zip(*rows, strict=True)))


def embeddings(table: InstanceTable, *, wrong: tuple[int, ...] = ()) -> GalleryEmbeddings:
    """Each thing has a direction of its own; the queries of some look like the next thing."""
    own = [int(name[0]) for name in table.names]
    rows = np.eye(8, dtype=np.float32)[own]
    for row, name in enumerate(table.names):
        if int(name[0]) in wrong and name.endswith("-0.png"):
            rows[row] = np.eye(8)[(own[row] + 1) % 7]
    return GalleryEmbeddings(rows, table.names, (), "")


def write_run(results: Path, *, on_test: bool = True, warnings: tuple[str, ...] = ()) -> None:
    rows = [
        (step, domain, metric, value, value - 0.1, value + 0.1)
        for step, (held_out, score) in STEPS.items()
        for domain in ("art", "toys", MEAN)
        for metric, value in (("mP@5", score), ("mAP", score), ("held-out mAP", held_out))
    ]
    results.mkdir()
    write_csv(results / "scores.csv", SCORES_HEADER, rows)
    frozen, taken = STEPS
    about = {"taken": taken, "frozen": frozen, "on_test": on_test, "warnings": list(warnings)}
    (results / "choice.json").write_text(json.dumps(about))


def read(results: Path, table: InstanceTable, **more) -> InstanceRun:
    return read_instance_run(results, table, embeddings(table, **more), run="small", data="mine")


def test_candidates_come_best_first(tmp_path, table):
    write_run(tmp_path / "run")
    found = read(tmp_path / "run", table)
    assert list(found.steps) == list(STEPS)[::-1]
    assert found.steps[found.taken]["mAP"]["toys"].value == 0.75
    assert (found.frozen, found.dim, found.on_test) == ("frozen a: PCA", 8, True)


def test_the_worst_searches_of_each_domain_are_shown(tmp_path, table):
    write_run(tmp_path / "run")
    found = read(tmp_path / "run", table, wrong=(2, 5))
    assert [one.domain for one in found.searches] == ["art"] * 3 + ["toys"] * 3
    assert [found.searches[at].identity for at in (0, 3)] == ["thing<2>", "thing<5>"]
    worst = found.searches[0]
    assert worst.query == table.paths[2 * EACH]
    assert [identity for _, identity, _ in worst.found[:3]] == ["thing<3>"] * 3
    assert not any(right for *_, right in worst.found[:3])
    for search in found.searches:
        assert search.query not in [path for path, *_ in search.found]
        assert all(right == (identity == search.identity) for _, identity, right in search.found)


def test_without_a_test_the_searches_are_of_the_hold_out(tmp_path, table):
    write_run(tmp_path / "run", on_test=False)
    found = read(tmp_path / "run", table)
    assert {one.identity for one in found.searches} == {"thing<6>"}


def test_the_page_says_what_was_taken_and_where_it_lost(tmp_path, table):
    write_run(tmp_path / "run", warnings=("warning: mAP is lower in <art>",))
    run = read(tmp_path / "run", table, wrong=(2,))
    page = render_instance_report(run)
    assert page == render_instance_report(run)
    assert "trained a: head &amp; &lt;b&gt;more&lt;/b&gt;" in page
    assert "lower in &lt;art&gt;" in page
    assert not re.search(r"<b>more|thing<\d", page)
    for text in ("frozen a: PCA", "0.75", "0.80", "thing&lt;2&gt;", "mine"):
        assert text in page, text
    assert page.count("data:image/") >= len(run.searches)


def test_photographs_that_are_gone_leave_a_page(tmp_path, table):
    write_run(tmp_path / "run")
    for path in table.paths:
        path.unlink()
    assert "thing&lt;2&gt;" in render_instance_report(read(tmp_path / "run", table))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("choice.json", lambda text: text[:20], r"choice\.json: cannot be read .*: run train\.sh again"),
        ("choice.json", lambda text: "[]", r"choice\.json: cannot be read"),
        ("choice.json", lambda text: text.replace("frozen a", "other"), r"choice\.json: cannot be read .*other: PCA"),
        ("choice.json", lambda text: text.replace("[]", "null"), r"choice\.json: cannot be read"),
        ("scores.csv", lambda text: text.replace("0.75", "good"), r"scores\.csv: is damaged .*good.*: run train\.sh"),
        ("scores.csv", lambda text: text.replace("held-out mAP", "mAP"), r"scores\.csv: is damaged"),
        ("scores.csv", lambda text: text.replace(",mP@5,", ",other,"), r"choice\.json: cannot be read"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, table, name, change, message):
    write_run(tmp_path / "run")
    file = tmp_path / "run" / name
    file.write_text(change(file.read_text()))
    with pytest.raises(NoseprintError, match=message):
        read(tmp_path / "run", table)


def test_missing_files_are_refused_by_name(tmp_path, table):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "choice.json").unlink()
    with pytest.raises(NoseprintError, match=r"choice\.json"):
        read(tmp_path / "run", table)
    (tmp_path / "run" / "scores.csv").write_text("hello\n")
    with pytest.raises(DataError):
        read(tmp_path / "run", table)
