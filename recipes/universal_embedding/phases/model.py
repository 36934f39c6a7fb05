"""The network: a trunk, and a linear layer to the dimensions of the embedding."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noseprint.models.projection_net import ProjectionNet

BACKBONES = {  # --part NAME -> timm name.tag
    "vit_h": "vit_huge_patch14_clip_224.laion2b",  # 1st to 5th place
    "vit_l": "vit_large_patch14_clip_336.openai",  # 4th place
    "siglip2": "vit_so400m_patch14_siglip_gap_224.v2_webli",
    "dinov3": "vit_large_patch16_dinov3.lvd1689m",
    "lite0": "tf_efficientnet_lite0.in1k",  # these with --small
    "lite1": "tf_efficientnet_lite1.in1k",
    "lite2": "tf_efficientnet_lite2.in1k",
    "mobilenetv3": "tf_mobilenetv3_small_075.in1k",
}


def build_model(backbone: str, **options: Any) -> "ProjectionNet":
    """The network before training; for `options` see ProjectionNet."""
    from noseprint.models.projection_net import ProjectionNet  # loads torch, and train.py --help reads the names above

    return ProjectionNet(backbone, freeze_batch_norm=True, **options)
