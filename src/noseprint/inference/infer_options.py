"""Options of every recipe's infer.py."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from noseprint.command_line import Engine, check_run_name, check_workers, run
from noseprint.data.tables import Split
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class InferOptions:
    """Options of every recipe's infer.py."""

    data: Path
    """Data folder, laid out as the README says."""
    run: str = ""
    """Name of the run: files lie in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run that train.py --small made; short for --run small."""
    weights: Path | None = None
    """Weights to use. None: results/RUN/best.safetensors. A .pth file is read as one of the checkpoints of 2022."""
    split: Split = "test"
    """Which pairs to score."""
    degraded_transform: Annotated[bool, tyro.conf.arg(aliases=["--degraded-view"])] = False
    """Also compare a transform degraded at random, seeded by image: the mean of both cosines, twice the time."""
    batch_size: int = 64
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: Engine = "auto"
    """auto: OpenVINO on a CPU where it is installed, several times as fast; in bf16 if the CPU has it."""
    workers: int | None = None
    """Processes that decode. None: by the machine."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if self.batch_size < 1:
            raise NoseprintError(f"--batch-size {self.batch_size}: must be at least 1")
        check_run_name(self.run)
        check_workers(self.workers)


def run_infer(main: Callable[[InferOptions], None], *, folder: Path) -> None:
    """Parse the command line of the infer.py of a recipe `folder` and call `main` with the options."""
    full = InferOptions(data=folder.parent / "data")
    run(main, full=full, small=replace(full, run="small", small=True))
