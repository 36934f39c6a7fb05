"""The members of recipes/web_finegrained, with a tiny network: trained, killed, resumed, and asked for answers."""

import importlib.util
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch

from noseprint.data.transforms import apply_transform
from noseprint.inference.classify import read_outputs
from noseprint.models.weights_header import read_header

FAMILY = Path(__file__).parents[2] / "recipes" / "web_finegrained"
MEMBERS = ("b4", "b5")
TINY = ["--backbone", "test_efficientnet.r160_in1k", "--no-pretrained", "--image-size", "32", "--train-size", "32"]
SHORT = ["--epochs", "2", "--batch-size", "8", "--device", "cpu", "--workers", "0", "--run", "tiny"]
NUMBERS = {"train": 8, "val": 3, "test": 2}  # images of each class


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three classes that differ in brightness; the unlabelled images have no class."""
    data, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, number in NUMBERS.items():
        for label, low in (("bright", 160), ("dark", 0), ("grey", 90)):
            (data / split / label).mkdir(parents=True)
            for k in range(number):
                cv2.imwrite(str(data / split / label / f"{k}.jpg"), rng.integers(low, low + 90, (40, 52, 3), np.uint8))
    (data / "unlabelled").mkdir()
    cv2.imwrite(str(data / "unlabelled" / "1.jpg"), np.full((40, 40, 3), 128, np.uint8))
    return data


@pytest.fixture(scope="module")
def family(tmp_path_factory, data) -> Path:
    """The folders of the members. b4 has been trained."""
    family = tmp_path_factory.mktemp("family")
    for member in MEMBERS:
        shutil.copytree(FAMILY / member, family / member, ignore=shutil.ignore_patterns("results", "__pycache__"))
    run(family / "b4/train.py", data, *TINY, *SHORT)
    return family


def run(script: Path, data: Path, *options: str) -> None:
    """Run a script as a user does, but in this process: loading torch takes seconds."""
    before = sys.argv, list(sys.path)
    for name in ("dataset", "model"):
        sys.modules.pop(name, None)
    sys.argv, sys.path[0] = [str(script), "--data", str(data), *options], str(script.parent)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


def infer(family: Path, member: str, data: Path, *options: str, name: str = "tiny") -> Path:
    run(family / member / "infer.py", data, "--device", "cpu", "--engine", "torch", "--run", name, *options)
    return family / member / "results" / name


def load(member: str, module: str):
    spec = importlib.util.spec_from_file_location(f"{member}_{module}", FAMILY / member / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_a_member_answers_for_the_hold_out_the_test_and_the_unlabelled_images(family, data):
    results = infer(family, "b4", data)
    found = {kind: read_outputs(results / f"{kind}.safetensors") for kind in ("holdout", "test", "unlabelled")}
    assert [len(outputs.names) for outputs in found.values()] == [9, 6, 1]
    assert all(name.startswith("val/") for name in found["holdout"].names)
    assert found["test"].classes == ("bright", "dark", "grey")
    assert len({outputs.network for outputs in found.values()}) == 1
    scores = read_header(results / "best.safetensors").holdout_scores
    truth = [name.split("/")[1] for name in found["holdout"].names]
    answers = [found["holdout"].classes[row.argmax()] for row in found["holdout"].logits]
    assert np.mean([a == b for a, b in zip(answers, truth, strict=True)]) == pytest.approx(scores["accuracy"])


def test_a_member_answers_for_any_photographs_without_the_data(family, data, tmp_path):
    results = infer(family, "b4", tmp_path / "no data", "--images", str(data / "test"))
    found, test = (read_outputs(results / f"{kind}.safetensors") for kind in ("images", "test"))
    assert found.names == tuple(name.removeprefix("test/") for name in test.names)
    np.testing.assert_allclose(found.logits, test.logits, atol=1e-5)


def test_the_labels_that_were_cleaned_are_learned_unless_the_given_ones_are_wanted(family, data, capsys):
    """Without val, so that a tenth of the images is held out."""
    bare = family / "bare"
    bare.mkdir()
    (bare / "train").symlink_to(data / "train")
    table = family / "results" / "cleaned" / "labels.csv"
    table.parent.mkdir(parents=True)
    kept = [f"train/{label}/{k}.jpg,{label}" for label in ("bright", "dark", "grey") for k in range(1, 8)]
    table.write_text("\n".join(["image,label", *kept]))
    options = [*TINY, *SHORT[:-1], "cleaned", "--holdout", "0.3", "--epochs", "1"]
    run(family / "b5/train.py", bare, *options)
    results = infer(family, "b5", bare, name="cleaned")
    held_out = read_outputs(results / "holdout.safetensors").names
    counts = json.loads(read_header(results / "best.safetensors").extra["training_counts"])
    assert sum(counts) + len(held_out) == 21
    assert not (results / "test.safetensors").exists()
    with pytest.raises(SystemExit):
        infer(family, "b5", bare, "--labels", "given", name="cleaned")
    assert "its training held out other images" in capsys.readouterr().err
    run(family / "b5/train.py", bare, *options, "--labels", "given", "--restart")
    again = read_outputs(infer(family, "b5", bare, "--labels", "given", name="cleaned") / "holdout.safetensors").names
    assert {name for name in again if not name.endswith("/0.jpg")} == set(held_out)
    assert sum(json.loads(read_header(results / "best.safetensors").extra["training_counts"])) + len(again) == 24


def test_a_killed_training_resumes_to_the_same_answers(family, data):
    results = family / "b4" / "results"
    options = [*TINY, *SHORT[:-1], "cut", "--save-every", "2", "--epochs", "8"]
    state = results / "cut/last/state.pt"
    command = [sys.executable, str(family / "b4/train.py"), "--data", str(data), *options]
    threads = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=threads) as process:
        give_up = time.monotonic() + 120
        while process.poll() is None and not state.exists():
            assert time.monotonic() < give_up
            time.sleep(0.005)
        assert process.poll() is None, "ended before it was killed"
        process.send_signal(signal.SIGKILL)
    assert not (results / "cut/train.done").exists()
    run(family / "b4/train.py", data, *options)
    infer(family, "b4", data, name="cut")
    whole = ["whole" if option == "cut" else option for option in options]
    run(family / "b4/train.py", data, *whole)
    infer(family, "b4", data, name="whole")
    for kind in ("holdout", "test", "unlabelled"):
        assert len({(results / name / f"{kind}.safetensors").read_bytes() for name in ("cut", "whole")}) == 1


def test_a_training_for_which_nothing_is_held_out_is_refused(family, data, capsys):
    with pytest.raises(SystemExit):
        run(family / "b4/train.py", data, *TINY, *SHORT, "--holdout", "0")
    assert "--holdout 0: give a share above 0" in capsys.readouterr().err


@pytest.mark.parametrize("member", MEMBERS)
def test_backbones_are_known_and_the_sizes_are_those_of_the_method(member):
    model = load(member, "model")
    for name in (model.BACKBONE, model.SMALL_BACKBONE):
        assert name in timm.list_models(include_tags=True)
    full = (FAMILY / member / "train.py").read_text().partition("SMALL = ")[0]
    for decision in ("image_size=380", 'optimizer="radam"', "sgd_lr=0.03", 'mixing="cutmix"', 'balance="oversample"'):
        assert decision in full


def photograph(height: int = 190, width: int = 240) -> np.ndarray:
    """Smooth, without symmetry, and of one colour."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 150 * x / width + 40 * (y / height) ** 2, 90 + 60 * y / height, 30 + 0 * x], 2).astype(
        np.uint8
    )


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("name", ["training", "small_training", "evaluation"])
def test_every_transform_ends_at_the_input_size_and_depends_on_the_seed_alone(member, name):
    transform = getattr(load(member, "dataset"), f"{name}_transform")(96)
    for seed in range(12):
        results = [apply_transform(transform, photograph(*size), (seed,)) for size in ((190, 240), (300, 60)) * 2]
        assert {result.shape for result in results} == {(96, 96, 3)}
        assert np.array_equal(results[0], results[2])
    drawn = {apply_transform(transform, photograph(), (seed,)).tobytes() for seed in range(12)}
    assert len(drawn) > 8 if "training" in name else len(drawn) == 1


