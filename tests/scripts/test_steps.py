"""The mechanism of train.sh on a method that scripts/ knows nothing about: which steps run, resume and are skipped."""

import shutil

import pytest

STEPS = TEACHER, LABELS, SMALL, LARGE = ["teacher/train.py", "teacher/label.py", "small/train.py", "large/train.py"]


def test_each_step_runs_once_and_gets_its_options(toy):
    out = toy.ok("train.sh", "--small", "--colour", "dark red", "--", "--epochs", "7", "--note", "two words")
    calls = toy.calls()
    assert [call["script"] for call in calls] == STEPS
    run = ["--data", f"{toy.root}/data", "--small", "--colour", "dark red"]
    for call in calls:
        training = ["--epochs", "7", "--note", "two words", "--restart"] if call["script"].endswith("train.py") else []
        assert call["args"] == run + training
    assert [line for line in out.splitlines() if line.startswith("== ")] == [
        f"== {number} of 4, {script}: runs" for number, script in enumerate(STEPS, 1)
    ]
    assert f"bash recipes/toy/predict.sh --small --data {toy.root}/data" in out.replace("\\", "")
    assert (toy.root / "small/results/small/train.done").is_file()


def test_the_demo_has_its_own_options_and_goes_on_to_the_prediction(toy):
    shutil.move(toy.root / "data", toy.root / "mine")
    (toy.root / "data").mkdir()
    shutil.move(toy.root / "mine", toy.root / "data/mine")
    before = toy.files()
    plan = toy.ok("train.sh", "--demo", "--dry-run", "--jobs", "2").splitlines()
    assert len(plan) == 6
    assert plan[-1] == "run    bash recipes/toy/predict.sh --demo --jobs 2"
    assert toy.files() == before
    out = toy.ok("train.sh", "--demo", "--", "--epochs", "3")
    demo = ["--data", f"{toy.root}/data/demo", "--small", "--run", "demo"]
    last = toy.calls()[-1]
    assert last["args"] == [*demo, "--epochs", "1", "--network", "large", "--epochs", "3", "--restart"]
    assert out.endswith("predict.sh --demo\n")


def test_finished_steps_are_skipped_and_forced_ones_run_again(toy):
    toy.ok("train.sh")
    assert toy.called() == STEPS
    out = toy.ok("train.sh")
    assert all(f"{script}: done, skipped" in out for script in STEPS)
    assert toy.called() == []
    toy.ok("train.sh", "--force", "--only", "small")
    assert toy.called() == [SMALL]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("data/classes.csv", [TEACHER]),  # which makes the same weights again
        ("data/train/a class/new.jpg", [TEACHER, SMALL, LARGE]),
        ("data/unlabelled/a class/new.jpg", [LABELS]),
        ("teacher/dataset.py", [TEACHER, LABELS, SMALL, LARGE]),
        ("teacher/label.py", [LABELS, SMALL, LARGE]),
        ("small/helper.py", [SMALL]),
        ("small/infer.py", []),  # no step runs it
        ("small/README.md", []),
        ("data/other.csv", []),
        ("data/train/.DS_Store", []),
    ],
)
def test_a_change_runs_exactly_the_steps_that_depend_on_it(toy, changed, again):
    toy.ok("train.sh")
    toy.calls()
    with (toy.root / changed).open("a") as file:
        file.write("# changed\n")
    toy.ok("train.sh")
    calls = toy.calls()
    assert [call["script"] for call in calls] == again
    assert all("--restart" in call["args"] for call in calls if call["script"].endswith("train.py"))


def test_a_finished_step_that_runs_again_says_why_and_how_to_keep_its_result(toy):
    toy.ok("train.sh", "--only", "teacher", "--", "--epochs", "9")
    out = toy.ok("train.sh")
    again = "runs again, as its options or inputs have changed"
    assert f"== 1 of 4, {TEACHER}: {again}; to keep its result, stop this and use --from labels\n" in out
    assert out.count("again") == 1  # the others run for the first time
    toy.ok("train.sh", "--only", "small", "--", "--epochs", "9")
    assert f"{SMALL}: {again}\n" in toy.ok("train.sh", "--from", "students")  # the last stage
    assert "again" not in toy.ok("train.sh", "--force")


