import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from noseprint.cleaning.decisions import (
    Decision,
    append,
    decided_by_people,
    describe,
    governing,
    history,
    read_log,
    replay,
    undo,
)
from noseprint.errors import DataError, NoseprintError


@pytest.fixture
def log(tmp_path):
    return tmp_path / "results" / "decisions.jsonl"


def state(log, images):
    """What is decided about each row, in short."""
    done = replay(read_log(log), images)
    return [label if kept else "-" for label, kept in zip(done.labels, done.kept, strict=True)]


GIVEN = ["cat", "cat", "dog", "dog", "été", "été"]


def test_without_a_log_the_table_stays_as_it_is(log, images):
    assert state(log, images) == GIVEN
    assert replay([], images).decisions == (None,) * 6


def test_each_decision_has_its_effect_and_the_line_says_all_that_is_known(log, images):
    line = images.line(
        0, "relabel", to="été", rank=7, probability=0.01234567, proposal="été", proposal_probability=1 / 3, fold=0,
        threshold=5, network="0123456789abcdef",
    )  # fmt: skip
    append(log, [line, images.line(1), images.line(2, "not a member"), images.line(3, "keep")])
    assert state(log, images) == ["été", "-", "-", "dog", "été", "été"]
    first = json.loads(log.read_text(encoding="utf-8").splitlines()[0])
    when = first.pop("when")
    assert when.endswith("+00:00")
    assert first == {
        "id": first["id"], "image": "train/cat/0.jpg", "sha256": line.sha256, "label": "cat", "rank": 7,
        "probability": 0.012346, "proposal": "été", "proposal_probability": 0.333333, "fold": 0, "round": 1,
        "rule": "top-5", "threshold": 5.0, "network": "0123456789abcdef", "decision": "relabel", "to": "été",
        "who": "rule",
    }  # fmt: skip
    assert read_log(log)[0] == replace(
        line, id=first["id"], when=when, probability=0.012346, proposal_probability=0.333333, threshold=5.0
    )


def test_a_person_outranks_every_later_rule_and_a_later_person_an_earlier_one(log, images):
    append(log, [images.line(0), images.line(1)])
    append(log, [images.line(0, "keep", who="Ann")])
    append(log, [images.line(0, round=2), images.line(1, "keep", round=2)])
    assert state(log, images)[:2] == ["cat", "cat"]
    append(log, [images.line(0, "relabel", to="dog", who="Bo")])
    assert state(log, images)[0] == "dog"
    lines = read_log(log)
    assert decided_by_people(lines) == {"train/cat/0.jpg"}
    assert [line.supersedes for line in lines] == [(), (), (lines[0].id,), (), (lines[1].id,), (lines[2].id,)]


def test_undo_by_id_image_round_and_rule(log, images):
    one, two = append(log, [images.line(0), images.line(1)])
    append(log, [images.line(2, round=2), images.line(3, round=2, rule="top-1"), images.line(3, who="Ann", round=2)])
    assert state(log, images) == ["-", "-", "-", "-", "été", "été"]
    undo(log, who="Bo", ids=[one.id])
    assert state(log, images)[:2] == ["cat", "-"]
    undo(log, who="Bo", image="train/cat/1.jpg")
    assert state(log, images)[:2] == ["cat", "cat"]
    undo(log, who="Bo", round=2)  # of rules only: what Ann decided stays
    assert state(log, images)[2:4] == ["dog", "-"]
    undo(log, who="Bo", image="train/dog/3.jpg")
    assert state(log, images) == GIVEN
    append(log, [images.line(4, round=3), images.line(5, round=3, rule="top-1")])
    undo(log, who="Bo", rule="top-5")
    assert state(log, images)[4:] == ["été", "-"]
    assert two.id in {line.id for line in read_log(log)}  # nothing is ever removed


def test_an_undo_can_be_undone_and_takes_back_only_what_is_before_it(log, images):
    append(log, [images.line(0)])
    first = undo(log, who="Ann", image="train/cat/0.jpg")
    again = undo(log, who="Ann", ids=[first.id])
    assert state(log, images)[0] == "-"
    undo(log, who="Ann", ids=[again.id])
    assert state(log, images)[0] == "cat"
    append(log, [images.line(0, "drop", who="Bo")])
    assert state(log, images)[0] == "-"


def test_an_undo_that_changes_nothing_is_refused(log, images):
    (line,) = append(log, [images.line(0)])
    undo(log, who="Ann", ids=[line.id])
    size = log.stat().st_size
    for what in ({"ids": [line.id]}, {"image": "train/cat/1.jpg"}, {"round": 7}, {"rule": "top-1"}):
        with pytest.raises(NoseprintError, match="nothing of the kind"):
            undo(log, who="Ann", **what)
    with pytest.raises(NoseprintError, match="has no line ffffffffffffffff"):
        undo(log, who="Ann", ids=["f" * 16])
    with pytest.raises(NoseprintError, match="only a person undoes"):
        undo(log, who="rule", image="train/cat/0.jpg")
    with pytest.raises(NoseprintError, match="must name what it takes back"):
        undo(log, who="Ann")
    assert log.stat().st_size == size


