"""A network as an ONNX model, for programs that run neither torch nor OpenVINO."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from noseprint.models.network import EmbeddingNet
from noseprint.models.traced import OutputsModule

OPSET = 18
"""The version of ONNX's operators: the one for which torch's exporter is written, and old enough for most programs."""


def convert_to_onnx(network: EmbeddingNet) -> bytes:
    """`network.embed` as an ONNX model: input `images`, uint8 RGB (any batch, 3, H, W); output `embedding`.

    The same network gives the same bytes. Raises whatever torch's exporter raises at a network that it does not know.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # noqa: PLC0415 - an extra

    example = torch.zeros(2, 3, network.image_size, network.image_size, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            OutputsModule(network).eval(),
            (example,),
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # the places in the source code on this machine
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def run_onnx(model: bytes) -> Callable[[Tensor], Tensor]:
    """A function from uint8 RGB images (B, 3, H, W) to embeddings (B, D) float32, by ONNX Runtime on the CPU."""
    session = onnx_session(model)
    return lambda images: torch.from_numpy(session.run(["embedding"], {"images": images.numpy()})[0])


def onnx_session(model: bytes) -> Any:
    """A session of ONNX Runtime on the CPU, with as many threads as torch."""
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