def test_changed_options_train_again_but_moved_or_touched_data_does_not(toy, tmp_path):
    toy.ok("train.sh")
    moved = tmp_path / "else where"
    shutil.move(toy.root / "data", moved)
    (moved / "classes.csv").touch()
    toy.calls()
    toy.ok("train.sh", "--data", str(moved))
    assert toy.called() == []
    toy.ok("train.sh", "--data", "else where", "--", "--epochs", "2", cwd=tmp_path)
    assert toy.called() == [TEACHER, SMALL, LARGE]


def test_skip_bad_reaches_every_step_and_runs_no_finished_step_again(toy):
    toy.ok("train.sh", "--to", "labels")
    toy.calls()
    toy.ok("train.sh", "--skip-bad")
    assert {call["script"]: call["args"][2:] for call in toy.calls()} == {
        script: ["--skip-bad", "--restart"] for script in (SMALL, LARGE)
    }


def test_a_lost_result_is_made_again(toy):
    toy.ok("train.sh")
    toy.calls()
    (toy.root / "small/results/best.safetensors").unlink()
    toy.ok("train.sh")
    assert toy.called() == [SMALL]


def test_a_killed_step_resumes(toy):
    killed = toy.will(SMALL, "die")
    assert f"{SMALL} failed (exit status 137)" in toy.fails("train.sh")
    assert toy.called() == [TEACHER, LABELS, SMALL]
    killed.unlink()
    plan = toy.ok("train.sh", "--dry-run").splitlines()
    assert [line.split()[0] for line in plan[:4]] == ["skip", "skip", "resume", "run"]
    assert f"{SMALL}: resumes" in toy.ok("train.sh")
    small, large = toy.calls()
    assert ("--restart" in small["args"], "--restart" in large["args"]) == (False, True)
    assert (toy.root / "small/results/last").is_dir()


def test_a_killed_step_starts_afresh_if_its_inputs_have_changed(toy):
    killed = toy.will(SMALL, "die")
    toy.fails("train.sh")
    killed.unlink()
    toy.calls()
    nested = [toy.root / "small/results" / name for name in ("proof/training/last", "all_images/last", "2-head/last")]
    for folder in nested:
        folder.mkdir(parents=True)
    (toy.root / "small/dataset.py").write_text("SIZE = 256\n")
    toy.ok("train.sh", "--only", "small")
    assert "--restart" in toy.calls()[0]["args"]
    assert not any(folder.exists() for folder in (toy.root / "small/results/last", *nested))


def test_a_step_that_does_not_train_keeps_the_training_state_beside_it(toy):
    killed = toy.will(TEACHER, "die")
    toy.fails("train.sh")
    killed.unlink()
    toy.ok("train.sh", "--to", "labels")
    assert (toy.root / "teacher/results/last").is_dir()


def test_an_overwritten_result_is_not_trusted_when_its_old_inputs_come_back(toy):
    toy.ok("train.sh")
    recipe = toy.root / "small/dataset.py"
    before = recipe.read_text()
    recipe.write_text("SIZE = 256\n")
    killed = toy.will(SMALL, "die")
    toy.fails("train.sh")
    killed.unlink()
    recipe.write_text(before)
    toy.calls()
    toy.ok("train.sh")
    assert toy.called() == [SMALL]


def test_a_failure_stops_the_steps_after_it_and_names_its_log(toy):
    toy.will(LABELS, "fail 3")
    log = "teacher/results/label.log"
    assert f"{LABELS} failed (exit status 3); its log is {toy.root}/{log}" in toy.fails("train.sh")
    assert toy.called() == [TEACHER, LABELS]
    assert "error of teacher" in (toy.root / log).read_text()


def test_a_step_that_does_not_write_its_result_has_failed(toy):
    toy.will(LABELS, "forget")
    assert "did not write teacher/results/labels.csv" in toy.fails("train.sh")
    assert not (toy.root / "teacher/results/label.done").exists()


def test_a_log_has_both_outputs_as_plain_lines(toy):
    out = toy.ok("train.sh", "--to", "teacher")
    log = (toy.root / "teacher/results/train.log").read_bytes().decode().splitlines()
    assert log[0].startswith("$ python teacher/train.py --data ")
    assert log[1:] == ["output of teacher", "error of teacher", "bar 2/2"]
    assert "error of teacher" in out


