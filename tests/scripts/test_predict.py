"""predict.sh and predict_ckpt.sh."""

import shutil

import pytest

MEMBERS = ("swin224", "swin384", "v2", "b7ns")
STAGE_2 = [f"{name}_stage2" for name in MEMBERS]


@pytest.fixture
def trained(checkout):
    for folder in STAGE_2:
        for run in ("", "small"):
            (checkout.root / folder / "results" / run).mkdir()
            (checkout.root / folder / "results" / run / "best.safetensors").write_text("weights")
    return checkout


def put(checkout, *names, folder="ckpts"):
    (checkout.root / folder).mkdir(exist_ok=True)
    for name in names:
        (checkout.root / folder / name).write_text("weights")


def fuse_args(checkout, *members, run="", method="mean"):
    similarities = [f"{name}_stage2/results/{run}similarity.csv" for name in members]
    pairs, out = f"{checkout.root}/data/test/test_data.csv", f"results/{run}final_result.csv"
    return [*similarities, "--pairs", pairs, "--out", out, "--method", method]


def calibrate_args(checkout, *members):
    return ["--data", f"{checkout.root}/data", "--where-possible", "--members", *(f"{name}_stage2" for name in members)]


def test_every_member_scores_the_pairs_before_they_are_fused(trained):
    out = trained.ok("predict.sh")
    data = ["--data", f"{trained.root}/data"]
    assert [(call["script"], call["args"]) for call in trained.calls()] == [
        *((f"{name}_stage2/infer.py", data) for name in MEMBERS),
        ("noseprint fuse", fuse_args(trained, *MEMBERS)),  # before the rest, which may fail
        ("noseprint calibrate", calibrate_args(trained, *MEMBERS)),
        ("noseprint report", [*data, "--members", *STAGE_2]),
    ]
    answer = trained.root / "results/final_result.csv"
    assert answer.read_text() == (trained.root / "final_result.csv").read_text() == "fused"
    assert f"{trained.root}/final_result.csv" in out
    assert f"{answer}." in out
    assert (trained.root / "v2_stage2/results/infer.log").is_file()


def test_members_are_fused_in_the_order_of_members_txt(trained):
    trained.ok("predict.sh", "--members", "b7ns,swin224", "--method", "rank", "--jobs", "2")
    calls = trained.calls()
    assert {call["script"] for call in calls[:-3]} == {"swin224_stage2/infer.py", "b7ns_stage2/infer.py"}
    assert calls[-3]["args"] == fuse_args(trained, "swin224", "b7ns", method="rank")
    assert calls[-2]["args"] == calibrate_args(trained, "swin224", "b7ns")


def test_small_networks_answer_pairs_of_a_data_folder_elsewhere(trained, tmp_path):
    data = shutil.copytree(trained.root / "data", tmp_path / "other data")
    trained.ok("predict.sh", "--small", "--data", "other data", cwd=tmp_path)
    calls = trained.calls()
    assert calls[0]["args"] == ["--data", str(data), "--small"]
    assert calls[-3]["args"][:4] == fuse_args(trained, *MEMBERS, run="small/")[:4]
    assert calls[-1]["args"] == ["--data", str(data), "--run", "small", "--members", *STAGE_2]


def test_skip_bad_reaches_what_reads_the_photographs(trained):
    trained.ok("predict.sh", "--skip-bad", "--members", "v2,b7ns")
    *infer, fuse, calibrate, report = trained.calls()
    assert all("--skip-bad" in call["args"] for call in (*infer, report))
    assert not any("--skip-bad" in call["args"] for call in (fuse, calibrate))  # calibrate leaves them out by itself


def test_a_missing_network_is_named_with_the_command_before_anything_runs(trained):
    (trained.root / "v2_stage2/results/best.safetensors").unlink()
    error = trained.fails("predict.sh")
    assert "v2_stage2/results/best.safetensors is missing" in error
    assert "bash train.sh --data" in error
    assert trained.called() == []


def test_an_unfinished_network_is_mentioned(trained):
    (trained.root / "v2_stage2/results/train.inputs").write_text("0")
    assert "the training of v2_stage2 is not finished" in trained.ok("predict.sh", "--dry-run")


def test_a_failed_member_leaves_the_old_answer_alone(trained):
    trained.will("swin384_stage2/infer.py", "fail 5")
    (trained.root / "final_result.csv").write_text("old")
    error = trained.fails("predict.sh")
    log = f"{trained.root}/swin384_stage2/results/infer.log"
    assert f"swin384_stage2/infer.py failed (exit status 5); its log is {log}" in error
    assert (trained.root / "final_result.csv").read_text() == "old"


