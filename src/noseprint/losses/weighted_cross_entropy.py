"""Cross-entropy in which images of rare classes count more."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.losses.soft_targets import smoothed_targets

BETA = 0.999
"""Of the effective number: n images of a class count as (1 - BETA^n) / (1 - BETA), 1000 at most."""


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy whose classes have the weights of `class_weights`.

    counts: (K,) training images of each class. smoothing: share of the target that is spread evenly over all classes,
    in 0..1; each class's share of a target has the weight of that class.
    """

    weights: Tensor

    def __init__(self, counts: Tensor, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", class_weights(counts))
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss of logits (B, K). target: class numbers (B,), or a distribution for each row (B, K)."""
        target = smoothed_targets(target, logits.shape[1], smoothing=self.smoothing)
        return F.cross_entropy(logits.float(), target, weight=self.weights)


def class_weights(counts: Tensor) -> Tensor:
    """Weights (K,) of classes with `counts` (K,) images: 1 / effective number (Cui et al., arXiv 1901.05555, eq. 2).

    Their mean over the images is 1, so that the loss is as large as without weights. Classes without images have the
    weight of one image.
    """
    counts = counts.double()
    weights = (1 - BETA) / (1 - BETA ** counts.clamp(min=1))
    return torch.as_tensor(weights * counts.sum() / (weights * counts).sum()).float()
