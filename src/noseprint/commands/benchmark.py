"""noseprint benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from noseprint.data.class_options import TableOptions
from noseprint.errors import NoseprintError


@dataclass(frozen=True, kw_only=True)
class Benchmark(TableOptions):
    """Measure how fast classifiers answer on this CPU, and how often they are right, all in one run.

    Latency is that of one photograph at a time. For images per second, OpenVINO may compute several at a time. Neither
    includes decoding. The classifiers take turns, so that a busy machine slows all alike.
    """

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Bundles, folders of models, .xml, .onnx, or weights of classifiers (.safetensors, by torch)."""
    data: Path
    """Data folder with labelled photographs."""
    split: Literal["train", "val", "test"] = "test"
    """Which photographs."""
    most: int = 200
    """At most this many photographs, evenly spread."""
    rounds: int = 3
    """How often each classifies all of them."""
    threads: int = 1
    """CPU threads for each."""
    weight: float = 0.3
    """Of the speed in the score: (1 - weight) * accuracy + weight * min(1, images per second / --enough)."""
    enough: float = 100.0
    """Images per second beyond which more speed is worth nothing."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Write pareto.csv and pareto.png here."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("most", "rounds", "threads"):
            if getattr(self, name) < 1:
                raise NoseprintError(f"--{name} {getattr(self, name)}: must be at least 1")
        if not 0 <= self.weight <= 1:
            raise NoseprintError(f"--weight {self.weight}: must be in 0..1")
        if not self.enough > 0:
            raise NoseprintError(f"--enough {self.enough}: must be above 0")
        if not self.models:
            raise NoseprintError("name bundles, .xml, .onnx or weights to measure")

    def __call__(self) -> None:
        """Measure, print the table, and write it."""
        import torch

        from noseprint.data.class_tables import read_classes
        from noseprint.deploy.benchmark import contestants, measure
        from noseprint.deploy.pareto import draw_pareto, pareto_lines, write_pareto

        images = read_classes(self.data, columns=self.columns).split(self.split)
        images = images.where(bool(label) for label in images.labels)
        step = max(1, len(images) / self.most)
        rows = {int(at * step) for at in range(min(self.most, len(images)))}
        images = images.where(row in rows for row in range(len(images)))
        torch.set_num_threads(self.threads)  # OpenVINO and ONNX Runtime use as many
        found = [one for path in self.models for one in contestants(path)]
        measured, decoding = measure(found, images, rounds=self.rounds)
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        print(
            f"{len(images)} photographs, {threads}, {self.rounds} rounds. ms: for one photograph alone; decoding takes "
            f"{decoding:.1f} ms more. *: nothing is both faster and at least as accurate. score: "
            f"{1 - self.weight:g} x accuracy + {self.weight:g} x min(1, images/s / {self.enough:g})"
        )
        print("\n".join(pareto_lines(measured, weight=self.weight, enough=self.enough)))
        if self.out:
            write_pareto(self.out / "pareto.csv", measured)
            draw_pareto(self.out / "pareto.png", measured)
            print(f"{self.out / 'pareto.csv'} and pareto.png are written.")
