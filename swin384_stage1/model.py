"""The network of swin384_stage1: Swin-B/384 with SPoC and MAC descriptors (CGD, arXiv 1903.10663)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noseprint.models.network import SupConNet

BACKBONE = "swin_base_patch4_window12_384.ms_in22k"
SMALL_BACKBONE = "tf_efficientnet_lite0.in1k"  # used instead with --small


def build_model(backbone: str = BACKBONE, *, image_size: int | None = 384, **start: Any) -> "SupConNet":
    """The network before training; `start` says what weights the backbone has: see SupConNet."""
    from noseprint.models.network import SupConNet  # loads torch, and train.py --help reads the names above

    return SupConNet(backbone, descriptors="SM", dim=512, image_size=image_size, **start)