def test_scores_do_not_depend_on_a_verifier(trained):
    (trained.root / "fail_calibrate").write_text("")
    result = trained.run("predict.sh", "--members", "v2")
    assert result.returncode == 1
    assert "no verifier" in result.stderr
    assert trained.calls()[-1]["script"] == "noseprint report"
    assert "ensemble 0.987" in result.stdout


def test_a_dry_run_writes_nothing(trained):
    before = trained.files()
    lines = trained.ok("predict.sh", "--dry-run").splitlines()
    assert [line.split()[2] for line in lines[:4]] == [f"{name}_stage2/infer.py" for name in MEMBERS]
    assert lines[4] == "run    mkdir -p results/"
    assert "fuse" in lines[5]
    assert lines[6] == "run    cp results/final_result.csv final_result.csv"
    assert "calibrate" in lines[7]
    assert len(lines) == 9
    assert trained.files() == before


@pytest.mark.parametrize("script", ["predict.sh", "predict_ckpt.sh"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--members", "v2,v3"), "no member v3"),
        (("--method", "median"), "--method median"),
        (("--force",), "unknown option --force"),
        (("stray",), "unknown option stray"),
    ],
)
def test_wrong_options_are_refused(trained, script, args, message):
    assert message in trained.fails(script, *args, status=2)
    assert trained.called() == []


@pytest.mark.parametrize("script", ["predict.sh", "predict_ckpt.sh"])
def test_missing_data_give_one_message(bare, script):
    error = bare.fails(script)
    assert "lacks test/test_data.csv" in error
    assert len(error.splitlines()) == 1


def weights_used(calls):
    return {
        call["script"].split("_")[0]: call["args"][call["args"].index("--weights") + 1].split("/")[-1]
        for call in calls
        if call["script"].endswith("infer.py")
    }


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("swin224_stage2.pth", "swin384_stage2.pth", "effv2l_stage2.pth", "b7ns_stage2.pth"), MEMBERS),
        (("v2_stage2.safetensors", "b7ns_stage2.safetensors"), ("v2", "b7ns")),
        (("effv2l_stage2.safetensors",), ("v2",)),
    ],
)
def test_ckpts_uses_the_weights_that_are_there(checkout, names, used):
    put(checkout, *names)
    out = checkout.ok("predict_ckpt.sh")
    calls = checkout.calls()
    assert weights_used(calls) == dict(zip(used, names, strict=True))
    assert calls[0]["args"][-2:] == ["--run", "ckpts"]
    assert "No verifier is made" in out
    assert [call["script"] for call in calls[-2:]] == ["noseprint fuse", "noseprint report"]
    assert calls[-2]["args"] == fuse_args(checkout, *used, run="ckpts/")
    assert (checkout.root / "results/ckpts/final_result.csv").read_text() == "fused"
    for name in MEMBERS:
        assert (f"{name}: missing" in out) == (name not in used)


def test_ckpts_uses_the_given_members_and_folder(checkout):
    put(checkout, "swin224_stage2.pth", "effv2l_stage2.pth", folder="my weights")
    checkout.ok("predict_ckpt.sh", "--ckpts", "my weights", "--members", "v2", cwd=checkout.root)
    assert weights_used(checkout.calls()) == {"v2": "effv2l_stage2.pth"}
    assert "--members asks for b7ns" in checkout.fails("predict_ckpt.sh", "--ckpts", "my weights", "--members", "b7ns")
    assert checkout.called() == []


def test_ckpts_without_weights_lists_the_file_names(checkout):
    result = checkout.run("predict_ckpt.sh")
    assert result.returncode == 1
    assert "ckpts/README.md" in result.stderr
    for name in ("swin224_stage2.pth", "effv2l_stage2.pth", "v2_stage2.safetensors", "b7ns_stage2.safetensors"):
        assert name in result.stdout


@pytest.mark.parametrize(
    "names",
    [("v2_stage2.safetensors", "effv2l_stage2.pth"), ("swin224_stage2.safetensors", "swin224_stage2.pth")],
)
def test_ckpts_refuses_two_files_for_one_member(checkout, names):
    put(checkout, *names)
    error = checkout.fails("predict_ckpt.sh")
    assert "keep one" in error
    assert all(name in error for name in names)
    assert checkout.called() == []
