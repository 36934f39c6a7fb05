"""The head of the fusion: from the features of all members to classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from noseprint.inference.fusion_head import FusionHead


def build_head(sizes: Sequence[int], classes: int, *, kind: Literal["linear", "conv"]) -> "FusionHead":
    """The head before training. sizes: the number of features of each member."""
    from noseprint.inference.fusion_head import FusionHead  # loads torch, and train.py --help does not need it

    return FusionHead(sizes, classes, kind=kind)
