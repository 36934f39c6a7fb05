"""What the tests of the networks share: the four full-size networks, a tiny one, and imitations of the published
checkpoints (today's tensors under the names of 2022, by a map written for the tests)."""

import re
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


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "member.pth"
    yield path
    path.unlink(missing_ok=True)  # pytest keeps its folders, and these files are large


def old_name(key: str, kind: str) -> str:
    """The key of 2022 for today's key, by the position of each child in the old nn.Sequential."""
    part, _, rest = key.partition(".")
    if part == "heads":
        return f"main_modules.{rest[0]}.0.weight"
    words = rest.removeprefix("model.").split(".")
    if kind == "eff":
        position = ["conv_stem", "bn1", "act1", "blocks", "conv_head", "bn2"].index(words[0])
        return ".".join(["features", str(position), *words[1:]])
    if words[0] == "layers":
        stage = int(words[1]) - 1 if words[2] == "downsample" else int(words[1])
        return ".".join(["features", "2", str(stage), *words[2:]])
    return ".".join(["features", {"patch_embed": "0", "norm": "3"}[words[0]], *words[1:]])


def published(state, kind):
    """A checkpoint of 2022 with these tensors, and the extra entries of the operation counter and the old Swin."""
    table = {old_name(key, kind): tensor for key, tensor in state.items()}
    extras = {"total_ops": torch.zeros(1, dtype=torch.float64), "total_params": torch.zeros(1, dtype=torch.float64)}
    for parent in {key.rpartition(".")[0] for key in table}:
        extras[f"{parent}.total_ops"] = torch.zeros(1, dtype=torch.float64)
        extras[f"{parent}.total_params"] = torch.zeros(1, dtype=torch.float64)
    for key in table:
        if block := re.fullmatch(r"(features\.2\.(\d)\.blocks\.(\d+))\.norm1\.weight", key):
            extras[f"{block[1]}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
            if int(block[3]) % 2 and int(block[2]) < 3:
                extras[f"{block[1]}.attn_mask"] = torch.zeros(4, 49, 49)
    if kind == "swin":
        assert sum(key.endswith(("relative_position_index", "attn_mask")) for key in extras) == 35
    return extras | table


def kind_of(name):
    return "swin" if name.startswith("swin") else "eff"


def hollow(state):
    """The same keys and shapes, stored as one number each: quick to write."""
    return {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in state.items()}


def zeros(table):
    return {key: torch.zeros_like(tensor) for key, tensor in table.items()}


def prefixed(prefix, table):
    return {f"{prefix}{key}": tensor for key, tensor in table.items()}
