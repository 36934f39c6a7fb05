"""The scripts of recipes/style_mobile: which steps they have, and what each is given. Nothing is trained."""

from pathlib import Path

import pytest

from .conftest import copy_family, run_family

ROOT = Path(__file__).parents[2]
TEACHERS = [f"teacher teacher/train.py:fold{fold} after prepare/prepare.py" for fold in range(5)]


@pytest.fixture
def checkout(tmp_path):
    return copy_family(tmp_path, "style_mobile")


def run(checkout, *options, status=0, script="train.sh"):
    return run_family(checkout, script, *options, status=status)


def planned(checkout, *options):
    """The command of each step, by its script (and part)."""
    lines = run(checkout, "--small", "--data", "classes", "--dry-run", *options).splitlines()
    commands = [line.removeprefix("run").strip() for line in lines if line.startswith("run ")]
    return {(line.split()[1], line.partition("--part ")[2][:5]): line for line in commands}


def test_the_table_of_contents(checkout):
    lines = run(checkout, "--list").splitlines()
    after = " ".join(f"teacher/train.py:fold{fold}" for fold in range(5))
    assert lines[:7] == [
        "prepare prepare/prepare.py",
        *TEACHERS,
        f"student student/train.py after prepare/prepare.py {after}",
    ]
    assert "finish finish/train.py after prepare/prepare.py student/train.py" in lines
    with_kd = run(checkout, "--list", "--small", "--kd")
    assert f"student student_kd/train.py after prepare/prepare.py {after}" in with_kd
    assert "finish finish/train.py after prepare/prepare.py student/train.py student_kd/train.py" in with_kd


@pytest.mark.parametrize("labels", [("--small",), ("--targets", "labels"), ("--demo", "--targets", "labels")])
def test_labels_alone_need_no_teacher_but_a_student_beside_one_does(checkout, labels):
    assert "teacher" not in run(checkout, "--list", *labels)
    assert "teacher/train.py:fold4" in run(checkout, "--list", *labels, "--kd")


@pytest.mark.parametrize("taught", [(), ("--demo",), ("--small", "--targets", "probabilities")])
def test_what_teachers_say_needs_them(checkout, taught):
    assert "teacher/train.py:fold4" in run(checkout, "--list", *taught)


def test_only_prepare_reads_the_table(checkout):
    (checkout.parent / "my table.csv").write_text("image,kind of cat\n")
    plan = planned(checkout, "--table", "my table.csv", "--label-column", "kind of cat", "--group-column", "sender")
    table = f"--table {checkout.parent}/my table.csv --label-column kind of cat --group-column sender"
    assert {script for (script, _), line in plan.items() if table in line} == {"prepare/prepare.py"}
    assert all(f"--data {checkout.parent}/classes --small" in line for line in plan.values())


def test_the_students_get_their_options(checkout):
    weights = checkout.parent / "my weights.pth"
    weights.write_bytes(b"weights")
    own = ("--kd", "--targets", "argmax", "--backbone", "mobilenetv3_small_075.lamb_in1k")
    plan = planned(checkout, *own, "--backbone-weights", weights.name, "--", "--mixing", "mixup")
    students = {("student/train.py", ""), ("student_kd/train.py", "")}
    given = f"--targets argmax --backbone mobilenetv3_small_075.lamb_in1k --backbone-weights {weights} --mixing mixup"
    assert {step for step, line in plan.items() if given in line} == students
    assert {step for step, line in plan.items() if "mixup" in line or "--backbone" in line} == students
    assert "--students student,student_kd" in plan["finish/train.py", ""]


def test_another_size_trains_the_student_and_only_a_larger_one_needs_larger_copies(checkout):
    for size in ("160", "256"):
        plan = planned(checkout, "--image-size", size)
        given = {script for (script, _), line in plan.items() if f"--image-size {size}" in line}
        assert f"--image-size {size} --train-size {size}" in plan["student/train.py", ""]
        assert given == {"student/train.py"} | ({"prepare/prepare.py"} if size == "256" else set())
    plan = run(checkout, "--demo", "--dry-run", "--image-size", "64")
    (student,) = [line for line in plan.splitlines() if "student/train.py" in line]
    assert student.endswith("--image-size 64 --train-size 64 --restart")


def test_the_demo_can_be_planned_before_its_data_exist(checkout):
    plan = run(checkout, "--demo", "--dry-run")
    assert plan.count("--run demo") >= 8
    assert plan.count("--targets probabilities") == 1
    prepare = next(line for line in plan.splitlines() if "prepare/prepare.py" in line)
    assert "--group-column photographer" in prepare
    assert "predict.sh --demo" in plan
    assert not (checkout / "recipes/style_mobile/data").exists()


