"""What every recipe folder must hold, read without training."""

import difflib
import importlib.util
import re

import numpy as np
import pytest
import timm

from noseprint.data.transforms import apply_transform

from .conftest import FOLDERS, ROOT, STAGES

FULL_SIZE = {"pseudo_produce": 224, "swin224": 224, "swin384": 384, "v2": 224, "b7ns": 224}


def load(folder: str, module: str):
    spec = importlib.util.spec_from_file_location(f"{folder}_{module}", ROOT / folder / f"{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def image(height: int = 210, width: int = 190) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_holds_exactly_these_files(folder):
    scripts = {"train.py", "pseudo.py"} if folder == "pseudo_produce" else {"train.py", "infer.py"}
    held = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
    assert held == scripts | {"dataset.py", "model.py", "README.md"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_backbones_carry_their_tag_and_are_known(folder):
    model = load(folder, "model")
    for name in (model.BACKBONE, model.SMALL_BACKBONE):
        assert "." in name
        assert name in timm.list_models(include_tags=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_imports_another(folder):
    for path in (ROOT / folder).glob("*.py"):
        imported = re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M)
        assert not set(imported) & set(FOLDERS), path


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("size", [32, None])
def test_every_transform_ends_at_the_input_size(folder, size):
    dataset = load(folder, "dataset")
    size = size or FULL_SIZE[folder.partition("_stage")[0]]
    transforms = [dataset.training_transform(size), dataset.evaluation_transform(size)]
    if folder != "pseudo_produce":
        transforms.append(dataset.degraded_transform(size))
    for transform in transforms:
        for i in range(12):
            result = apply_transform(transform, image(), (i,))
            assert result.shape == (size, size, 3)
            assert result.dtype == np.uint8


def detail(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture.astype(int), axis=0)).mean())


@pytest.mark.parametrize("folder", [f for f in STAGES if f.endswith("stage1")])
def test_stage_1_makes_45_percent_of_the_images_coarse_and_nothing_else(folder):
    dataset = load(folder, "dataset")
    plain = apply_transform(dataset.evaluation_transform(224), image(), (0,))
    transforms = [apply_transform(dataset.training_transform(224), image(), (i,)) for i in range(400)]
    untouched = sum(np.array_equal(transform, plain) for transform in transforms)
    assert pytest.approx(untouched, abs=5 * (400 * 0.55 * 0.45) ** 0.5) == 400 * 0.55
    assert all(detail(v) < 0.75 * detail(plain) for v in transforms if not np.array_equal(v, plain))


@pytest.mark.parametrize("folder", [f for f in STAGES if f.endswith("stage2")])
def test_stage_2_has_the_transforms_of_the_method(folder):
    dataset = load(folder, "dataset")
    size = FULL_SIZE[folder.partition("_stage")[0]]
    degraded, jpeg, blur, light = dataset.training_transform(size).transforms
    coarse, crop = degraded.transforms
    assert coarse.p == 0.45
    assert [(t.height, t.width, t.p) for t in coarse.transforms] == [(60, 60, 0.6), (60, 84, 0.2), (47, 60, 0.2)]
    cropped, whole = crop.transforms
    assert (cropped.p, whole.p) == (0.2, 1.0)
    assert cropped.transforms[0].height == {224: 240, 384: 432}[size]
    assert (jpeg.p, jpeg.quality_range) == (0.75, (90, 100))
    assert blur.p == 0.8
    assert blur.blur_limit == (3, {224: 39, 384: 41}[size])
    assert (light.p, light.brightness_limit, light.contrast_limit) == (0.4, (-0.2, 0.2), (-0.2, 0.2))


def test_epochs_and_learning_rates_are_those_of_the_write_up():
    for folder in FOLDERS:
        text = (ROOT / folder / "train.py").read_text()
        epochs, rate = ("20", "3e-5") if folder.endswith("stage2") else ("30", "5e-5")
        full = re.search(r"^FULL = .*?^SMALL", text, re.M | re.S)[0]
        assert f"epochs={epochs}," in full, folder
        assert f"lr={rate}" in full, folder


def test_siblings_differ_in_their_decisions_only():
    """Two networks of one stage: their names, backbones, sizes and batches."""
    for script in ("train.py", "infer.py", "dataset.py"):
        for stage in ("stage1", "stage2"):
            texts = [(ROOT / f"{name}_{stage}" / script).read_text().splitlines() for name in ("swin224", "b7ns")]
            changed = [line for line in difflib.ndiff(*texts) if line[0] in "+-"]
            assert len(changed) <= 10, (script, stage, changed)
    assert len((ROOT / "swin224_stage1" / "train.py").read_text().splitlines()) <= 50


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_readme_is_about_its_folder(folder):
    text = (ROOT / folder / "README.md").read_text()
    assert text.startswith(f"# {folder}\n")
    assert load(folder, "model").BACKBONE in text
