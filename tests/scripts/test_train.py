"""train.sh: what runs, in which order, with which arguments, and what is skipped, resumed or stopped."""

import shutil
from pathlib import Path

import pytest


def train_args(checkout, *args):
    checkout.ok("train.sh", *args)
    return {call["script"]: call["args"] for call in checkout.calls() if not call["script"].startswith("noseprint")}


def test_runs_the_method_in_order(checkout, in_turn):
    out = checkout.ok("train.sh")
    calls = checkout.calls()
    *steps, report = calls
    assert [call["script"] for call in steps] == in_turn
    data = str(checkout.root / "data")
    assert (report["script"], report["args"]) == ("noseprint report", ["--data", data, "--no-scores"])
    for call in steps:
        restart = [] if call["script"].endswith("pseudo.py") else ["--restart"]
        assert call["args"] == ["--data", data, *restart]
        assert call["NO_ALBUMENTATIONS_UPDATE"] == "1"
    assert "bash predict.sh" in out


def steps_told(out):
    return [line.removeprefix("== ").partition(":")[0] for line in out.splitlines() if line.startswith("== ")]


def test_every_step_tells_its_number_and_how_many_there_are(checkout, in_turn):
    def numbered(scripts):
        return [f"{number} of {len(scripts)}, {script}" for number, script in enumerate(scripts, 1)]

    assert steps_told(checkout.ok("train.sh", "--to", "pseudo")) == numbered(in_turn[:2])
    assert steps_told(checkout.ok("train.sh")) == numbered(in_turn)
    parts = ("--from", "stage2", "--only", "b7ns_stage1", "b7ns_stage2", "swin224_stage2")
    again = checkout.ok("train.sh", *parts, "--force")
    assert steps_told(again) == ["1 of 2, swin224_stage2/train.py", "2 of 2, b7ns_stage2/train.py"]
    side_by_side = steps_told(checkout.ok("train.sh", "--force", "--jobs", "3"))
    assert sorted(side_by_side) == sorted(numbered(in_turn))


def test_sizes_and_options_for_train_py(checkout):
    data = str(checkout.root / "data")
    small = train_args(checkout, "--small", "--", "--epochs", "7", "--note", "two words")
    assert small["pseudo_produce/pseudo.py"] == ["--data", data, "--small"]
    for script, args in small.items():
        if script.endswith("train.py"):
            assert args == ["--data", data, "--small", "--epochs", "7", "--note", "two words", "--restart"]
    assert (checkout.root / "v2_stage2/results/small/train.done").is_file()
    assert not (checkout.root / "v2_stage2/results/train.done").exists()


def test_skip_bad_reaches_every_step_and_is_no_reason_to_run_again(checkout, in_turn):
    checkout.wish("v2_stage1/train.py", "fail 1")
    checkout.run("train.sh")
    (checkout.root / "v2_stage1/train.wish").unlink()
    done = set(checkout.called()) - {"v2_stage1/train.py"}
    skipping = train_args(checkout, "--skip-bad")
    assert set(skipping) == set(in_turn) - done
    assert all("--skip-bad" in args for args in skipping.values())
    assert "--skip-bad" in train_args(checkout, "--force", "--skip-bad")["pseudo_produce/pseudo.py"]


def test_demo_makes_data_trains_predicts_and_scores(bare, in_turn):
    out = bare.ok("train.sh", "--demo")
    calls = bare.calls()
    infers = [f"{name}_stage2/infer.py" for name in ("swin224", "swin384", "v2", "b7ns")]
    assert [call["script"] for call in calls] == [
        "noseprint demo-data", *in_turn, *infers, "noseprint fuse", "noseprint calibrate", "noseprint report",
    ]  # fmt: skip
    data = str(bare.root / "data" / "demo")
    assert calls[1]["args"][:5] == ["--data", data, "--small", "--run", "demo"]
    assert "--epochs" in calls[1]["args"]
    members = [f"{name}_stage2" for name in ("swin224", "swin384", "v2", "b7ns")]
    assert calls[-1]["args"] == ["--data", data, "--run", "demo", "--frozen", "--members", *members]
    assert (bare.root / "results/demo/final_result.csv").read_text() == "fused"
    assert "  noseprint import photos data/mine\n  bash train.sh --small --data data/mine" in out
    table, answer, advice = (out.index(text) for text in ("ensemble 0.987", "final_result.csv", "your own photographs"))
    assert table < answer < advice


