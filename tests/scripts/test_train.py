"""train.sh of the nose prints: its steps, their inputs, and what frames them. test_steps.py tests the mechanism."""

import pytest

MEMBERS = ("swin224", "swin384", "v2", "b7ns")
STEPS = [
    "pseudo_produce/train.py",
    "pseudo_produce/pseudo.py",
    *(f"{name}_stage{stage}/train.py" for name in MEMBERS for stage in (1, 2)),
]


def test_the_whole_method_runs_in_order(checkout):
    out = checkout.ok("train.sh")
    plan, *steps, report = checkout.calls()
    assert [call["script"] for call in steps] == STEPS
    data = ["--data", f"{checkout.root}/data"]
    for call in steps:
        assert call["args"] == data + ([] if call["script"].endswith("pseudo.py") else ["--restart"])
        assert call["NO_ALBUMENTATIONS_UPDATE"] == "1"
    assert (plan["script"], plan["args"]) == ("noseprint check", ["--plan", data[1]])
    assert (report["script"], report["args"]) == ("noseprint report", [*data, "--no-scores"])
    assert "bash predict.sh" in out


def test_the_demo_makes_data_trains_predicts_and_scores(bare):
    before = bare.files()
    plan = bare.ok("train.sh", "--demo", "--dry-run").splitlines()
    assert len(plan) == 12
    assert "demo-data" in plan[0]
    assert plan[-1] == "run    bash predict.sh --demo"
    assert bare.files() == before

    out = bare.ok("train.sh", "--demo")
    calls = bare.calls()
    infers = [f"{name}_stage2/infer.py" for name in MEMBERS]
    after = ["noseprint fuse", "noseprint calibrate", "noseprint report"]
    assert [call["script"] for call in calls] == ["noseprint demo-data", *STEPS, *infers, *after]
    data = f"{bare.root}/data/demo"
    assert calls[1]["args"][:6] == ["--data", data, "--small", "--run", "demo", "--epochs"]
    members = [f"{name}_stage2" for name in MEMBERS]
    assert calls[-1]["args"] == ["--data", data, "--run", "demo", "--frozen", "--members", *members]
    assert (bare.root / "results/demo/final_result.csv").read_text() == "fused"
    assert "  noseprint import photos data/mine\n  bash train.sh --small --data data/mine" in out
    assert out.index("ensemble 0.987") < out.index("final_result.csv") < out.index("your own photographs")


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("data/train/train_data.csv", slice(0, 10)),
        ("data/train/images/new.jpg", slice(0, 10)),
        ("data/validation/valid_data.csv", slice(1, 10)),
        ("data/validation/images/A*1 .jpg", slice(1, 10)),
        ("data/test/test_data.csv", slice(0, 0)),
        ("pseudo_produce/pseudo.py", slice(1, 10)),
        ("swin384_stage1/dataset.py", slice(4, 6)),
        ("swin384_stage2/train.py", slice(5, 6)),
        ("swin384_stage2/infer.py", slice(0, 0)),
    ],
)
def test_a_change_plans_exactly_the_steps_that_depend_on_it(finished, changed, again):
    with (finished.root / changed).open("a") as file:
        file.write("# changed\n")
    plan = [line.split()[:3] for line in finished.ok("train.sh", "--dry-run").splitlines()[:10]]
    assert [script for state, _, script in plan if state == "run"] == STEPS[again]


@pytest.mark.parametrize("args", [(), ("--small", "--jobs", "2"), ("--dry-run",)])
def test_missing_data_is_one_message_and_nothing_is_written(bare, args):
    before = bare.files()
    error = bare.fails("train.sh", *args)
    assert len(error.splitlines()) == 1
    assert "lacks train/train_data.csv validation/valid_data.csv test/test_data.csv." in error
    assert "data/README.md" in error
    assert bare.files() == before


def test_help_lists_every_option(bare, tmp_path):
    for script in ("train.sh", "predict.sh", "predict_ckpt.sh"):
        text = bare.ok(script, "--help", cwd=tmp_path)
        for option in ("--data", "--gpus", "--jobs", "--dry-run", "--help"):
            assert f"  {option}" in text
        assert "source" not in text
