"""predict.sh and predict_ckpt.sh."""

import pytest

MEMBERS = ("swin224", "swin384", "v2", "b7ns")
STAGE_2 = [f"{name}_stage2" for name in MEMBERS]


@pytest.fixture
def trained(checkout):
    for name in MEMBERS:
        (checkout.root / f"{name}_stage2/results").mkdir()
        (checkout.root / f"{name}_stage2/results/best.safetensors").write_text("weights")
    return checkout


def similarities(*names, run=""):
    return [f"{name}_stage2/results/{run}similarity.csv" for name in names]


def fused(checkout, *names, run="", method="mean"):
    pairs = str(checkout.root / "data/test/test_data.csv")
    return [
        *similarities(*names, run=run),
        "--pairs",
        pairs,
        "--out",
        f"results/{run}final_result.csv",
        "--method",
        method,
    ]


def calibrated(checkout, *names, run=()):
    data = str(checkout.root / "data")
    return ["--data", data, "--where-possible", *run, "--members", *(f"{name}_stage2" for name in names)]


def test_scores_with_every_member_and_fuses(trained):
    out = trained.ok("predict.sh")
    calls = trained.calls()
    data = str(trained.root / "data")
    assert [(call["script"], call["args"]) for call in calls] == [
        *((f"{name}_stage2/infer.py", ["--data", data]) for name in MEMBERS),
        ("noseprint fuse", fused(trained, *MEMBERS)),  # first, whatever becomes of the rest
        ("noseprint calibrate", calibrated(trained, *MEMBERS)),
        ("noseprint report", ["--data", data, "--members", *STAGE_2]),
    ]
    assert f"{trained.root}/final_result.csv" in out
    assert (trained.root / "v2_stage2/results/infer.log").is_file()


def test_members_and_method_in_the_methods_order(trained):
    trained.ok("predict.sh", "--members", "b7ns,swin224", "--method", "rank", "--jobs", "2")
    calls = trained.calls()
    assert {call["script"] for call in calls[:-3]} == {"swin224_stage2/infer.py", "b7ns_stage2/infer.py"}
    assert calls[-3]["args"] == fused(trained, "swin224", "b7ns", method="rank")
    assert calls[-2]["args"] == calibrated(trained, "swin224", "b7ns")


def test_small_run(checkout, tmp_path, data_writer):
    data = data_writer(tmp_path / "other data")
    (data / "retrieval.csv").write_text("labels")
    checkout.ok("train.sh", "--small", "--data", str(data))
    checkout.calls()
    checkout.ok("predict.sh", "--small", "--data", "other data", cwd=tmp_path)
    calls = checkout.calls()
    assert calls[0]["args"] == ["--data", str(data), "--small"]
    assert calls[-3]["args"][:4] == similarities(*MEMBERS, run="small/")
    assert calls[-1]["args"] == ["--data", str(data), "--run", "small", "--members", *STAGE_2]


def test_the_answer_stays_in_the_folder_of_its_run(trained):
    put(trained, "v2_stage2.safetensors")
    for script, args, folder in (
        ("predict.sh", (), "results"),
        ("predict_ckpt.sh", ("--members", "v2"), "results/ckpts"),
    ):
        out = trained.ok(script, *args)
        kept = trained.root / folder / "final_result.csv"
        assert kept.read_text() == (trained.root / "final_result.csv").read_text() == "fused"
        assert f"{kept}." in out


def test_missing_member_names_folder_and_command_before_anything_runs(trained):
    (trained.root / "v2_stage2/results/best.safetensors").unlink()
    result = trained.run("predict.sh")
    assert result.returncode == 1
    assert "v2_stage2/results/best.safetensors is missing" in result.stderr
    assert "bash train.sh --data" in result.stderr
    assert trained.called() == []
    trained.ok("predict.sh", "--members", "swin224,swin384,b7ns")


def test_unfinished_member_is_mentioned(trained):
    (trained.root / "v2_stage2/results/train.inputs").write_text("0")
    assert "v2_stage2 is not trained to its end" in trained.ok("predict.sh")