def test_a_rule_that_runs_twice_appends_nothing_new_even_after_an_undo(log, images):
    lines = [images.line(row) for row in range(3)]
    assert len(append(log, lines)) == 3
    before = log.read_bytes()
    assert append(log, lines) == []
    assert log.read_bytes() == before
    undo(log, who="Ann", round=1)
    assert append(log, lines) == []
    assert state(log, images) == GIVEN


def test_a_person_may_decide_the_same_again_after_an_undo(log, images):
    keep = images.line(0, who="Ann", when="2026-01-01T00:00:00Z")
    assert len(append(log, [keep, keep])) == 1
    undo(log, who="Ann", image=keep.image)
    assert append(log, [keep]) == []  # the same file, added again
    assert len(append(log, [replace(keep, when="2026-01-02T00:00:00.123Z")])) == 1
    assert state(log, images)[0] == "-"
    assert append(log, [replace(keep, when="2026-01-03T00:00:00Z")]) == []  # it counts already


def test_interrupted_and_resumed_gives_the_lines_of_an_uninterrupted_run(tmp_path, images):
    rounds = [[images.line(row, round=at, rank=row + 1) for row in range(6) if row % at == 0] for at in (1, 2, 3)]
    rounds[1][0] = replace(rounds[1][0], decision="keep")
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    for lines in rounds:
        append(whole, lines)
    append(killed, rounds[0])
    append(killed, rounds[1][:2])
    with killed.open("ab") as file:
        file.write(b'{"id": "0123')  # killed while writing
    for lines in rounds:
        append(killed, lines)
    without_times = [[replace(line, when="") for line in read_log(path)] for path in (whole, killed)]
    assert without_times[0] == without_times[1]
    assert whole.read_bytes().count(b"\n") == killed.read_bytes().count(b"\n") == 11


def test_a_torn_last_line_is_dropped_with_a_message_and_a_whole_one_without_its_end_is_kept(log, images, capsys):
    append(log, [images.line(0), images.line(1)])
    whole = log.read_bytes()
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1):
        log.write_bytes(whole[:cut])
        assert len(read_log(log)) == 1
        assert f"{log}: the last line is not complete" in capsys.readouterr().err
    log.write_bytes(whole[:-1])
    assert len(read_log(log)) == 2
    append(log, [images.line(2)])
    assert log.read_bytes().startswith(whole)
    assert capsys.readouterr().err == ""


def test_every_line_that_was_damaged_or_changed_is_a_fault(log, images):
    append(log, [images.line(row) for row in range(4)])
    lines = log.read_text(encoding="utf-8").splitlines()
    lines[0] = lines[0][:30]
    lines[2] = lines[2].replace('"drop"', '"keep"')
    lines[3] = lines[3].replace('"round": 1', '"round": "1"')
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_log(log)
    assert [(fault.file, fault.line) for fault in error.value.faults] == [(log, 1), (log, 3), (log, 4)]
    assert "changed by hand" in error.value.faults[1].problem
    before = log.read_bytes()
    with pytest.raises(DataError):
        append(log, [images.line(0)])
    assert log.read_bytes() == before


def test_a_decision_about_another_file_label_or_image_is_not_applied_but_reported(log, images):
    append(log, [images.line(row) for row in range(5)])
    images.paths[0].write_bytes(b"another photograph")
    images.paths[1].unlink()
    labels = ("cat", "cat", "wolf", *images.labels[3:])
    changed = replace(images, labels=labels, names=(*images.names[:3], "moved.jpg", *images.names[4:]))
    done = replay(read_log(log), changed)
    assert done.labels == labels
    assert done.kept == (True, True, True, True, False, True)
    problems = {fault.file.name: fault.problem for fault in done.not_applied}
    assert problems.keys() == {"0.jpg", "1.jpg", "2.jpg", "3.jpg"}
    assert "another file" in problems["0.jpg"]
    assert "cannot be read" in problems["1.jpg"]
    assert "has the label 'wolf' now, and 'dog' was decided about" in problems["2.jpg"]
    assert "not in the table" in problems["3.jpg"]


def test_a_decision_about_the_file_as_it_is_now_counts_whatever_was_decided_before(log, images):
    append(log, [images.line(0, who="Ann")])
    images.paths[0].write_bytes(b"a better photograph")
    append(log, [images.line(0, "relabel", to="dog")])  # of a rule: Ann saw another file
    done = replay(read_log(log), images)
    assert (done.labels[0], done.kept[0], done.not_applied) == ("dog", True, ())


def test_one_picture_that_a_table_lists_under_two_labels_has_a_decision_for_each(log, images):
    twice = replace(images, paths=images.paths[:1] * 2, names=images.names[:1] * 2, labels=("cat", "dog"))
    append(log, [twice.line(1)])
    assert replay(read_log(log), twice).kept == (True, False)


