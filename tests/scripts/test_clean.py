"""clean.sh with scripts that only pretend: which steps run again after which change, and what it says at the end."""

import json
import shutil
from typing import get_args

import pytest

from noseprint.cleaning.options import RuleName

from .conftest import ROOT, Checkout

STUB = """
import json, sys, time
from pathlib import Path
script, args = Path(__file__).resolve(), sys.argv[1:]
run = args[args.index("--run") + 1] if "--run" in args else "small" if "--small" in args else ""
name = f"{script.parent.name}/{script.name}"
with (script.parents[1] / "calls.jsonl").open("a") as file:
    file.write(json.dumps({"script": name, "args": args}) + "\\n")
made = {
    "features/infer.py": "features.safetensors", "features/examples.py": "examples.safetensors",
    "not_members/find.py": "not_members.csv", "suspects/find.py": "out_of_fold.npz", "classes/list.py": "classes.csv",
    "review/make.py": "review.html",
}[name]
results = script.parents[1] / "results" / run
results.mkdir(parents=True, exist_ok=True)
folder = results if made in ("classes.csv", "review.html") else script.parent / "results" / run
(folder / made).write_text(f"made {time.time_ns()}")
if name == "suspects/find.py":
    (results / "summary.txt").write_text("7 of 99 labels are suspect\\n")
    with (results / "decisions.jsonl").open("a") as file:
        file.write('{"image": "a", "decision": "drop", "who": "rule"}\\n')
if name == "classes/list.py":
    (results / "classes.csv").write_text("class\\ncat\\n")
"""
STEPS = [
    "features/infer.py", "features/examples.py", "not_members/find.py", "suspects/find.py", "classes/list.py",
    "review/make.py",
]  # fmt: skip
WITHOUT_EXAMPLES = [STEPS[0], *STEPS[3:]]


@pytest.fixture
def family(bare):
    root = bare.root / "recipes" / "web_finegrained"
    for step in STEPS:
        (root / step).parent.mkdir(parents=True, exist_ok=True)
        (root / step).write_text(STUB)
    for name in ("clean.sh", "options.sh"):
        shutil.copy(ROOT / "recipes/web_finegrained" / name, root)
    (root / "data/train/a class").mkdir(parents=True)
    (root / "data/train/a class/1.jpg").write_bytes(b"pixels")
    (root / "no").mkdir()
    (root / "no/1.jpg").write_bytes(b"pixels")
    return Checkout(root, bare.environment)


def test_all_steps_run_once_and_the_end_says_what_comes_next(family):
    out = family.ok("clean.sh", "--small")
    assert family.called() == WITHOUT_EXAMPLES
    assert "== 4 of 4, review/make.py: runs" in out
    assert "7 of 99 labels are suspect" in out
    assert "Classes with few images or in disorder: 1, listed in" in out
    log = "decisions.jsonl --data "
    assert "noseprint labels add review-decisions.jsonl --who NAME" in out
    assert log in out
    assert "Next:  bash recipes/web_finegrained/train.sh --small --data" in out
    again = family.ok("clean.sh", "--small")
    assert family.called() == []
    assert "7 of 99 labels are suspect" in again
    assert "leave nothing to run" in family.fails("clean.sh", "--small", "--only", "not_members", status=2)


def test_a_page_or_a_list_that_was_deleted_is_made_again(family):
    family.ok("clean.sh", "--small")
    family.calls()
    for name in ("review.html", "classes.csv"):
        (family.root / "results/small" / name).unlink()
    family.ok("clean.sh", "--small")
    assert family.called() == ["classes/list.py", "review/make.py"]


def test_a_step_runs_again_only_for_the_options_it_depends_on(family):
    family.ok("clean.sh", "--small")
    family.calls()
    family.ok("clean.sh", "--small", "--rule", "top-k")
    calls = family.calls()
    assert [call["script"] for call in calls] == STEPS[3:]
    assert all("--rule" in call["args"] for call in calls)
    family.ok("clean.sh", "--small", "--rule", "top-k", "--not-members", "no")
    calls = family.calls()
    assert [call["script"] for call in calls] == STEPS[1:]
    assert str(family.root / "no") in calls[0]["args"]
    family.ok("clean.sh", "--small", "--rule", "top-k", "--not-members", "no", "--group-column", "sender")
    calls = family.calls()
    assert [call["script"] for call in calls] == STEPS
    assert all("--group-column" in call["args"] for call in calls)
    assert ["--rule" in call["args"] for call in calls] == [False, False, True, True, True, True]


def test_what_people_decide_makes_the_steps_run_again_and_what_rules_decide_does_not(family):
    family.ok("clean.sh", "--small")
    family.calls()
    log = family.root / "results/small/decisions.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"image": "b", "decision": "keep", "who": "Ann"}) + "\n")
    family.ok("clean.sh", "--small")
    assert family.called() == STEPS[3:]
    family.ok("clean.sh", "--small")
    assert family.called() == []


