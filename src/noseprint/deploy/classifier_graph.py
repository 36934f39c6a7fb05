"""A classifier as one graph from a photograph of any size to probabilities, with the preprocessing inside."""

import json
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from noseprint.data.central_square import KEPT, ROUNDING
from noseprint.models.classifier import ClassifierNet
from noseprint.models.onnx_model import OPSET
from noseprint.models.openvino_runtime import import_openvino


class CentralSquareInput(nn.Module):
    """`noseprint.data.central_square.CentralSquare` in operations that torch, OpenVINO and ONNX have in common.

    An image (1, H, W, 3) uint8 RGB -> (1, 3, size, size) uint8.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.numerator, self.denominator, self.rounding = size, *KEPT, ROUNDING

    def forward(self, image: Tensor) -> Tensor:
        """Compute; scriptable, as a trace would keep the size of its example."""
        height, width = image.size(1), image.size(2)
        side = max(min(height, width) * self.numerator // self.denominator, 1)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[0, top : top + side, left : left + side].float()
        middles = (2 * torch.arange(side) + 1) * self.size  # whole numbers: exact, see `triangle_weights`
        centres = (2 * torch.arange(self.size) + 1) * side
        heights = torch.clamp(2 * max(side, self.size) - torch.abs(middles - centres.unsqueeze(1)), min=0)
        weights = heights.float() / heights.sum(1, keepdim=True).float()
        rows = torch.matmul(weights, square.reshape(side, -1)).reshape(self.size, side, 3).permute(2, 0, 1)
        pixels = torch.matmul(rows, weights.t()).unsqueeze(0)
        return torch.floor(pixels + self.rounding).to(torch.uint8)


class PhotographClassifier(nn.Module):
    """A classifier with one head: an image (1, H, W, 3) uint8 RGB of any size -> probabilities (1, K) float32."""

    def __init__(self, network: ClassifierNet, *, temperature: float, preprocess: nn.Module) -> None:
        super().__init__()
        self.network, self.temperature, self.preprocess = network, temperature, preprocess

    def forward(self, image: Tensor) -> Tensor:
        """Compute."""
        logits: Tensor = self.network(self.preprocess(image))
        return torch.softmax(logits / self.temperature, dim=1)


def classifier_in_torch(network: ClassifierNet, *, temperature: float = 1.0) -> PhotographClassifier:
    """The graph as a module of torch, in eval mode."""
    return PhotographClassifier(
        network, temperature=temperature, preprocess=CentralSquareInput(network.image_size)
    ).eval()


def classifier_for_openvino(network: ClassifierNet, *, temperature: float = 1.0) -> Any:
    """The graph as an OpenVINO model: input `image`, output `probability`, the classes in rt_info under `labels`."""
    openvino = import_openvino()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated
        preprocess = torch.jit.script(CentralSquareInput(network.image_size))
        module = PhotographClassifier(network, temperature=temperature, preprocess=preprocess).eval()
        traced = torch.jit.trace(module, _example(), check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, input=[([1, -1, -1, 3], openvino.Type.u8)])
    model.inputs[0].set_names({"image"})
    model.outputs[0].set_names({"probability"})
    model.set_rt_info(_labels(network), ["labels"])
    return model


def classifier_for_onnx(network: ClassifierNet, *, temperature: float = 1.0) -> bytes:
    """The graph as an ONNX model: input `image`, output `probability`, the classes in metadata_props under `labels`."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # noqa: PLC0415 - an extra

    sides = {1: torch.export.Dim("height", min=16, max=2**15), 2: torch.export.Dim("width", min=16, max=2**15)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            classifier_in_torch(network, temperature=temperature),
            (_example(),),
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["probability"],
            dynamic_shapes=(sides,),
        )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # it names paths of source files
    program.model.metadata_props["labels"] = _labels(network)
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def _example() -> Tensor:
    return torch.zeros(1, 300, 200, 3, dtype=torch.uint8)


def _labels(network: ClassifierNet) -> str:
    """The classes, in the order of the probabilities, as a JSON list."""
    (classes,) = network.classes.values()
    return json.dumps(classes, ensure_ascii=False)
