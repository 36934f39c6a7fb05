import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.models.projection_net import BackbonePlan, ProjectionNet, with_size
from noseprint.models.weights import load_classifier, load_network, load_supcon, read_header, save_weights
from noseprint.models.weights_header import describe_weights
from tests.models.test_weights import rewrite

CNN, VIT = "test_efficientnet.r160_in1k", "test_vit.r160_in1k"
TWO = (BackbonePlan(VIT, "token", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 10),)


def build(name=CNN, *, size=64, dim=8, seed=0, **options) -> ProjectionNet:
    torch.manual_seed(seed)
    network = ProjectionNet(name, dim=dim, image_size=size, pretrained=False, **options)
    if "pos_embed" in dict(network.backbone.model.named_parameters()):
        torch.nn.init.normal_(network.backbone.model.pos_embed)  # fresh ones hardly differ from each other
    return network


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "best.safetensors"
    save_weights(path, build(others=TWO), extra={})
    return path


def test_the_embedding_is_the_projection_of_the_joined_unit_features(images):
    network = build(others=TWO).eval()
    first = network.backbone.pooled((images / 255 - network.pixel_mean) / network.pixel_std, "own")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    second = network.backbones[1].pooled((images / 255 - mean) / std, "token")
    features = torch.cat([F.normalize(first), F.normalize(second)], dim=1)
    torch.testing.assert_close(network.features(images), features)
    expected = F.normalize(features @ network.projection.weight.T + network.projection.bias)
    torch.testing.assert_close(network.embed(images), expected)
    assert (network.feature_sizes, network.output_sizes) == ((256, 64), (8,))


def test_the_projection_computes_in_float32_under_autocast(images):
    network = build().eval()
    features = network.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.project(features), network.project(features.float()))
        embedding = network.embed(images)
    assert embedding.dtype is torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        under = network.project(features)
    torch.testing.assert_close(under, network.project(features), atol=0, rtol=0)


def test_dropout_acts_in_training_only(images):
    network = build(dropout=0.5, freeze_batch_norm=True)
    assert not torch.equal(network(images), network(images))
    assert torch.equal(network.eval()(images), network.embed(images))


def test_without_a_dimension_the_embedding_is_the_features(images):
    network = build(dim=None).eval()
    torch.testing.assert_close(network.embed(images), network.features(images))


def test_a_network_with_two_backbones_comes_back_from_its_file_alone(saved, images):
    network, built = load_network(saved), build(others=TWO).eval()
    assert not network.training
    assert torch.equal(network.embed(images), built.embed(images))
    assert network.plan == built.plan
    assert network.content_hash() == built.content_hash()
    described = describe_weights(saved)
    assert (described["kind"], described["dim"], described["others"][0]["stride"]) == ("projection", 8, 10)


def test_one_backbone_with_overlapping_patches_comes_back(tmp_path, images):
    path, network = tmp_path / "best.safetensors", build(VIT, pooling="token", stride=12).eval()
    network.set_pixel_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(path, network, extra={})
    assert torch.equal(load_network(path).embed(images), network.embed(images))
    assert read_header(path).stride == 12


def test_other_loaders_refuse_it(saved):
    with pytest.raises(NoseprintError, match=r"holds a projection network \(.*\); give the weights of a clas"):
        load_classifier(saved)
    with pytest.raises(NoseprintError, match=r"holds a projection network \(.*\); give the weights of an embe"):
        load_supcon(saved)


def changed(**entries):
    """The header's `others` with some entries of its backbone replaced; those that are None are left out."""
    backbone = {"backbone": VIT, "pooling": "token", "mean": [0, 0, 0], "std": [1, 1, 1], "stride": 10} | entries
    return json.dumps([{key: value for key, value in backbone.items() if value is not None}])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"dim": "0"}, "dim 0, must be in 1..65536"),
        ({"dim": None}, "KeyError: 'dim'"),
        ({"pooling": "../own"}, r"pooling '../own'"),
        ({"pooling": "token"}, "has no class token"),
        ({"stride": "0"}, "stride 0, must be in"),
        ({"stride": "4"}, "only plain vision transformers have patches"),
        ({"others": "{}"}, "others '{}', must list up to 15 backbones"),
        ({"others": json.dumps([{}] * 16)}, "must list up to 15 backbones"),
        ({"others": "[1]"}, "backbone '1'"),
        ({"others": "["}, "JSONDecodeError"),
        ({"others": "[]"}, "unexpected"),
        ({"others": changed(std=None)}, 'backbone "{'),
        ({"others": changed(more=1)}, 'backbone "{'),
        ({"others": changed(backbone="/etc/passwd")}, "backbone '/etc/passwd'"),
        ({"others": changed(backbone=7)}, "TypeError"),
        ({"others": changed(backbone="no_such.net")}, "unknown to timm"),
        ({"others": changed(pooling="")}, "pooling ''"),
        ({"others": changed(std=[0, 1, 1])}, "three numbers in"),
        ({"others": changed(mean=[0, 0])}, "three numbers in"),
        ({"others": changed(stride=10.5)}, "ValueError: invalid literal"),
        ({"others": changed(stride=17)}, "stride 17 at 64 pixels: must be in 1..16"),
        ({"others": changed(stride=3)}, "1 wrongly shaped .*pos_embed"),
    ],
)
def test_an_impossible_header_is_refused(saved, header, message):
    rewrite(saved, **header)
    with pytest.raises(NoseprintError, match=message):
        load_network(saved)


