"""noseprint weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Weights:
    """Describe a weights file, ours or one of the four published in 2022, without building its network."""

    file: tyro.conf.Positional[Path]
    """A .safetensors or .pth file."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> None:
        """Describe."""
        if self.file.suffix == ".pth":
            from noseprint.models.published import describe_published as describe
        else:
            from noseprint.models.weights_header import describe_weights as describe

        told = describe(self.file)
        if self.json:
            print(json.dumps(told, indent=1))
            return
        for name, value in told.items():
            print(f"{name.replace('_', ' '):14}{_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {n:.4f}" if isinstance(n, float) else f"{name} {n}" for name, n in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
