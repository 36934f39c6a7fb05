"""What `--loss` and `--balance` of a classifier name."""

from torch import Tensor, nn

from noseprint.losses import ClassLossName
from noseprint.losses.adjusted_cross_entropy import AdjustedCrossEntropy
from noseprint.losses.focal import FocalLoss
from noseprint.losses.weighted_cross_entropy import WeightedCrossEntropy


def class_loss(name: ClassLossName, *, counts: Tensor, adjusted: bool, smoothing: float) -> nn.Module:
    """The loss of logits (B, K) and class numbers (B,) or distributions (B, K).

    counts: (K,) training images of each class. adjusted: with "cross-entropy", adjust the logits by them. smoothing:
    share of the target that is spread evenly over all classes, in 0..1.
    """
    if name == "focal":
        return FocalLoss(smoothing=smoothing)
    if name == "weighted":
        return WeightedCrossEntropy(counts, smoothing=smoothing)
    return AdjustedCrossEntropy(counts if adjusted else None, smoothing=smoothing)
