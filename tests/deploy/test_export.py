import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from noseprint.calibration.curves import Platt
from noseprint.data.transforms import A
from noseprint.deploy import export as export_module
from noseprint.deploy.export import export
from noseprint.errors import NoseprintError
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import fingerprint, load_network, save_weights

WITHOUT_NOSEPRINT = """
import runpy, sys
sys.modules.update(noseprint=None, torch=None, timm=None)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=48, pretrained=False)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(path, network, extra={"recipe": "swin224_stage2", "calibration": Platt(9.5, -4.0).to_json()})
    return path


@pytest.fixture(scope="module")
def bundle(weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    assert export(weights, out) == []
    return out


def run_example(bundle: Path, *photographs: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", WITHOUT_NOSEPRINT, str(bundle / "example.py"), *map(str, photographs)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_the_example_answers_as_noseprint_does_without_noseprint(bundle, weights, demo):
    photographs = sorted((demo / "test" / "images").iterdir())[:2]
    done = run_example(bundle, *photographs)
    assert done.returncode == 0, done.stderr
    network = load_network(weights)
    a, b = embed_images(network, photographs, transform=A.Resize(48, 48), device=torch.device("cpu"), workers=0)
    answer = json.loads(done.stdout)
    assert answer["similarity"] == pytest.approx(float(a @ b), abs=1e-5)
    assert answer["probability"] == pytest.approx(float(Platt(9.5, -4.0).probability(a @ b)), abs=1e-4)


def test_the_example_reads_rotated_photographs_as_noseprint_does(bundle, weights, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "rotated.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / "other.png"), pixels[::-1])
    photographs = [tmp_path / "rotated.jpg", tmp_path / "other.png"]
    answer = json.loads(run_example(bundle, *photographs).stdout)
    network = load_network(weights)
    a, b = embed_images(network, photographs, transform=A.Resize(48, 48), device=torch.device("cpu"), workers=0)
    assert answer["similarity"] == pytest.approx(float(a @ b), abs=1e-5)


def test_the_bundle_describes_its_weights(bundle, weights):
    about = json.loads((bundle / "bundle.json").read_text())
    assert about["fingerprint"] == fingerprint(weights)
    assert (about["recipe"], about["image_size"], about["weights"]) == ("swin224_stage2", 48, "float32")
    assert {path.name for path in bundle.iterdir()} == {
        *("README.md", "bundle.json", "example.py", "model.bin", "model.xml")
    }


def test_the_command_writes_the_same_bytes_each_time(weights, tmp_path):
    for name in ("one", "two"):
        command = [sys.executable, "-m", "noseprint", "export", str(weights), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{tmp_path / name} is written. Try it: python ")
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes(), file.name


def test_int8_needs_photographs(weights, tmp_path):
    command = [sys.executable, "-m", "noseprint", "export", str(weights), str(tmp_path / "out"), "--int8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.startswith("error: --int8 and --data DIR go together")) == (1, True)
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(weights, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NoseprintError, match="already exists"):
        export(weights, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing_behind(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "FORMAT", object())  # not JSON: it fails after the model was written
    with pytest.raises(TypeError):
        export(weights, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(weights, tmp_path, demo, monkeypatch):
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(NoseprintError, match="nncf is not installed"):
        export(weights, tmp_path / "bundle", int8=demo)


def test_int8_prints_its_cost_and_keeps_embeddings_at_length_1(weights, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "CALIBRATION_IMAGES", 8)
    cost = export(weights, tmp_path / "bundle", int8=demo)
    assert cost[0].startswith("int8 against float32 on ")
    assert any(line.startswith("int8 ") and "ROC AUC" in line for line in cost[1:])
    photographs = sorted((demo / "test" / "images").iterdir())[:1] * 2
    answer = json.loads(run_example(tmp_path / "bundle", *photographs).stdout)
    assert answer["similarity"] == pytest.approx(1, abs=1e-5)
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["weights"] == "int8"
    model = (tmp_path / "bundle" / "model.xml").read_text()
    assert "FakeQuantize" in model
