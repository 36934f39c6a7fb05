"""The networks that the range test trains: those of members/."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noseprint.models.classifier import ClassifierNet

BACKBONES = {  # --part NAME -> timm name.tag. The lists in options.sh say which are trained by default
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
    "resnet152": "resnet152.tv_in1k",
    "densenet161": "densenet161.tv_in1k",
    "seresnext50": "seresnext50_32x4d.racm_in1k",
    "lite0": "tf_efficientnet_lite0.in1k",  # these with --small
    "lite1": "tf_efficientnet_lite1.in1k",
    "lite2": "tf_efficientnet_lite2.in1k",
}


def build_model(classes: Sequence[str], backbone: str, **options: Any) -> "ClassifierNet":
    """The network before training; for `options` see ClassifierNet."""
    from noseprint.models.classifier import ClassifierNet  # loads torch, and train.py --help reads the names above

    return ClassifierNet(backbone, heads={"label": classes}, freeze_batch_norm=True, **options)
