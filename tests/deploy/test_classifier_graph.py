import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from noseprint.data.central_square import CentralSquare
from noseprint.deploy.classifier_graph import (
    CentralSquareInput,
    classifier_for_onnx,
    classifier_for_openvino,
    classifier_in_torch,
)
from noseprint.models.classifier import ClassifierNet
from noseprint.models.openvino_runtime import import_openvino

SIZES = ((48, 48), (64, 37), (31, 200), (300, 201), (480, 640))
CLASSES = ("cat", "Hündin", "no pet")


@pytest.fixture(scope="module")
def network() -> ClassifierNet:
    torch.manual_seed(0)
    network = ClassifierNet("test_efficientnet.r160_in1k", heads={"label": CLASSES}, image_size=48, pretrained=False)
    with torch.no_grad():
        network.heads[0].weight *= 100  # so that the answers differ from image to image
    return network.eval()


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in SIZES]


@pytest.fixture(scope="module")
def expected(network, images) -> list[np.ndarray]:
    """By the transform that the training uses, and then the network."""
    squares = [torch.from_numpy(CentralSquare(48).apply(image)).permute(2, 0, 1)[None] for image in images]
    with torch.inference_mode():
        return [torch.softmax(network(square) / 1.5, 1).numpy() for square in squares]


def test_torch_openvino_and_onnx_answer_as_the_transform_and_the_network_do(network, images, expected):
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = classifier_for_openvino(network, temperature=1.5)
    compiled = import_openvino().Core().compile_model(model, "CPU", options)
    session = onnxruntime.InferenceSession(
        classifier_for_onnx(network, temperature=1.5), providers=["CPUExecutionProvider"]
    )
    module = classifier_in_torch(network, temperature=1.5)
    for image, probabilities in zip(images, expected, strict=True):
        with torch.inference_mode():
            assert np.abs(module(torch.from_numpy(image)[None]).numpy() - probabilities).max() < 1e-3
        assert np.abs(compiled([image[None]])[0] - probabilities).max() < 1e-3
        assert np.abs(session.run(["probability"], {"image": image[None]})[0] - probabilities).max() < 1e-3
    assert np.abs(expected[0] - expected[3]).max() > 1e-2  # the images do differ


@pytest.mark.parametrize(("precision", "most", "share"), [("f32", 1, 1e-3), ("bf16", 4, 1)])
def test_openvino_finds_the_pixels_of_the_transform_also_in_bf16(precision, most, share):
    """With positions computed in bf16, they would be wrong by pixels: up to 125 grey levels."""
    openvino = import_openvino()
    image = np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8)
    script = torch.jit.script(CentralSquareInput(252))
    model = openvino.convert_model(
        script, input=[([1, -1, -1, 3], openvino.Type.u8)], example_input=torch.zeros(1, 9, 9, 3).byte()
    )
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    found = compiled([image[None]])[0][0].transpose(1, 2, 0).astype(int)
    difference = np.abs(found - CentralSquare(252).apply(image))
    assert difference.max() <= most
    assert (difference > 0).mean() < share


def test_the_classes_are_in_the_models_own_metadata(network, tmp_path):
    openvino = import_openvino()
    openvino.save_model(classifier_for_openvino(network), tmp_path / "model.xml", compress_to_fp16=False)
    saved = openvino.Core().read_model(tmp_path / "model.xml")
    assert json.loads(saved.get_rt_info(["labels"]).astype(str)) == list(CLASSES)
    properties = onnx.load_from_string(classifier_for_onnx(network)).metadata_props
    assert {entry.key: json.loads(entry.value) for entry in properties if entry.key == "labels"} == {
        "labels": list(CLASSES)
    }


def test_the_same_network_gives_the_same_bytes(network):
    assert classifier_for_onnx(network) == classifier_for_onnx(network)
