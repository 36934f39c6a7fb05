"""noseprint weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Weights:
    """Describe a weights file: one of noseprint, or one of the four checkpoints published in 2022."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")]
    """A .safetensors or .pth file."""
    json: bool = False
    """Print as JSON."""

    def __call__(self) -> None:
        """Print the description."""
        if self.file.suffix == ".pth":
            from noseprint.models.published import describe_published as describe
        else:
            from noseprint.models.weights_header import describe_weights as describe

        description = describe(self.file)
        if self.json:
            print(json.dumps(description, indent=1))
            return
        for name, value in description.items():
            print(f"{name.replace('_', ' '):14}{_format(value)}")


def _format(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {n:.4f}" if isinstance(n, float) else f"{name} {n}" for name, n in value.items())
    if isinstance(value, list):
        return "; ".join(map(_format, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