def test_parts_of_the_method_can_be_chosen(toy):
    toy.ok("train.sh", "--to", "teacher")
    assert toy.called() == [TEACHER]
    out = toy.ok("train.sh", "--from", "labels", "--only", "teacher/", "large")
    assert toy.called() == [LABELS, LARGE]
    assert "== 2 of 2, large/train.py: runs" in out
    assert "predict.sh" not in out
    assert "predict.sh" in toy.ok("train.sh", "--from", "small")  # a folder names its stage
    assert toy.called() == [SMALL]


def test_a_part_does_not_start_from_a_missing_or_unfinished_result(toy):
    message = toy.fails("train.sh", "--only", "small")
    assert f"small/train.py starts from {toy.root}/teacher/results/labels.csv, which is missing" in message
    assert "--only teacher" in message
    toy.ok("train.sh", "--to", "labels")
    toy.will(LABELS, "fail 1")
    toy.fails("train.sh", "--only", "teacher", "--force")
    assert "teacher/results/labels.csv, which is unfinished" in toy.fails("train.sh", "--only", "small")


def test_a_missing_input_is_named(toy):
    (toy.root / "data/classes.csv").unlink()
    message = toy.fails("train.sh")
    assert f"{toy.root}/data lacks classes.csv." in message
    assert "bash recipes/toy/train.sh --demo" in message
    (toy.root / "data/classes.csv").write_text("")
    shutil.rmtree(toy.root / "data/unlabelled")
    assert f"{toy.root}/data/unlabelled: cannot be read" in toy.fails("train.sh")
    assert toy.called() == [TEACHER]


def test_the_list_shows_the_steps_in_order(toy):
    assert toy.ok("train.sh", "--list", "--only", "teacher", "large").splitlines() == [
        "teacher teacher/train.py",
        "labels teacher/label.py after teacher/train.py",
        "students large/train.py after teacher/label.py",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--smal",), "unknown option --smal"),
        (("-x",), "unknown option -x"),
        (("stray",), "stray does not belong to an option"),
        (("--data",), "--data needs a value"),
        (("--data", "--small"), "--data needs a value"),
        (("--colour",), "--colour needs a value"),
        (("--from", "stage3"), "there is no stage stage3; the stages are teacher labels students"),
        (("--from", "students", "--to", "teacher"), "--from comes after --to"),
        (("--only",), "--only needs folders"),
        (("--only", "medium"), "there is no folder medium"),
        (("--only", "small", "--to", "labels"), "leave nothing to run"),
        (("--jobs", "0"), "--jobs 0"),
        (("--jobs", "two"), "--jobs two"),
        (("--gpus", "0,,1"), "--gpus 0,,1"),
        (("--gpus", "0,1", "--jobs", "3"), "at most one job for each GPU"),
        (("--check",), "this method has no --check"),
        (("--demo", "--data", "data"), "--demo makes its own data"),
        (("--", "--run=other"), "--run=other cannot follow --"),
        (("--", "--epochs", "1", "--"), "-- may be given only once"),
    ],
)
def test_wrong_options_are_one_message_and_status_2(toy, args, message):
    before = toy.files()
    error = toy.fails("train.sh", *args, status=2)
    assert message in error
    assert error.endswith("bash recipes/toy/train.sh --help lists the options\n")
    assert len(error.splitlines()) == 1
    assert toy.files() == before


def test_wrong_jobs_in_the_environment_are_refused_and_gpus_set_the_number(toy):
    toy.environment["NOSEPRINT_JOBS"] = "abc"
    assert "NOSEPRINT_JOBS abc: give a number, 1 or more" in toy.fails("train.sh", status=2)
    toy.environment["NOSEPRINT_JOBS"] = "2"
    plan = [toy.ok("train.sh", "--demo", "--dry-run", *args).splitlines()[-1] for args in ([], ["--gpus", "0"])]
    assert plan[0].endswith("--demo --jobs 2")
    assert plan[1].endswith("--demo --gpus 0")


