"""Targets of a classification as distributions over the classes."""

from torch import Tensor
from torch.nn import functional as F


def smoothed_targets(target: Tensor, classes: int, *, smoothing: float) -> Tensor:
    """Class numbers (B,) or distributions (B, K) as distributions (B, K), of which `smoothing` is spread evenly.

    smoothing: in 0..1 (arXiv 1512.00567, section 7).
    """
    if target.ndim == 1:
        target = F.one_hot(target, classes)
    return target.float() * (1 - smoothing) + smoothing / classes