def test_skips_what_is_done_and_says_so(finished, in_turn):
    out = finished.ok("train.sh")
    assert finished.called() == []
    assert all(f"{script}: done, skipped" in out for script in in_turn)
    finished.ok("train.sh", "--force")
    assert finished.called() == in_turn


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("data/train/train_data.csv", slice(0, 10)),
        ("data/train/images/new.jpg", slice(0, 10)),
        ("data/validation/valid_data.csv", slice(1, 10)),
        ("data/validation/images/A*1 .jpg", slice(1, 10)),
        ("pseudo_produce/dataset.py", slice(0, 10)),
        ("pseudo_produce/pseudo.py", slice(1, 10)),
        ("swin384_stage1/dataset.py", slice(4, 6)),
        ("swin384_stage1/helper.py", slice(4, 5)),  # ends in the same weights: its stage 2 has nothing to do
        ("swin384_stage2/train.py", slice(5, 6)),
        ("swin384_stage2/infer.py", slice(0, 0)),
        ("swin384_stage2/README.md", slice(0, 0)),
        ("data/test/test_data.csv", slice(0, 0)),
        ("data/train/images/.DS_Store", slice(0, 0)),
    ],
)
def test_a_change_runs_exactly_what_depends_on_it(finished, in_turn, changed, again):
    with (finished.root / changed).open("a") as file:
        file.write("# changed\n")
    finished.ok("train.sh")
    calls = finished.calls()[:-1]
    assert [call["script"] for call in calls] == in_turn[again]
    assert all("--restart" in call["args"] for call in calls if call["script"].endswith("train.py"))


def test_changed_options_train_again_but_moved_or_touched_data_does_not(finished, in_turn, tmp_path):
    moved = tmp_path / "else where"
    shutil.move(finished.root / "data", moved)
    (moved / "train" / "train_data.csv").touch()
    finished.ok("train.sh", "--data", str(moved))
    assert finished.called() == []
    finished.ok("train.sh", "--data", str(moved), "--", "--epochs", "2")
    assert finished.called() == [script for script in in_turn if script.endswith("train.py")]


def test_pseudo_labels_leave_the_training_state_alone(checkout):
    last = checkout.root / "pseudo_produce/results/last"
    checkout.wish("pseudo_produce/train.py", "die")
    checkout.run("train.sh")
    checkout.wish("pseudo_produce/train.py", "go on").unlink()
    checkout.ok("train.sh", "--to", "pseudo")
    assert last.is_dir()


def test_a_lost_result_is_made_again(finished):
    (finished.root / "v2_stage1/results/best.safetensors").unlink()
    finished.ok("train.sh")
    assert finished.called() == ["v2_stage1/train.py"]


def test_killed_step_resumes(checkout, in_turn):
    wish = checkout.wish("swin224_stage2/train.py", "die")
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert "swin224_stage2/train.py failed" in result.stderr
    assert checkout.called() == in_turn[:4]
    wish.unlink()
    out = checkout.ok("train.sh")
    assert "swin224_stage2/train.py: resumes" in out
    calls = checkout.calls()[:-1]
    assert [call["script"] for call in calls] == in_turn[3:]
    assert "--restart" not in calls[0]["args"]
    assert "--restart" in calls[1]["args"]
    assert (checkout.root / "swin224_stage2/results/last").is_dir()


