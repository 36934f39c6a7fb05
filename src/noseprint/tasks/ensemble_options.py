"""Options of the recipes that learn from the members of an ensemble, known without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.command_line import check_run_name, check_workers
from noseprint.data.class_options import EnsembleOptions
from noseprint.errors import NoseprintError
from noseprint.tasks.classification_options import MemberOptions


@dataclass(frozen=True, kw_only=True)
class DistilOptions(MemberOptions, EnsembleOptions):
    """Options of a recipe that trains one network on the answers of several."""

    targets: Literal["members", "half"] = "members"
    """members: the mean of the members' probabilities, for the training images and the unlabelled ones. half: half of
    that and half of the label, for the training images alone."""


@dataclass(frozen=True, kw_only=True)
class FusionOptions(EnsembleOptions):
    """Options of a recipe that trains a head on the features of several networks, which stay as they are."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the defaults for machines without a GPU, and the small members."""
    head: Literal["linear", "conv"] = "linear"
    """linear: one linear layer. conv: a convolution over the members that halves the features, BatchNorm, and a linear
    layer."""
    views: int
    """The number of randomly augmented views of each training image. 0: one view without augmentation, as
    in prediction."""
    epochs: int
    """Length of the training: each epoch shows every image once, in one of its views."""
    batch_size: int
    """Images per batch."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    smoothing: float
    """Label smoothing: the share of the target that is spread evenly over all classes."""
    holdout: float = 0.1
    """Share of the training images that are never trained on, as in the members' training."""
    seed: int = 0
    """Seed of new weights, batches and views."""
    device: str = "auto"
    """Where the features are computed: auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode photographs. None: chosen for this machine."""
    skip_bad: bool = False
    """Train without the photographs that are missing or broken, and list them in skipped.csv."""
    restart: bool = False
    """Has no effect, since the head learns in seconds; train.sh passes it to every train.py."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_workers(self.workers)
        if not 0 <= self.views <= 100:
            raise NoseprintError(f"--views {self.views}: must be in 0..100")
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise NoseprintError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least {least}")
        if not 0 < self.lr < float("inf"):
            raise NoseprintError(f"--lr {self.lr}: must be above 0 and finite")
        for name in ("weight_decay", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise NoseprintError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 0 and below 1"
                )
