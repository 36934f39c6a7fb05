"""ArcFace: a classifier of the identities with an angular margin."""

from pytorch_metric_learning.losses import ArcFaceLoss
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import nn

MARGIN, SCALE = 28.6, 64.0
"""Degrees (0.5 rad), and the factor on the cosines: arXiv 1801.07698, section 3.1."""
INIT_STD = 1e-4
"""Random class directions disturb a pretrained backbone until they are learned. AdamW turns small weights fastest, so
they start near zero; the library's default is 1."""


def arcface_loss(classes: int, embedding_size: int) -> ArcFaceLoss:
    """The loss (rows (N, D), labels (N,)) -> a scalar, with one learned direction for each class."""
    return ArcFaceLoss(
        num_classes=classes,
        embedding_size=embedding_size,
        margin=MARGIN,
        scale=SCALE,
        weight_init_func=TorchInitWrapper(nn.init.normal_, std=INIT_STD),
    )
