"""The backbones: pretrained networks whose features suit many domains.

Add your own here, or name one with --backbone.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from noseprint.models.projection_net import ProjectionNet


class Backbone(NamedTuple):
    """A timm name.tag, and how its feature map becomes one vector (see FrozenOptions.pooling)."""

    name: str
    pooling: str = "own"


BACKBONES = {  # --part NAME
    "vit_h": Backbone("vit_huge_patch14_clip_224.laion2b"),  # 1st to 5th place of the challenge
    "vit_l": Backbone("vit_large_patch14_clip_336.openai"),  # 4th place
    "siglip2": Backbone("vit_so400m_patch14_siglip_gap_224.v2_webli"),
    "dinov3": Backbone("vit_large_patch16_dinov3.lvd1689m"),
    "lite0": Backbone("tf_efficientnet_lite0.in1k"),  # these with --small
    "lite1": Backbone("tf_efficientnet_lite1.in1k"),
    "lite2": Backbone("tf_efficientnet_lite2.in1k"),
    "mobilenetv3": Backbone("tf_mobilenetv3_small_075.in1k"),
}


def build_model(backbone: str, **options: Any) -> "ProjectionNet":
    """The network that gives the features themselves; for `options` see ProjectionNet."""
    from noseprint.models.projection_net import ProjectionNet  # loads torch, and embed.py --help does not need it

    return ProjectionNet(backbone, dim=None, freeze_batch_norm=True, **options)
