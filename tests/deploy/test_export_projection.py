import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import run

import pytest
import torch

from noseprint.data.transforms import A
from noseprint.deploy.export import export
from noseprint.deploy.quantisation import operations_after_backbone
from noseprint.models.embed import embed_images, embedder
from noseprint.models.openvino_runtime import convert, cosine_to_torch
from noseprint.models.projection_net import BackbonePlan, ProjectionNet
from noseprint.models.weights import load_network, save_weights

RUN_WITHOUT = """
import runpy, sys
from pathlib import Path
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


VIT = "test_vit.r160_in1k"


def write(path: Path, *, others: Sequence[BackbonePlan] = ()) -> Path:
    torch.manual_seed(0)
    network = ProjectionNet(VIT, dim=64, image_size=48, stride=8, others=others, pretrained=False)
    save_weights(path, network, extra={})
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "best.safetensors", others=(BackbonePlan(VIT, "token"),))


@pytest.mark.parametrize("form", ["openvino", "onnx", "torchscript"])
def test_each_export_answers_as_noseprint_does_without_it(weights, demo, tmp_path, form):
    if form == "onnx":  # whose converter is slow
        weights = write(tmp_path / "one.safetensors")
    bundle = tmp_path / "bundle"
    assert len(export(weights, bundle, onnx=form == "onnx", torchscript=form == "torchscript")) == 1
    photographs = sorted((demo / "test" / "images").iterdir())[:2]
    absent = "noseprint,timm,albumentations,PIL" + ("" if form == "torchscript" else ",torch")
    command = [sys.executable, "-c", RUN_WITHOUT, absent, bundle / "example.py", *photographs]
    done = run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    network = load_network(weights)
    a, b = embed_images(network, photographs, transform=A.Resize(48, 48), device=torch.device("cpu"), workers=0)
    assert json.loads(done.stdout)["similarity"] == pytest.approx(float(a @ b), abs=1e-5)
    assert json.loads((bundle / "bundle.json").read_text())["embedding_size"] == 64
    if form == "torchscript":
        with zipfile.ZipFile(bundle / "model.pt") as file:
            here = str(Path(__file__).parents[2]).encode()
            assert not any(here in file.read(name) or b"site-packages" in file.read(name) for name in file.namelist())


def test_openvino_runs_it_for_inference(weights):
    network = load_network(weights)
    assert cosine_to_torch(embedder(network, device=torch.device("cpu"), engine="openvino"), network) > 0.999


def test_in_8_bits_only_the_backbones_are_quantised(weights):
    model = convert(load_network(weights))
    kept = operations_after_backbone(model)
    assert any("aten::linear" in name for name in kept)
    assert not any("network.backbone" in name or "network.others" in name for name in kept)