@pytest.mark.parametrize(
    "line",
    [
        {"image": "b", "decision": "not a member", "who": "Ann"},
        {
            "image": "b",
            "decision": "not a member",
            "who": "rule",
            "rule": "not-members",
        },  # of earlier examples: taken back
    ],
)
def test_pictures_of_no_class_are_looked_for_once_the_log_has_some(family, line):
    family.ok("clean.sh", "--small")
    family.calls()
    log = family.root / "results/small/decisions.jsonl"
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
    family.ok("clean.sh", "--small")
    assert family.called() == STEPS[1:]


def test_results_of_another_data_folder_are_told(family):
    assert "Caution" not in family.ok("clean.sh", "--small")
    assert "Caution" not in family.ok("clean.sh", "--small")
    shutil.copytree(family.root / "data", family.root / "other")
    out = family.ok("clean.sh", "--small", "--data", family.root / "other")
    assert f"holds results for {family.root / 'data'}. Decisions" in out
    assert "Caution" not in family.ok("clean.sh", "--small", "--data", family.root / "other")


def test_nothing_changes_in_a_dry_run(family):
    before = family.files()
    out = family.ok("clean.sh", "--small", "--dry-run")
    assert [step for step in STEPS if step in out] == WITHOUT_EXAMPLES
    assert [step for step in STEPS if step in family.ok("clean.sh", "--dry-run", "--not-members", "no")] == STEPS
    assert family.files() == before


def test_the_folder_of_the_training_images_may_have_another_name(family):
    (family.root / "data/train").rename(family.root / "data/Training")
    (family.root / "data/valid/a class").mkdir(parents=True)
    family.ok("clean.sh", "--small")
    family.calls()
    (family.root / "data/valid/a class/2.jpg").write_bytes(b"not cleaned")
    family.ok("clean.sh", "--small")
    assert family.called() == []
    (family.root / "data/Training/a class/2.jpg").write_bytes(b"more pixels")
    family.ok("clean.sh", "--small")
    assert family.called() == WITHOUT_EXAMPLES


@pytest.mark.parametrize("folder", ["train", "valid", "testing"])
def test_the_training_of_members_depends_on_the_folders_that_it_reads(family, folder):
    shutil.copy(ROOT / "recipes/web_finegrained/train.sh", family.root)
    data = family.root / "data"
    for name in ("valid", "testing"):
        shutil.copytree(data / "train", data / name)
    made = {"train.py": "best.safetensors", "infer.py": "holdout.safetensors"}
    for script, result in ((f"b4/{name}", result) for name, result in made.items()):
        (family.root / "b4").mkdir(exist_ok=True)
        stub = STUB.replace('"features/infer.py": "features.safetensors",', f'"{script}": "{result}",')
        (family.root / script).write_text(stub)
    command = ("train.sh", "--small", "--only", "b4")
    family.ok(*command)
    assert family.called() == ["b4/train.py", "b4/infer.py"]
    (data / folder / "a class/2.jpg").write_bytes(b"more pixels")
    family.ok(*command)
    assert family.called() == ["b4/train.py", "b4/infer.py"][folder == "testing" :]


def test_values_that_cannot_work_are_refused_before_anything_runs(family):
    (family.root / "empty").mkdir()
    for folder in ("empty", "missing"):
        error = family.fails("clean.sh", "--small", "--not-members", folder, status=2)
        assert f"--not-members {family.root}/{folder}: name a folder with photographs in it" in error
    assert "--folds 2: must be at least 3" in family.fails("clean.sh", "--small", "--folds", "2", status=2)
    for option, value in (("--share", "0"), ("--share", "2"), ("--share", "x"), ("--most-of-class", "0.0")):
        error = family.fails("clean.sh", "--small", option, value, status=2)
        assert f"{option} {value}: give a share above 0 and at most 1" in error
    assert "--rule best: there is no such rule" in family.fails("clean.sh", "--rule", "best", status=2)
    assert "--remove maybe: choose auto" in family.fails("clean.sh", "--remove", "maybe", status=2)
    assert "-- need --network trained" in family.fails("clean.sh", "--small", "--", "--epochs", "2", status=2)
    assert family.called() == []


def test_every_value_that_can_work_is_accepted(family):
    rules = [word for rule in get_args(RuleName) for word in ("--rule", rule)]
    shares = ["--share", "1", "--share", ".25", "--most-of-class", "1.0", "--most-of-class", "0.05"]
    family.ok("clean.sh", "--small", *rules, *shares, "--remove", "never", "--dry-run")


@pytest.mark.parametrize("option", ["--rule", "--table", "--not-members"])
def test_an_option_without_its_value_is_refused(family, option):
    assert f"{option} needs a value" in family.fails("clean.sh", option, status=2)