def test_killed_step_begins_afresh_when_its_inputs_changed_meanwhile(checkout):
    wish = checkout.wish("swin224_stage2/train.py", "die")
    checkout.run("train.sh", "--to", "stage2")
    wish.unlink()
    checkout.calls()
    (checkout.root / "swin224_stage2/dataset.py").write_text("SIZE = 256\n")
    checkout.ok("train.sh")
    assert "--restart" in checkout.calls()[0]["args"]
    assert not (checkout.root / "swin224_stage2/results/last").exists()


def test_going_back_to_an_older_input_does_not_trust_a_result_written_over(checkout):
    checkout.ok("train.sh")
    recipe = checkout.root / "v2_stage2/dataset.py"
    before = recipe.read_text()
    recipe.write_text("SIZE = 256\n")
    wish = checkout.wish("v2_stage2/train.py", "die")
    assert checkout.run("train.sh").returncode == 1
    wish.unlink()
    recipe.write_text(before)
    checkout.calls()
    checkout.ok("train.sh")
    assert checkout.called() == ["v2_stage2/train.py"]


def test_failure_stops_what_depends_on_it_and_names_folder_and_log(checkout, in_turn):
    checkout.wish("pseudo_produce/pseudo.py", "fail 3")
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert checkout.called() == in_turn[:2]
    log = "pseudo_produce/results/pseudo.log"
    assert f"pseudo_produce/pseudo.py failed (exit status 3); its log is {log}" in result.stderr
    assert "error of pseudo_produce" in (checkout.root / log).read_text()


def test_a_step_that_forgets_its_result_has_failed(checkout):
    checkout.wish("swin224_stage1/train.py", "forget")
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert "did not write swin224_stage1/results/best.safetensors" in result.stderr
    assert not (checkout.root / "swin224_stage1/results/train.done").exists()


def test_logs_hold_both_outputs_as_plain_lines(checkout):
    out = checkout.ok("train.sh")
    log = (checkout.root / "v2_stage1/results/train.log").read_bytes().decode().splitlines()
    assert log[0].startswith("$ python v2_stage1/train.py --data ")
    assert log[1:] == ["out of v2_stage1", "error of v2_stage1", "bar 2/2"]
    assert "error of v2_stage1" in out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--to", "pseudo"), slice(0, 2)),
        (("--from", "pseudo", "--to", "pseudo"), slice(0, 2)),
        (("--only", "pseudo_produce/"), slice(0, 2)),
        (("--only", "pseudo_produce", "swin224_stage1", "--jobs", "2"), slice(0, 3)),
    ],
)
def test_parts(checkout, in_turn, args, expected):
    checkout.ok("train.sh", *args)
    assert checkout.called() == in_turn[expected]


def test_parts_after_one_another(checkout):
    checkout.ok("train.sh", "--to", "stage1")
    assert len(checkout.called()) == 6
    checkout.ok("train.sh", "--from", "stage2", "--only", "v2_stage2", "b7ns_stage2", "b7ns_stage1")
    assert checkout.called() == ["v2_stage2/train.py", "b7ns_stage2/train.py"]
    checkout.ok("train.sh", "--from", "stage2")
    assert checkout.called() == ["swin224_stage2/train.py", "swin384_stage2/train.py"]


def test_a_part_refuses_to_start_from_what_is_missing_or_unfinished(checkout):
    result = checkout.run("train.sh", "--only", "swin224_stage1")
    assert result.returncode == 1
    assert "pseudo_produce/results/pseudo.csv, which is missing" in result.stderr
    assert "--only pseudo_produce" in result.stderr
    checkout.ok("train.sh", "--to", "stage1")
    (checkout.root / "swin224_stage1/dataset.py").write_text("SIZE = 256\n")
    checkout.wish("swin224_stage1/train.py", "die")
    assert checkout.run("train.sh", "--only", "swin224_stage1").returncode == 1
    result = checkout.run("train.sh", "--only", "swin224_stage2")
    assert result.returncode == 1
    assert "swin224_stage1/results/best.safetensors, which is unfinished" in result.stderr


