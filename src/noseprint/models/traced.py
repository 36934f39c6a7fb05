"""A network as a trace of torch.jit: what converters take, and what runs in torch without noseprint (TorchScript)."""

import io
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from noseprint.models.network import Network


class OutputsModule(nn.Module):
    """`network.outputs` as a module, as converters want it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Compute."""
        return self.network.outputs(images)


def trace(network: Network) -> Any:
    """`network.outputs` as a trace: uint8 RGB images (any batch, 3, S, S) of the network's input size S -> float32."""
    example = torch.zeros(2, 3, network.image_size, network.image_size, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that a trace is valid for these shapes only, and that torch.jit is old
        return torch.jit.trace(OutputsModule(network).eval(), example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]


def convert_to_torchscript(network: Network) -> bytes:
    """`network.outputs` as a TorchScript file, for `torch.jit.load`.

    The same network gives the same bytes if a process converts nothing else: torch numbers the names in a process.
    """
    buffer, clean = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(trace(network), buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(clean, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # the places in the source code on this machine
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return clean.getvalue()


def run_torchscript(model: bytes) -> Callable[[Tensor], Tensor]:
    """A function from uint8 RGB images (B, 3, S, S) to what a TorchScript file gives, on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(io.BytesIO(model), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            outputs: Tensor = module(images)
        return outputs

    return run
