"""The network that judges labels: EfficientNet-B4 at 380 px."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noseprint.models.classifier import ClassifierNet

BACKBONE, IMAGE_SIZE = "tf_efficientnet_b4.ns_jft_in1k", 380
SMALL_BACKBONE, SMALL_IMAGE_SIZE = "tf_efficientnet_lite0.in1k", 224


def build_model(backbone: str | None = BACKBONE, *, classes: Sequence[str], **options: Any) -> "ClassifierNet":
    """The network before training; `options` are those of ClassifierNet."""
    from noseprint.models.classifier import ClassifierNet

    return ClassifierNet(backbone or BACKBONE, heads={"label": classes}, freeze_batch_norm=True, **options)