def test_a_step_after_an_undeclared_one_is_refused(toy):
    text = (toy.root / "train.sh").read_text()
    (toy.root / "train.sh").write_text(text.replace("--after teacher/label.py", "--after teacher/labels.py"))
    assert "step small/train.py: --after teacher/labels.py, but no step above it runs" in toy.fails("train.sh")


def parts(*numbers):
    return [f"parts/train.py:part{number}" for number in numbers]


def part_of(call):
    """The name of the step that made a call."""
    part = call["args"][call["args"].index("--part") + 1] if "--part" in call["args"] else ""
    return f"{call['script']}:{part}" if part else call["script"]


def test_each_part_of_a_script_is_a_step_of_its_own(toy):
    out = toy.ok("parts.sh", "--small", "--", "--epochs", "7")
    calls = toy.calls()
    assert [part_of(call) for call in calls] == [*parts(0, 1, 2), "parts/label.py"]
    run = ["--data", f"{toy.root}/data", "--small"]
    assert calls[1]["args"] == [*run, "--part", "part1", "--epochs", "7", "--restart"]
    assert calls[3]["args"] == [*run, "--rule", "very strict"]
    assert "== 2 of 4, parts/train.py:part1: runs" in out
    for name in ("best.safetensors", "train.done", "train.log"):
        assert (toy.root / "parts/results/small/part1" / name).is_file()
    assert (toy.root / "parts/results/small/labels.csv").is_file()
    assert toy.ok("parts.sh", "--list").splitlines() == [
        *(f"parts {name}" for name in parts(0, 1, 2)),
        f"labels parts/label.py after {' '.join(parts(0, 1, 2))}",
    ]


def test_a_killed_part_resumes_and_the_finished_ones_are_skipped(toy):
    killed = toy.will("parts/train-part1.py", "die")
    message = toy.fails("parts.sh")
    assert f"parts/train.py failed (exit status 137); its log is {toy.root}/parts/results/part1/train.log" in message
    assert [part_of(call) for call in toy.calls()] == parts(0, 1)
    killed.unlink()
    plan = toy.ok("parts.sh", "--dry-run").splitlines()
    assert [line.split()[0] for line in plan] == ["skip", "resume", "run", "run"]
    out = toy.ok("parts.sh")
    assert "parts/train.py:part0: done, skipped" in out
    assert "parts/train.py:part1: resumes" in out
    calls = toy.calls()
    assert [part_of(call) for call in calls] == [*parts(1, 2), "parts/label.py"]
    assert ["--restart" in call["args"] for call in calls[:2]] == [False, True]
    (toy.root / "parts/results/part2/best.safetensors").unlink()
    toy.ok("parts.sh")
    assert [part_of(call) for call in toy.calls()] == parts(2)  # which makes the same weights again


def test_parts_run_side_by_side_and_their_lines_are_told_apart(toy):
    out = toy.ok("parts.sh", "--jobs", "3", "--only", "parts", "--to", "parts")
    assert all(f"[parts:part{number}] output of parts" in out for number in range(3))
    assert sorted(part_of(call) for call in toy.calls()) == parts(0, 1, 2)


def test_what_needs_all_parts_names_the_one_that_is_missing(toy):
    toy.ok("parts.sh", "--to", "parts")
    (toy.root / "parts/results/part2/best.safetensors").unlink()
    message = toy.fails("parts.sh", "--from", "labels")
    assert f"parts/label.py starts from {toy.root}/parts/results/part2/best.safetensors, which is missing" in message
    assert "--only parts" in message


def test_an_option_of_one_step_does_not_run_the_others_again(toy):
    toy.ok("parts.sh")
    text = (toy.root / "parts.sh").read_text()
    (toy.root / "parts.sh").write_text(text.replace("very strict", "mild"))
    toy.calls()
    toy.ok("parts.sh")
    assert [part_of(call) for call in toy.calls()] == ["parts/label.py"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("parts/train.py:*", "parts/train.py", "--after parts/train.py, but no step above it runs parts/train.py"),
        ("part$1", "part", "step parts/train.py:part: declared twice; give each --part another name"),
    ],
)
def test_wrong_declarations_of_parts_are_refused(toy, before, after, message):
    text = (toy.root / "parts.sh").read_text()
    (toy.root / "parts.sh").write_text(text.replace(before, after))
    assert message in toy.fails("parts.sh")