def test_a_check_reads_the_data_only(checkout):
    assert "two classes are needed" in run(checkout, "--small", "--data", "classes", "--check", status=1)
    assert not list(checkout.glob("recipes/style_mobile/*/results"))


def test_wrong_options_are_refused(checkout):
    said = run(checkout, "--targets", "everything", status=2)
    assert "--targets everything: choose one of labels argmax probabilities" in said
    assert "--backbone needs a value" in run(checkout, "--backbone", status=2)
    assert "unknown option --labels" in run(checkout, "--labels", "given", status=2)


@pytest.mark.parametrize(
    ("script", "option", "value", "fix"),
    [
        ("train.sh", "--image-size", "0", "give a number, 1 or more"),
        ("train.sh", "--size", "abc", "give a number, 1 or more"),
        ("train.sh", "--precision", "int4", "choose one of float32 bf16 int8"),
        ("train.sh", "--most-loss", "1%", "give a number, such as 0.5"),
        ("train.sh", "--right", "often", "give a number, such as 0.5"),
        ("measure.sh", "--threads", "0", "give a number, 1 or more"),
        ("measure.sh", "--weight", "1.2.3", "give a number, such as 0.5"),
        ("measure.sh", "--split", "validate", "choose one of train val test"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(checkout, script, option, value, fix):
    said = run(checkout, "--small", "--data", "classes", option, value, script=script, status=2)
    assert said == f"{script}: {option} {value}: {fix}; bash recipes/style_mobile/{script} --help lists the options\n"


def test_numbers_may_be_written_as_python_does(checkout):
    for number in ("5e-3", ".005", "0"):
        assert f"--most-loss {number}" in planned(checkout, "--most-loss", number)["deploy/export.py", ""]


def test_the_commands_that_come_next_are_accepted(checkout):
    said = run(checkout, "--small", "--data", "classes", "--group-column", "sender", "--dry-run")
    following = [line.split()[2:] for line in said.splitlines() if line.startswith("Next: ")]
    assert [path.rpartition("/")[2] for path, *_ in following] == ["measure.sh", "predict.sh"]
    for path, *options in following:
        assert "sender" in options
        run(checkout, *options, "--dry-run", script=path.rpartition("/")[2])


def test_intervals_are_over_the_groups_that_prepare_found(checkout):
    assert "--group-column group" in run(checkout, "--small", "--dry-run", script="measure.sh")


def test_photographs_that_have_changed_are_said_before_the_measurement(checkout):
    prepared = checkout / "recipes/style_mobile/prepare/results/small"
    (prepared / "images/val").mkdir(parents=True)
    exported = checkout / "recipes/style_mobile/deploy/results/small"
    exported.mkdir(parents=True)
    said = run(checkout, "--small", "--data", "classes", script="measure.sh", status=1)
    assert "precisions.csv is missing, so the export has not finished: run train.sh" in said
    (exported / "precisions.csv").touch()
    rows = ["image,label,split,group,fold,source,bytes"]
    for number, (label, split, fold) in enumerate((("cat", "train", 0), ("dog", "train", 1), ("cat", "val", ""))):
        (prepared / f"images/{number}.jpg").touch()
        rows.append(f"images/{number}.jpg,{label},{split},,{fold},val/cat/1.jpg,9")
    (prepared / "images.csv").write_text("\n".join(rows) + "\n")
    said = run(checkout, "--small", "--data", "classes", script="measure.sh", status=1)  # there is nothing to measure
    assert "1 of 1 photographs of val have changed since train.sh prepared them (val/cat/1.jpg)" in said


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--size", "10"), "--size 10: must be in 16..4096 pixels"),
        (("--right", "2"), "--right 2.0: must be between 0 and 1"),
        (("--size", "128", "--backbone", "test_vit.r160_in1k"), "answers only at the size that it is trained for"),
        (("--backbone", "mobilenetv9"), "backbone 'mobilenetv9' is unknown to timm"),
        (("--", "--epochs", "-1"), "--epochs -1"),
    ],
)
def test_what_the_last_steps_would_refuse_is_refused_before_the_first(checkout, options, problem):
    said = run(checkout, "--small", "--data", "classes", *options, status=1)
    assert problem in said
    assert "nothing was started" in said
    assert not list(checkout.glob("recipes/style_mobile/*/results"))


def test_weights_that_are_missing_are_refused(checkout):
    said = run(checkout, "--small", "--data", "classes", "--backbone-weights", "typo.pth", status=2)
    assert "--backbone-weights typo.pth: there is no such file" in said
