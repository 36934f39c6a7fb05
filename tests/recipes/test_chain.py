"""The chain pseudo-labels -> stage 1 -> stage 2 -> similarity, with a tiny network, as a user runs it by hand."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from noseprint.data.tables import read_pairs, read_train
from noseprint.models.weights import read_header

from .conftest import FOLDERS, SHORT, TINY

WHOLE = [("swin224", 32), ("swin384", 48), ("v2", 32), ("b7ns", 40)]


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_network_goes_from_photographs_to_similarities(checkout):
    """Every step with another batch size, number of epochs, data folder, image sizes and backbone."""
    checkout.works("pseudo_produce/train.py", *TINY, *SHORT)
    said = checkout.works("pseudo_produce/pseudo.py", "--device", "cpu", "--precision", "0.5")
    assert "pseudo-identities" in said
    summary = json.loads(checkout.result("pseudo_produce", "pseudo.json").read_text())
    assert summary["pairs"] == len(read_pairs(checkout.data, "validation"))
    assert len(rows(checkout.result("pseudo_produce", "pseudo.csv"))) == summary["images"]
    for name, size in WHOLE:
        checkout.works(f"{name}_stage1/train.py", *TINY[:-1], str(size), *SHORT, "--train-size", "36")
        checkout.works(f"{name}_stage2/train.py", *SHORT, "--train-size", "36")
        header = read_header(checkout.result(f"{name}_stage2", "best.safetensors"))
        assert (header.backbone, header.image_size) == (TINY[1], size)
        checkout.works(f"{name}_stage2/infer.py", "--device", "cpu", "--degraded-transform")
        found = rows(checkout.result(f"{name}_stage2", "similarity.csv"))
        pairs = read_pairs(checkout.data, "test")
        assert [(row["imageA"], row["imageB"]) for row in found] == list(zip(pairs.image_a, pairs.image_b, strict=True))
        assert all(-1 <= float(row["prediction"]) <= 1 and 0 <= float(row["probability"]) <= 1 for row in found)


def test_the_degraded_transform_is_seeded(checkout):
    checkout.works("v2_stage1/train.py", *TINY, *SHORT, "--no-pseudo")
    similarity = checkout.result("v2_stage1", "similarity.csv")
    seen = []
    for options in ([], ["--degraded-transform"], ["--degraded-view"], ["--degraded-transform", "--seed", "1"]):
        checkout.works("v2_stage1/infer.py", "--device", "cpu", *options)
        seen.append(similarity.read_bytes())
    plain, first, second, other = seen
    assert first == second
    assert len({plain, first, other}) == 3


def test_the_validation_pairs_have_a_file_of_their_own(checkout):
    checkout.works("v2_stage1/train.py", *TINY, *SHORT, "--no-pseudo")
    checkout.works("v2_stage1/infer.py", "--device", "cpu", "--split", "validation")
    assert not checkout.result("v2_stage1", "similarity.csv").exists()
    found = rows(checkout.result("v2_stage1", "similarity_validation.csv"))
    assert len(found) == len(read_pairs(checkout.data, "validation"))


def test_broken_photographs_stop_a_training_before_it_begins_and_skip_bad_leaves_them_out(checkout, tmp_path):
    checkout.data = Path(shutil.copytree(checkout.data, tmp_path / "data"))
    broken = [read_train(checkout.data).paths[0], *(checkout.data / "validation/images").iterdir()][:2]
    broken[0].write_bytes(b"")
    broken[1].unlink()
    train, pseudo = ("pseudo_produce/train.py", *TINY, *SHORT), ("pseudo_produce/pseudo.py", "--device", "cpu")
    refused = checkout.run(*train)
    assert refused.returncode == 1
    assert f"{broken[0].name}: is empty" in refused.stderr
    assert not checkout.result("pseudo_produce", "best.safetensors").exists()
    skipping = checkout.run(*train, "--skip-bad")
    assert skipping.returncode == 0
    assert "1 of " in skipping.stderr
    refused = checkout.run(*pseudo)
    assert refused.returncode == 1
    assert broken[1].name in refused.stderr
    checkout.works(*pseudo, "--skip-bad")
    assert broken[1].name in checkout.result("pseudo_produce", "skipped_pseudo.csv").read_text()
    assert broken[1].name not in checkout.result("pseudo_produce", "pseudo.csv").read_text()
    for path in (checkout.data / "validation/images").iterdir():
        path.write_bytes(b"")
    refused = checkout.run(*pseudo, "--skip-bad")
    assert refused.returncode == 1
    assert "every validation pair has an unreadable photograph" in refused.stderr


def test_a_warning_says_when_every_pair_was_accepted(checkout):
    checkout.works("pseudo_produce/train.py", *TINY, *SHORT, "--holdout", "0")
    assert "Every pair was chosen" in checkout.works("pseudo_produce/pseudo.py", "--device", "cpu")
    assert "Every pair was chosen" not in checkout.works("pseudo_produce/pseudo.py", "--device", "cpu", "--count", "3")


@pytest.mark.parametrize("folder", FOLDERS)
def test_help_shows_every_option_with_its_default(checkout, folder):
    said = re.sub(r"[\s│]+", " ", checkout.run(f"{folder}/train.py", "--help", data=False).stdout)
    for option in ("--epochs", "--batch-size", "--lr", "--backbone", "--image-size", "--holdout", "--seed", "--run"):
        assert option in said
    assert f"(default: {20 if folder.endswith('stage2') else 30})" in said


def test_small_has_its_own_defaults_and_its_own_results(checkout):
    said = checkout.run("b7ns_stage1/train.py", "--small", "--help", data=False).stdout
    assert "tf_efficientnet_lite2.in1k" in said
    assert "(default: small)" in said


def test_a_copied_folder_works_from_inside(checkout):
    """Self-contained: copy the folder, keep the library, edit."""
    copy = checkout.root / "mine"
    shutil.copytree(checkout.root / "v2_stage1", copy)
    options = ["--data", str(checkout.data), "--no-pseudo", "--trunk", *TINY[1:], *SHORT]  # --backbone by its old name
    subprocess.run([sys.executable, "train.py", *options], cwd=copy, check=True, timeout=120)
    assert (copy / "results" / "best.safetensors").is_file()


@pytest.mark.parametrize(
    ("script", "options", "message", "code"),
    [
        ("v2_stage1/train.py", ["--no-such-option"], "--no-such-option", 2),
        ("v2_stage1/train.py", [*TINY, *SHORT], "pseudo.csv is missing: run pseudo_produce", 1),
        (
            "v2_stage1/train.py",
            ["--no-pseudo", *SHORT, "--no-pretrained", "--backbone", "resnet1"],
            "unknown to timm",
            1,
        ),
        ("v2_stage2/train.py", ["--no-pseudo", *SHORT], "no such weights file", 1),
        ("v2_stage1/infer.py", [], "no such weights file", 1),
        ("v2_stage1/infer.py", ["--weights", "gone.pth"], "gone.pth: no such checkpoint", 1),
        ("v2_stage1/train.py", ["--no-pseudo", "--epochs", "0"], "--epochs 0: must be at least 1", 1),
        ("v2_stage1/train.py", ["--no-pseudo", *TINY, *SHORT, "--train-size", "8"], "--train-size 8: must be in", 1),
    ],
)
def test_a_mistake_gives_one_message_and_leaves_nothing(checkout, script, options, message, code):
    done = checkout.run(script, *options)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout.root / script).parent.joinpath("results").exists()


def test_the_weights_of_another_recipe_are_refused(checkout, tmp_path, write_weights):
    weights = write_weights(tmp_path / "swin224_stage2.safetensors", recipe="v2_stage2")
    options = ("--device", "cpu", "--weights", str(weights), "--run", "ckpts")
    done = checkout.run("swin224_stage2/infer.py", *options)
    assert done.returncode == 1
    assert "these are the weights of v2_stage2, not of swin224_stage2" in done.stderr
    assert not checkout.result("swin224_stage2", "similarity.csv", "ckpts").exists()
    checkout.works("v2_stage2/infer.py", *options)


def test_the_backbone_starts_from_a_file(checkout, tmp_path):
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model(TINY[1], pretrained=False).state_dict(), weights)
    options = (TINY[0], TINY[1], "--image-size", "32", "--no-pseudo", *SHORT)
    checkout.works("v2_stage1/train.py", *options, "--backbone-weights", str(weights))
    refused = checkout.run("v2_stage1/train.py", *options, "--restart", "--backbone-weights", str(tmp_path / "gone"))
    assert refused.returncode == 1
    assert "gone" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_killed_training_resumes_to_the_same_bits(checkout):
    options = ["--data", str(checkout.data), "--no-pseudo", *TINY, *SHORT, "--epochs", "12", "--save-every", "2"]
    checkout.works("v2_stage1/train.py", *options[2:], "--run", "whole")
    command = checkout.command("v2_stage1/train.py", *options, "--run", "cut")
    state = checkout.result("v2_stage1", "last/state.pt", "cut")
    threads = os.environ | {"OMP_NUM_THREADS": "2"}  # as in `works`: another number rounds otherwise
    for kill in range(3):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=threads)
        give_up = time.monotonic() + 60
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            assert time.monotonic() < give_up
            time.sleep(0.005)
        assert process.poll() is None, f"ended before kill {kill}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=threads)
    assert "resuming after step" in done.stdout
    whole, cut = (checkout.result("v2_stage1", "best.safetensors", run).read_bytes() for run in ("whole", "cut"))
    assert whole == cut


def test_two_processes_under_torchrun_train_and_write_once(checkout):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    script = checkout.command(
        "v2_stage1/train.py", "--run", "two", "--data", str(checkout.data), "--no-pseudo", *TINY, *SHORT
    )[1:]
    done = subprocess.run(
        [*run, *script], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^step (\d+)/\1: loss", done.stdout, re.MULTILINE)) == 1
    assert read_header(checkout.result("v2_stage1", "best.safetensors", "two")).backbone == TINY[1]
