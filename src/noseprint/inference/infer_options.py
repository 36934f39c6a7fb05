"""Options of every recipe's infer.py."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import Engine, check_run_name, check_workers
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
    degraded_transform: bool = False
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
