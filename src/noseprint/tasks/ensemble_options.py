"""Options of the recipes that learn from the members of an ensemble, known without torch."""

from dataclasses import dataclass
from typing import Literal

from noseprint.errors import NoseprintError
from noseprint.tasks.classification_options import MemberOptions


@dataclass(frozen=True, kw_only=True)
class DistilOptions(MemberOptions):
    """Options of a recipe that trains one network on the answers of several."""

    members: str = "b4,b5"
    """The folders of the networks to learn from, separated by commas."""
    targets: Literal["members", "half"] = "members"
    """members: the mean of the members' probabilities, for the training images and the unlabelled ones. half: half of
    that and half of the label, for the training images alone."""


@dataclass(frozen=True, kw_only=True)
class FusionOptions(MemberOptions):
    """Options of a recipe that trains a head on the features of several networks.

    Only the options of the data, the device, the epochs, the batch size, the learning rate, the weight decay, the
    smoothing and the seed have an effect: the members stay as they are, and the optimizer is AdamW.
    """

    members: str = "b4,b5"
    """The folders of the networks whose features are used, separated by commas."""
    head: Literal["linear", "conv"] = "linear"
    """linear: one linear layer. conv: a convolution over the members that halves the features, BatchNorm, and a linear
    layer."""
    views: int = 4
    """The number of randomly augmented views of each training image. 0: one view without augmentation, as
    in prediction."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 0 <= self.views <= 100:
            raise NoseprintError(f"--views {self.views}: must be in 0..100")
        if self.epochs is None:
            raise NoseprintError("the head trains for a number of epochs: give --epochs")
