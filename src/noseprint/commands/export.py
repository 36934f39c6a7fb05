"""noseprint export."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Export:
    """Export a network as a folder that other programs can use without noseprint.

    The folder holds the network in OpenVINO's format, as ONNX or as TorchScript, a description of its input, and an
    example program.
    """

    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")]
    """The network's weights (.safetensors)."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The folder to make."""
    onnx: bool = False
    """Write model.onnx, not the network in OpenVINO's format (pip install noseprint[onnx])."""
    torchscript: bool = False
    """Write model.pt, for torch.jit.load, not the network in OpenVINO's format."""
    int8: bool = False
    """Quantise the network to 8 bits with the training photographs of --data, and print the loss of accuracy."""
    data: Path | None = None
    """Data folder for --int8, in the layout of data/README.md. If it has labelled pairs, both networks are scored."""
    seed: int = 0
    """Seed of the draw of photographs for --int8."""

    def __call__(self) -> None:
        """Export the network and print how to use it."""
        if self.int8 != (self.data is not None):
            raise NoseprintError("--int8 and --data DIR go together: the photographs there set the 8-bit ranges")
        if self.int8 + self.onnx + self.torchscript > 1:
            raise NoseprintError("--int8 quantises for OpenVINO: give only one of --int8, --onnx and --torchscript")
        from noseprint.deploy.export import export

        forms = {"onnx": self.onnx, "torchscript": self.torchscript}
        for line in export(self.weights, self.out, int8=self.data, seed=self.seed, **forms):
            print(line)
        print(f"{self.out} is written. Try it: python {quote(str(self.out / 'example.py'))} A.jpg B.jpg")