def test_the_history_of_an_image_says_which_line_counts(log, images):
    (rule,) = append(log, [images.line(0, rank=7, probability=0.01, proposal="dog", proposal_probability=0.9)])
    (ann,) = append(log, [images.line(0, "keep", who="Ann", rule="", round=None), images.line(1)][:1])
    taken = undo(log, who="Bo", ids=[ann.id])
    append(log, [images.line(1)])
    found = [(line.id, said) for line, said in history(read_log(log), "train/cat/0.jpg")]
    assert found == [(rule.id, "counts"), (ann.id, "taken back"), (taken.id, "counts")]
    undo(log, who="Bo", ids=[taken.id])
    states = [said for _, said in history(read_log(log), "train/cat/0.jpg")]
    assert states == ["outranked", "counts", "taken back", "counts"]
    assert describe(rule) == (
        "rule: drop: round 1, rule top-5, cat has rank 7, probability 0.010, dog is proposed, probability 0.900"
    )
    assert describe(ann) == "Ann: keep"
    assert describe(taken) == f"Bo: undo line {ann.id}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"probability": 1.5}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"network": "a\nb"}, "network"),
        ({"who": ""}, "who"),
        ({"when": "yesterday"}, "when"),
        ({"image": "\udcff.jpg"}, "image"),
    ],
)
def test_an_impossible_decision_is_refused_and_nothing_is_written(log, images, fields, message):
    with pytest.raises(NoseprintError, match=message):
        append(log, [images.line(0), replace(images.line(1), **fields)])
    assert not log.exists()


def test_a_decision_without_what_it_needs_is_refused(images):
    for fields in ({"decision": "relabel"}, {"decision": "drop", "to": "cat"}, {"decision": "keep", "label": ""}):
        with pytest.raises(ValueError, match=r"relabel needs|needs the image"):
            replace(images.line(0), **fields)


def test_replay_agrees_with_a_plain_reading_of_the_rules(log, images):
    """Random logs: what counts, from the last line to the first, with a loop over every later undo."""
    draw = random.Random(0)
    for _ in range(30):
        log.unlink(missing_ok=True)
        for step in range(25):
            lines = read_log(log)
            if lines and draw.random() < 0.4:
                some = draw.choice(lines)
                what = draw.choice(
                    [{"ids": [some.id]}, {"image": draw.choice(images.names)}, {"round": draw.randrange(3)}]
                )
                try:
                    undo(log, who="Ann", **what)
                except NoseprintError:
                    continue
            else:
                kind, who = draw.choice(["keep", "drop", "not a member"]), draw.choice(["rule", "rule", "Ann", "Bo"])
                when = f"2026-01-01T00:00:{step:02d}Z"
                append(log, [images.line(draw.randrange(6), kind, who=who, round=draw.randrange(3), when=when)])
        lines = read_log(log)

        def counts(at, lines=lines):
            return not any(names(later, lines[at]) and counts(n) for n, later in enumerate(lines) if n > at)

        def names(undone, line):
            if undone.decision != "undo":
                return False
            if undone.supersedes:
                return line.id in undone.supersedes
            if line.decision == "undo":
                return False
            return line.image == undone.image or (line.who == "rule" and line.round == undone.round)

        for name in images.names:
            about = [
                line for at, line in enumerate(lines) if line.image == name and line.decision != "undo" and counts(at)
            ]
            expected = ([line for line in about if line.who != "rule"] or about or [None])[-1]
            found = [line for (image, *_), line in governing(lines).items() if image == name]
            assert found == ([expected] if expected else [])


APPEND = """
import sys
from pathlib import Path
from noseprint.cleaning.decisions import Decision, append
for n in range(5):
    append(Path(sys.argv[1]), [Decision(image=f"{sys.argv[2]} {n}", sha256="0" * 64, label="x", decision="keep")])
"""


def test_two_processes_that_append_at_once_lose_nothing(log):
    started = [subprocess.Popen([sys.executable, "-c", APPEND, log, name], env=os.environ) for name in ("a", "b")]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    assert sorted(line.image for line in read_log(log)) == sorted(f"{name} {n}" for name in "ab" for n in range(5))


def test_a_killed_writer_leaves_the_old_log(log, images, monkeypatch):
    append(log, [images.line(0)])
    before = log.read_bytes()
    monkeypatch.setattr("noseprint.cleaning.decisions._to_bytes", lambda line: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        append(log, [images.line(1)])
    assert log.read_bytes() == before
    assert isinstance(read_log(log)[0], Decision)


def test_what_a_person_took_back_stays_so_though_the_rule_finds_other_figures(log, images):
    append(log, [images.line(0, probability=0.1)])
    undo(log, who="Ann", image=images.names[0])
    assert append(log, [images.line(0, probability=0.2, round=2)]) == []
    assert state(log, images) == GIVEN
    assert len(append(log, [images.line(0, rule="other", probability=0.2)])) == 1


def test_a_new_label_that_is_no_class_any_more_is_not_applied(log, images):
    append(log, [images.line(0, "relabel", to="owl", who="Ann", rule="")])
    done = replay(read_log(log), images)
    assert done.labels == tuple(GIVEN)
    assert done.decisions == (None,) * 6
    (fault,) = done.not_applied
    assert "there is no class 'owl' now" in fault.problem
