"""The scripts of recipes/web_finegrained: which steps they have, and what each is given. Nothing is trained."""

from pathlib import Path

import pytest

from .conftest import copy_family, run_family

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    return copy_family(tmp_path, "web_finegrained")


def test_the_table_of_contents(checkout):
    lines = run_family(checkout, "train.sh", "--list", "--small", "--labels", "given").splitlines()
    assert lines[:2] == ["members b4/train.py", "members b4/infer.py after b4/train.py"]
    assert "members b5/infer.py after b5/train.py" in lines


def test_every_script_gets_the_table_and_whose_labels(checkout):
    table = ["--table", "my table.csv", "--label-column", "kind of cat"]
    (checkout.parent / "my table.csv").write_text("image,kind of cat\n")
    plan = run_family(checkout, "train.sh", "--small", "--data", "classes", *table, "--dry-run", "--", "--epochs", "3")
    commands = [line for line in plan.splitlines() if "python" in line and line.startswith("run")]
    given = (
        f"--data {checkout.parent}/classes --small --table {checkout.parent}/my table.csv --label-column kind of cat"
    )
    assert all(f"{given} --labels cleaned" in line for line in commands)
    of_members = ("b4/train.py", "b5/train.py")
    assert [("--epochs 3" in line) for line in commands] == [
        any(name in line for name in of_members) for line in commands
    ]
    assert ["--members b4,b5" in line for line in commands] == [
        any(name in line for name in ("distil/train.py", "fusion/train.py", "report/make.py")) for line in commands
    ]
    assert f"predict.sh --small {given.replace(' --small', '')}" in plan
    assert "clean.sh has not run" in plan


def test_options_after_two_dashes_go_to_the_folders_that_only_names(checkout):
    for member in ("b4", "b5"):
        results = checkout / f"recipes/web_finegrained/{member}/results/demo"
        results.mkdir(parents=True)
        for name in ("best", "holdout"):
            (results / f"{name}.safetensors").touch()
    plan = run_family(checkout, "train.sh", "--demo", "--dry-run", "--only", "fusion", "distil", "--", "--seed", "7")
    commands = [line for line in plan.splitlines() if line.startswith("run") and "train.py" in line]
    assert ["fusion/train.py" in line for line in commands] == [True, False]
    assert all("--seed 7" in line for line in commands)
    assert ["--image-size 96" in line for line in commands] == [False, True]


def test_the_labels_that_were_cleaned_are_an_input_of_the_training(checkout):
    results = checkout / "recipes/web_finegrained/results/small"
    results.mkdir(parents=True)
    (results / "labels.csv").write_text("image,label\n")
    options = ("--small", "--data", "classes", "--dry-run")
    assert "clean.sh has not run" not in run_family(checkout, "train.sh", *options)
    assert "clean.sh has not run" not in run_family(checkout, "train.sh", *options, "--labels", "given")


def test_wrong_options_are_refused(checkout):
    assert "--labels mine: choose cleaned or given" in run_family(checkout, "train.sh", "--labels", "mine", status=2)
    assert "--table needs a value" in run_family(checkout, "clean.sh", "--table", status=2)
    assert "unknown option --remove" in run_family(checkout, "train.sh", "--remove", "auto", status=2)


def test_the_demo_can_be_planned_before_its_data_exist(checkout):
    plan = run_family(checkout, "train.sh", "--demo", "--dry-run")
    assert plan.count("--run demo") >= 5
    assert "predict.sh --demo" in plan
    assert "clean.sh has not run" in plan
    assert not (checkout / "recipes/web_finegrained/data").exists()


def test_prediction_answers_first_and_then_reports(checkout):
    plan = run_family(checkout, "predict.sh", "--small", "--data", "classes", "--method", "greedy", "--dry-run")
    commands = [line for line in plan.splitlines() if line.startswith("run")]
    data = f"--data {checkout.parent}/classes --small"
    assert f"python predict/answer.py {data} --labels cleaned --method greedy --members b4,b5" in commands[0]
    assert not any("infer.py" in line for line in commands)


def test_any_photographs_are_classified_by_each_member_before_the_answer(checkout):
    (checkout.parent / "my photos").mkdir()
    images = ["--images", "my photos", "--out", "answer.csv"]
    options = ("--small", "--data", "classes", *images, "--members", "b4,distil", "--method", "fusion", "--dry-run")
    cleared, *commands = [
        line for line in run_family(checkout, "predict.sh", *options).splitlines() if line.startswith("run")
    ]
    assert "rm -f" in cleared  # what the members said of other photographs
    photos = f"--images {checkout.parent}/my photos"
    assert [line.split()[2] for line in commands] == [
        "b4/infer.py", "distil/infer.py", "b5/infer.py", "fusion/infer.py", "predict/answer.py"
    ]  # fmt: skip
    assert all(f"{photos} --skip-bad" in line for line in commands[:4])
    listed = ("--small", "--data", "classes", *images, "--members", "fusion,b4,b5", "--dry-run")
    order = [
        line.split()[2] for line in run_family(checkout, "predict.sh", *listed).splitlines() if line.startswith("run ")
    ][1:]
    assert order == ["b4/infer.py", "b5/infer.py", "fusion/infer.py", "predict/answer.py"]
    assert f"--members b4,distil {photos} --out {checkout.parent}/answer.csv" in commands[4]


def test_a_prediction_without_networks_or_with_wrong_options_says_what_to_do(checkout):
    said = run_family(checkout, "predict.sh", "--small", "--data", "classes", status=1)
    assert "b4/results/small/best.safetensors is missing. Make it with" in said
    assert f"train.sh --small --data {checkout.parent}/classes" in said
    assert "choose mean, greedy, vote or fusion" in run_family(checkout, "predict.sh", "--method", "best", status=2)
    assert "belong together" in run_family(checkout, "predict.sh", "--images", "photos", status=2)
    assert "--labels mine: choose" in run_family(checkout, "predict.sh", "--labels", "mine", status=2)
    assert "is missing: name the data folder" in run_family(checkout, "predict.sh", "--data", "nowhere", status=1)
    for members in ("b9", ",", "b4,,b5", "b4, b5"):
        assert "--members" in run_family(checkout, "predict.sh", "--members", members, status=2)


def test_a_prediction_refuses_wrong_paths_before_it_classifies(checkout):
    def error(images: str, out: str) -> str:
        return run_family(checkout, "predict.sh", "--data", "classes", "--images", images, "--out", out, status=2)

    assert "name a folder with photographs" in error("nowhere", "a.csv")
    assert "ends in .csv" in error("classes", "a.txt")
    assert "nowhere is missing; make it first" in error("classes", "nowhere/a.csv")
