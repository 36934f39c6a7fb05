"""noseprint export."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Export:
    """Write weights as a folder that another program can use without noseprint: OpenVINO, preprocessing, an example."""

    weights: tyro.conf.Positional[Path]
    """A .safetensors file."""
    out: tyro.conf.Positional[Path]
    """Folder to make."""
    int8: bool = False
    """Quantise to 8 bits by the training photographs of --data, and print what that costs."""
    data: Path | None = None
    """Data folder, laid out as data/README.md says; its labels, where it has any, tell what int8 costs."""
    seed: int = 0

    def __call__(self) -> None:
        """Export."""
        if self.int8 != (self.data is not None):
            raise NoseprintError("--int8 and --data DIR go together: the photographs there tell how to quantise")
        from noseprint.deploy.export import export

        for line in export(self.weights, self.out, int8=self.data, seed=self.seed):
            print(line)
        print(f"{self.out}: python {self.out / 'example.py'} A.jpg B.jpg")