def test_dry_run_shows_each_command_and_writes_nothing(checkout, in_turn):
    before = checkout.files()
    lines = checkout.ok("train.sh", "--dry-run", "--jobs", "2").splitlines()
    assert [line.split()[2] for line in lines[:10]] == in_turn
    assert all(line.startswith("run ") for line in lines)
    assert checkout.files() == before
    wish = checkout.wish("v2_stage1/train.py", "die")
    checkout.run("train.sh")
    wish.unlink()
    before = checkout.files()
    lines = checkout.ok("train.sh", "--dry-run").splitlines()
    states = [line.split()[0] for line in lines[:10]]
    assert states == ["skip"] * 6 + ["resume"] + ["run"] * 3
    assert checkout.files() == before


def test_dry_run_of_the_demo_before_there_is_data(bare):
    before = bare.files()
    lines = bare.ok("train.sh", "--demo", "--dry-run").splitlines()
    assert len(lines) == 12
    assert "demo-data" in lines[0]
    assert "bash predict.sh --demo" in lines[-1]
    assert bare.files() == before


def test_any_working_directory_and_relative_data(bare, data_writer, tmp_path, in_turn):
    caller = tmp_path / "caller"
    data_writer(caller / "my photos")
    bare.ok("train.sh", "--data", "my photos", cwd=caller)
    calls = bare.calls()[:-1]
    assert [call["script"] for call in calls] == in_turn
    assert calls[0]["args"][:2] == ["--data", str(caller / "my photos")]
    assert {p.name for p in caller.iterdir()} == {"my photos"}


@pytest.mark.parametrize("args", [(), ("--small",), ("--small", "--jobs", "2"), ("--dry-run",)])
def test_empty_data_is_one_message_and_nothing_written(bare, args):
    before = bare.files()
    result = bare.run("train.sh", *args)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "train/train_data.csv validation/valid_data.csv test/test_data.csv" in result.stderr
    assert "data/README.md" in result.stderr
    assert bare.files() == before


def test_one_missing_table_is_named(checkout):
    (checkout.root / "data/validation/valid_data.csv").unlink()
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert "lacks validation/valid_data.csv." in result.stderr
    assert checkout.called() == []


def test_missing_images_folder_is_one_step_that_fails(checkout):
    shutil.rmtree(checkout.root / "data/train/images")
    result = checkout.run("train.sh")
    assert result.returncode == 1
    assert str(Path("data/train/images")) in result.stderr
    assert not (checkout.root / "pseudo_produce/results").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--smal",), "unknown option --smal"),
        (("-x",), "unknown option -x"),
        (("stray",), "stray belongs to no option"),
        (("--data",), "--data needs a value"),
        (("--data", "--small"), "--data needs a value"),
        (("--from", "stage3"), "no step stage3"),
        (("--from", "stage2", "--to", "pseudo"), "--from lies after --to"),
        (("--only",), "--only needs folders"),
        (("--only", "v3_stage1"), "no folder v3_stage1"),
        (("--jobs", "0"), "--jobs 0"),
        (("--jobs", "two"), "--jobs two"),
        (("--gpus", "0,,1"), "--gpus 0,,1"),
        (("--gpus", "0,1", "--jobs", "3"), "at most one process a GPU"),
        (("--demo", "--data", "data"), "--demo makes its own data"),
    ],
)
def test_wrong_options_are_one_message_and_status_2(checkout, args, said):
    before = checkout.files()
    result = checkout.run("train.sh", *args)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert checkout.files() == before


def test_help_lists_every_option(bare, tmp_path):
    for script in ("train.sh", "predict.sh", "predict_ckpt.sh"):
        text = bare.ok(script, "--help", cwd=tmp_path)
        for option in ("--data", "--gpus", "--jobs", "--dry-run", "--help"):
            assert f"  {option}" in text
        assert "source" not in text
