"""The network whose features tell classes apart: EfficientNet-B4 at 380 px, as it comes from ImageNet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noseprint.models.classifier import ClassifierNet

BACKBONE, IMAGE_SIZE = "tf_efficientnet_b4.ns_jft_in1k", 380
SMALL_BACKBONE, SMALL_IMAGE_SIZE = "tf_efficientnet_lite0.in1k", 224


def build_model(classes: Sequence[str], *, small: bool) -> "ClassifierNet":
    """The network; its head is not trained, since only the pooled features are used."""
    from noseprint.models.classifier import ClassifierNet

    name, size = (SMALL_BACKBONE, SMALL_IMAGE_SIZE) if small else (BACKBONE, IMAGE_SIZE)
    return ClassifierNet(name, heads={"label": classes}, image_size=size, freeze_batch_norm=True)
