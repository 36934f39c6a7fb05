"""Options of a recipe that trains a classifier, known without torch."""

import math
from dataclasses import dataclass
from typing import Literal

from noseprint.data.class_options import LabelOptions
from noseprint.errors import NoseprintError
from noseprint.losses import ClassLossName
from noseprint.training.fit_options import FitOptions, check_side, option

Balance = Literal["none", "oversample", "weighted", "subset-first", "logit-adjustment"]
Augment = Literal["own", "randaugment", "autoaugment"]
Mixing = Literal["none", "cutmix", "mixup", "gridmask"]


@dataclass(frozen=True)
class ClassificationOptions(FitOptions):
    """Options of a recipe that trains a classifier; its train.py sets the defaults."""

    backbone: str | None = None
    """timm name.tag of the backbone."""
    image_size: int | None = None
    """Side of the square input in pixels. None: that of the backbone's public weights."""
    train_size: int | None = None
    """Side of the training images. None: that of the input; with --small, about three quarters of it, if the backbone
    takes any size."""
    pooling: str = "avg"
    """How the feature map becomes one vector: avg, max, avgmax, gem, token, or own (what the backbone itself does)."""
    dropout: float = 0.0
    """Share of the pooled features that is set to zero while training."""
    frozen: bool = False
    """Train the head only; the backbone stays as it is."""
    smoothing: float = 0.2
    """Label smoothing: the share of the target that is spread evenly over all classes."""
    balance: Balance = "none"
    """What is done about classes of unequal size. oversample: an epoch shows at least a third as many images of every
    class as of the largest. weighted: every class is drawn equally often, with replacement. subset-first: the first
    half of the training shows equally many images of each class, the second half all. logit-adjustment: the loss knows
    how frequent each class is, so that the network's own answers favour none (better on average over classes, often
    worse over images)."""
    loss: ClassLossName = "cross-entropy"
    """focal: images whose class the network is sure of count less. weighted: images of rare classes count more."""
    augment: Augment = "own"
    """How each training image is changed. own: as dataset.py says. randaugment, autoaugment: as dataset.py
    says, then by the policy of this name."""
    mixing: Mixing = "none"
    """What is done to the images of a batch. cutmix: a rectangle of each comes from another one. mixup: each is blended
    with another one; their targets are mixed likewise. gridmask: a grid of square holes in each."""
    mixing_probability: float = 0.5
    """Share of the batches that are mixed."""
    sgd_share: float = 0.0
    """Share of the steps, at the end, in which SGD takes the optimizer's place, with a warm-up and a schedule of its
    own. Needs a number of epochs or steps."""
    sgd_lr: float = 0.03
    """Peak learning rate of SGD."""
    holdout: float = 0.1
    """Share of the training images that are never trained on and score the network, if the data have no split for that;
    whole groups where there are groups. 0: train on all; then nothing shows how good the network is."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        for name in ("image_size", "train_size"):
            check_side(name, getattr(self, name))
        for name in ("dropout", "smoothing", "sgd_share"):
            if not 0 <= getattr(self, name) < 1:
                raise NoseprintError(f"{option(name)} {getattr(self, name)}: must be at least 0 and below 1")
        if not 0 <= self.mixing_probability <= 1:
            raise NoseprintError(f"--mixing-probability {self.mixing_probability}: must be in 0..1")
        if not 0 < self.sgd_lr < math.inf:
            raise NoseprintError(f"--sgd-lr {self.sgd_lr}: must be above 0 and finite")
        if self.balance == "logit-adjustment" and self.loss != "cross-entropy":
            raise NoseprintError(f"--balance logit-adjustment is a loss of its own: leave out --loss {self.loss}")
        if self.balance == "subset-first" and (
            self.minutes is not None or (self.epochs is None and self.steps is None)
        ):
            raise NoseprintError(
                "--balance subset-first: the training must have a fixed length: give --epochs or --steps, and no "
                "--minutes"
            )
        if not 0 <= self.holdout <= 0.5:
            raise NoseprintError(f"--holdout {self.holdout}: must be in 0..0.5, a share of the images")


@dataclass(frozen=True, kw_only=True)
class MemberOptions(ClassificationOptions, LabelOptions):
    """Options of a recipe that trains a member of an ensemble on a folder of classes."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not self.holdout:
            raise NoseprintError("--holdout 0: give a share above 0; the ensemble is calibrated on held-out images")
