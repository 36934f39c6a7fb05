"""The student: MobileNetV3-small; its feature map is pooled, and a neck and a linear classifier follow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noseprint.models.classifier import ClassifierNet

BACKBONE = "mobilenetv3_small_100.lamb_in1k"
SMALL_BACKBONE = "tf_efficientnet_lite0.in1k"  # used instead with --small


def build_model(classes: Sequence[str], backbone: str = BACKBONE, **options: Any) -> "ClassifierNet":
    """The network before training; for `options` see ClassifierNet."""
    from noseprint.models.classifier import ClassifierNet  # loads torch, and train.py --help reads the names above

    return ClassifierNet(backbone, heads={"label": classes}, freeze_batch_norm=True, **options)