def test_failed_member_leaves_the_old_answer_alone(trained):
    trained.wish("swin384_stage2/infer.py", "fail 5")
    (trained.root / "final_result.csv").write_text("old")
    result = trained.run("predict.sh")
    assert result.returncode == 1
    assert "swin384_stage2/infer.py failed (exit status 5)" in result.stderr
    assert "swin384_stage2/results/infer.log" in result.stderr
    assert (trained.root / "final_result.csv").read_text() == "old"


def test_what_keeps_a_verifier_from_being_made_does_not_keep_the_scores(trained):
    (trained.root / "fail_calibrate").write_text("")
    result = trained.run("predict.sh")
    assert result.returncode == 1
    assert "no verifier" in result.stderr
    assert trained.calls()[-1]["script"] == "noseprint report"
    assert "ensemble 0.987" in result.stdout


def test_dry_run_writes_nothing(trained):
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
    ("args", "said"),
    [
        (("--members", "v2,v3"), "no member v3"),
        (("--method", "median"), "--method median"),
        (("--force",), "unknown option --force"),
        (("stray",), "unknown option stray"),
    ],
)
def test_wrong_options(trained, script, args, said):
    result = trained.run(script, *args)
    assert result.returncode == 2
    assert said in result.stderr
    assert trained.called() == []


@pytest.mark.parametrize("script", ["predict.sh", "predict_ckpt.sh"])
def test_no_data(bare, script):
    result = bare.run(script)
    assert result.returncode == 1
    assert "lacks test/test_data.csv" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def put(checkout, *names, folder="ckpts"):
    (checkout.root / folder).mkdir(exist_ok=True)
    for name in names:
        (checkout.root / folder / name).write_text("weights")


def weights(calls):
    return {
        call["script"].split("_")[0]: call["args"][call["args"].index("--weights") + 1].split("/")[-1]
        for call in calls
        if call["script"].endswith("infer.py")
    }


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (
            ("swin224_stage2.pth", "swin384_stage2.pth", "effv2l_stage2.pth", "b7ns_stage2.pth"),
            ("swin224", "swin384", "v2", "b7ns"),
        ),
        (("v2_stage2.safetensors", "b7ns_stage2.safetensors"), ("v2", "b7ns")),
        (("effv2l_stage2.safetensors",), ("v2",)),
    ],
)
def test_ckpts_uses_what_is_there(checkout, names, used):
    put(checkout, *names)
    out = checkout.ok("predict_ckpt.sh")
    calls = checkout.calls()
    assert weights(calls) == dict(zip(used, names, strict=True))
    assert calls[0]["args"][-2:] == ["--run", "ckpts"]
    assert "No verifier is made" in out
    assert "noseprint calibrate" not in {call["script"] for call in calls}
    assert calls[-2]["args"] == fused(checkout, *used, run="ckpts/")
    assert calls[-1]["script"] == "noseprint report"
    for name in MEMBERS:
        assert (f"{name}: missing" in out) == (name not in used)


def test_ckpts_members_and_folder(checkout, tmp_path):
    put(checkout, "swin224_stage2.pth", "effv2l_stage2.pth", folder="my weights")
    checkout.ok("predict_ckpt.sh", "--ckpts", "my weights", "--members", "v2", cwd=checkout.root)
    assert weights(checkout.calls()) == {"v2": "effv2l_stage2.pth"}
    result = checkout.run("predict_ckpt.sh", "--ckpts", "my weights", "--members", "v2,b7ns", cwd=checkout.root)
    assert result.returncode == 1
    assert "--members asks for b7ns" in result.stderr
    assert checkout.called() == []


def test_ckpts_none_says_what_is_looked_for(checkout):
    result = checkout.run("predict_ckpt.sh")
    assert result.returncode == 1
    assert "ckpts/README.md" in result.stderr
    for name in ("swin224_stage2.pth", "effv2l_stage2.pth", "v2_stage2.safetensors", "b7ns_stage2.safetensors"):
        assert name in result.stdout


@pytest.mark.parametrize(
    "names",
    [("v2_stage2.safetensors", "effv2l_stage2.pth"), ("swin224_stage2.safetensors", "swin224_stage2.pth")],
)
def test_ckpts_two_for_one_member_is_refused(checkout, names):
    put(checkout, *names)
    result = checkout.run("predict_ckpt.sh")
    assert result.returncode == 1
    assert "keep one" in result.stderr
    assert all(name in result.stderr for name in names)
    assert checkout.called() == []
