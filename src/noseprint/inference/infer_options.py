"""Options of every recipe's infer.py."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from noseprint.command_line import Engine, check_run_name, check_workers, run
from noseprint.data.class_options import LabelOptions
from noseprint.data.tables import Split
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class InferOptions:
    """Options of every recipe's infer.py."""

    data: Path
    """Data folder, laid out as data/README.md says."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the run of train.py --small; short for --run small."""
    weights: Path | None = None
    """Weights to use. None: results/RUN/best.safetensors. A .pth file is read as a checkpoint of 2022."""
    split: Split = "test"
    """Which pairs to score."""
    degraded_transform: Annotated[bool, tyro.conf.arg(aliases=["--degraded-view"])] = False
    """Also compare randomly degraded images, and average both cosines. Takes twice the time."""
    batch_size: int = 64
    """Images per batch."""
    seed: int = 0
    """Seed of the random degradation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: Engine = "auto"
    """What runs the network. auto: OpenVINO on a CPU if it is installed (several times as fast), else torch."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""
    skip_bad: bool = False
    """Go on without the photographs that are missing or broken: their pairs get no similarity, and
    similarity.skipped.csv lists them."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.batch_size < 1:
            raise NoseprintError(f"--batch-size {self.batch_size}: must be at least 1")
        check_run_name(self.run)
        check_workers(self.workers)


@dataclass(frozen=True, kw_only=True)
class MemberInferOptions(LabelOptions):
    """Options of the infer.py of an ensemble's member."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    images: Path | None = None
    """Classify these photographs instead: a folder, or a single photograph."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the run of train.py --small; short for --run small."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: Engine = "auto"
    """What runs the network. auto: OpenVINO on a CPU if it is installed (several times as fast), else torch."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""
    skip_bad: bool = False
    """Go on without the photographs that are missing or broken, and list them in NAME.skipped.csv."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_workers(self.workers)


def run_member_infer(main: Callable[[MemberInferOptions], None], *, folder: Path) -> None:
    """Parse the command line of infer.py in a member's `folder`, and call `main` with the options."""
    full = MemberInferOptions(data=folder.parent / "data")
    run(main, full=full, small=replace(full, run="small", small=True))


def run_infer(main: Callable[[InferOptions], None], *, folder: Path) -> None:
    """Parse the command line of infer.py in a recipe `folder`, and call `main` with the options."""
    full = InferOptions(data=folder.parent / "data")
    run(main, full=full, small=replace(full, run="small", small=True))