def always(transform):
    transform.p = 1.0
    return transform


@pytest.mark.parametrize("member", MEMBERS)
def test_each_part_of_the_training_transform_is_seen(member):
    """Each of them alone changes a picture in the way that its name says."""
    parts = {type(part).__name__: part for part in load(member, "dataset").training_transform(380).transforms}
    assert parts["SmallestMaxSize"].max_size == 437
    crop = apply_transform(parts["RandomCrop"], photograph(437, 500), (0,))
    result = {name: [apply_transform(always(part), crop, (seed,)) for seed in range(20)] for name, part in parts.items()
              if name not in ("SmallestMaxSize", "RandomCrop")}  # fmt: skip
    assert len(result) == 7
    turns = {np.rot90(crop, k).tobytes() for k in range(4)}
    assert {image.tobytes() for image in result["RandomRotate90"]} == turns
    assert all(np.array_equal(image, crop[:, ::-1]) for image in result["HorizontalFlip"])
    shuffled = result["OneOf"]
    assert all(not np.array_equal(image, crop) for image in shuffled)
    assert all(np.abs(image.mean((0, 1)) - crop.mean((0, 1))).max() < 3 for image in shuffled)
    assert np.std([image.mean() for image in result["ColorJitter"]]) > 5
    noise = np.random.default_rng(0).integers(0, 256, (380, 380, 3), np.uint8)
    coarse = [apply_transform(parts["Downscale"], noise, (seed,)) for seed in range(20)]
    assert max(image.std() for image in coarse) < 0.6 * noise.std()
    assert all(
        round(380 * share) == side for share, side in zip(parts["Downscale"].scale_range, (150, 190), strict=True)
    )
    assert all(0 < np.abs(image.astype(int) - crop).mean() < 15 for image in result["ImageCompression"])
    assert all(np.abs(image.astype(int) - crop).mean() > 10 for image in result["RandomPaste"])


def test_the_test_photograph_is_the_middle_of_one_1_35_times_as_large():
    picture = photograph(540, 540)
    shown = apply_transform(load("b4", "dataset").evaluation_transform(400), picture, (0,))
    np.testing.assert_array_equal(shown, picture[70:470, 70:470])


@pytest.mark.parametrize("member", MEMBERS)
def test_the_network_of_the_method_takes_a_step_at_full_size(family, data, member):
    small = family / f"few for {member}"
    for split, name in (("train", "bright/0.jpg"), ("train", "dark/0.jpg"), ("val", "dark/0.jpg")):
        (small / split / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / split / name, small / split / name)
    options = ["--no-pretrained", "--epochs", "1", "--batch-size", "2", "--chunk-size", "2", "--workers", "0"]
    run(family / member / "train.py", small, *options, "--run", "full", "--device", "cpu")
    header = read_header(family / member / "results/full/best.safetensors")
    assert (header.backbone, header.image_size) == (load(member, "model").BACKBONE, 380)