@pytest.mark.parametrize("pooling", ["token", "avg", "own"])
def test_with_size_resizes_positions_as_timm_does(tmp_path, pooling):
    network = build(VIT, pooling=pooling)
    larger = with_size(network, 96)
    save_file({**network.backbone.model.state_dict()}, tmp_path / "vit.safetensors")
    overlay = {"file": str(tmp_path / "vit.safetensors"), "num_classes": 0}
    theirs = timm.create_model(VIT, pretrained=True, pretrained_cfg_overlay=overlay, img_size=96, num_classes=0)
    ours = larger.backbone.model
    assert ours.pos_embed.shape == (1, 1 + 6 * 6, 64)
    assert torch.equal(ours.pos_embed, theirs.pos_embed)
    assert torch.equal(ours.pos_embed[:, 0], network.backbone.model.pos_embed[:, 0])
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours.eval().forward_features(pixels), theirs.eval().forward_features(pixels))
    assert torch.equal(larger.projection.weight, network.projection.weight)


@pytest.mark.parametrize(("name", "stride"), [(VIT, 4), (VIT, 16), ("vit_tiny_patch16_224.augreg_in21k", 10)])
def test_overlapping_patches_are_those_of_a_naive_loop(name, stride):
    network = with_size(build(name, pooling="token"), 50, stride)
    patches = network.backbone.model.patch_embed
    pixels = torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(2))
    starts = [at for at in range(50) if at % stride == 0 and at + 16 <= 50]
    tokens = [
        (pixels[:, None, :, top : top + 16, left : left + 16] * patches.proj.weight).sum(dim=(2, 3, 4))
        + patches.proj.bias
        for top in starts
        for left in starts
    ]
    cut = patches(pixels).reshape(2, -1, network.feature_sizes[0])
    torch.testing.assert_close(cut, torch.stack(tokens, dim=1), atol=1e-4, rtol=1e-4)
    assert network.backbone.model.pos_embed.shape[1] == 1 + len(starts) ** 2
    assert network.embed(torch.zeros(1, 3, 50, 50, dtype=torch.uint8)).shape == (1, 8)


def test_patches_side_by_side_are_a_stride_of_their_side(images):
    network = build(VIT, pooling="token").eval()
    assert torch.equal(with_size(network, 64, 16).embed(images), network.embed(images))
    assert not torch.allclose(with_size(network, 64, 12).embed(images), network.embed(images), atol=1e-3)


def test_a_stride_resizes_the_positions_of_a_file_once(tmp_path):
    whole = build(VIT, size=160).backbone.model
    save_file({**whole.state_dict()}, tmp_path / "vit.safetensors")
    network = ProjectionNet(VIT, dim=8, image_size=64, stride=12, backbone_weights=tmp_path / "vit.safetensors")
    expected = resample_abs_pos_embed(whole.pos_embed, new_size=[5, 5], old_size=[10, 10])
    assert torch.equal(network.backbone.model.pos_embed, expected)
    assert torch.equal(network.backbone.model.blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)


def test_a_large_network_is_planned_without_memory():
    with torch.device("meta"):
        network = ProjectionNet(VIT, dim=64, image_size=64, stride=10, pretrained=False)
        embedding = network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert (embedding.shape, embedding.device.type) == ((2, 64), "meta")


def test_with_size_keeps_all_but_the_size_of_several_backbones(images):
    network = build(others=TWO, dropout=0.2, freeze_batch_norm=True)
    larger = with_size(network, 96)
    assert (larger.image_size, larger.dropout.p, larger.freeze_batch_norm, larger.training) == (96, 0.2, True, True)
    assert larger.plan == network.plan
    moved = {key for key, tensor in larger.state_dict().items() if not torch.equal(tensor, network.state_dict()[key])}
    assert moved == {"others.0.model.pos_embed"}
    again = with_size(network, 64).eval()
    assert torch.equal(again.embed(images), network.eval().embed(images))


def test_with_size_refuses_what_cannot_be(images):
    with pytest.raises(NoseprintError, match="stride 8: only plain vision transformers"):
        with_size(build(), 96, 8)
    with pytest.raises(NoseprintError, match=r"stride 17 at 96 pixels: must be in 1\.\.16"):
        with_size(build(VIT), 96, 17)
    with pytest.raises(NoseprintError, match="dimension 0: must be in"):
        build(dim=0)
    with pytest.raises(NoseprintError, match="17 backbones: a network has at most 16"):
        build(others=TWO * 16)
