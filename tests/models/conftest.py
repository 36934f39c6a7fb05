from dataclasses import dataclass

import pytest
import torch

from noseprint.models.network import SupConNet


@dataclass(frozen=True)
class Member:
    backbone: str
    image_size: int
    channels: int
    side: int


MEMBERS = {
    "swin224": Member("swin_base_patch4_window7_224.ms_in22k", 224, 1024, 7),
    "swin384": Member("swin_base_patch4_window12_384.ms_in22k", 384, 1024, 12),
    "v2": Member("tf_efficientnetv2_l.in21k_ft_in1k", 224, 1280, 7),
    "b7ns": Member("tf_efficientnet_b7.ns_jft_in1k", 224, 2560, 7),
}


@pytest.fixture(scope="session", params=MEMBERS)
def real_network(request: pytest.FixtureRequest) -> tuple[str, Member, SupConNet]:
    """One of the four full-size networks with random weights; tests may change them."""
    member = MEMBERS[request.param]
    torch.manual_seed(0)
    return request.param, member, SupConNet(member.backbone, image_size=member.image_size, pretrained=False)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tiny() -> SupConNet:
    torch.manual_seed(0)
    return SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False)
