import argparse
import importlib.util
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from noseprint.errors import NoseprintError
from noseprint.models.backbone import WHEELS, build_backbone
from noseprint.models.weights import save_weights


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
def test_positions_keep_their_place_in_the_map(name):
    """A channels-last map or a row of tokens read in the wrong order would mix channels and positions."""
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
    with pytest.raises(ValueError, match="only 96 x 96"):
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
def test_an_unknown_name_is_refused_with_suggestions(name, message):
    with pytest.raises(NoseprintError, match=message):
        build_backbone(name, pretrained=False, image_size=224)


def test_an_unreachable_hub_says_which_weights_and_what_to_do(monkeypatch):
    def unreachable(*_, pretrained, **__):
        assert pretrained
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(NoseprintError) as caught:
        build_backbone("resnet10t.c3_in1k", image_size=96)
    parts = ("resnet10t.c3_in1k", "no route", "HF_HUB_OFFLINE", "--no-pretrained", "--backbone-weights", "--small")
    assert [part for part in (*parts, "noseprint[demo]") if part not in str(caught.value)] == []


def wheel_tensors(name):
    folder = Path(importlib.util.find_spec(WHEELS[name]).origin).parent / "models"
    return torch.load(next(folder.glob("*.pth")), weights_only=True)


@pytest.mark.parametrize("name", WHEELS)
def test_weights_from_a_wheel_get_the_right_names(name):
    """The library maps tensors by order; this test maps every tensor by name."""
    source, backbone = wheel_tensors(name), build_backbone(name, image_size=128)
    blocks = [f"{s}.{b}" for s, stage in enumerate(backbone.model.blocks) for b in range(len(stage))]
    renamed = {}
    for key, tensor in backbone.model.state_dict().items():
        if match := re.fullmatch(r"blocks\.(\d+\.\d+)\.(\w+)\.(\w+)", key):
            number = blocks.index(match[1])
            first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            later = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                     "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
            part = (first if match[1].startswith("0.") else later)[match[2]]
            renamed[f"_blocks.{number}.{part}.{match[3]}"] = tensor
        else:
            old = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            module, _, leaf = key.partition(".")
            renamed[f"{old[module]}.{leaf}"] = tensor
    assert set(renamed) == {key for key in source if not key.startswith("_fc.")}
    assert all(torch.equal(tensor, source[key]) for key, tensor in renamed.items())


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


@pytest.mark.parametrize(
    ("name", "pooling", "timm_pooling"),
    [
        ("test_efficientnet.r160_in1k", "avg", "avg"),
        ("test_efficientnet.r160_in1k", "max", "max"),
        ("test_efficientnet.r160_in1k", "avgmax", "avgmax"),
        ("test_vit.r160_in1k", "avg", "avg"),
        ("test_vit.r160_in1k", "token", "token"),
        ("test_vit.r160_in1k", "own", "token"),
        ("test_vit3.r160_in1k", "own", "map"),
        ("test_convnext.r160_in1k", "own", "avg"),
        ("mobilenetv3_small_050.lamb_in1k", "own", "avg"),
        ("swin_tiny_patch4_window7_224.ms_in22k", "own", "avg"),
    ],
)
def test_pooled_vectors_equal_those_of_timm(name, pooling, timm_pooling):
    backbone = build_backbone(name, pretrained=False, image_size=96, own_head=pooling == "own").eval()
    options = {"img_size": 96} if backbone.fixed_size else {}
    reference = timm.create_model(name, pretrained=False, num_classes=0, global_pool=timm_pooling, **options).eval()
    state = backbone.model.state_dict()
    if pooling == "avg" and "fc_norm.weight" in reference.state_dict():
        # timm normalises the average of the tokens, and not the tokens: leave both norms out of the comparison.
        backbone.model.norm, reference.fc_norm = torch.nn.Identity(), torch.nn.Identity()
        state = backbone.model.state_dict()
    reference.load_state_dict(state, strict=True)
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    vector, expected = backbone.pooled(pixels, pooling), reference(pixels)
    assert vector.shape == expected.shape == (2, backbone.pooled_size(pooling))
    torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "message"), [("token", "no class token"), ("own", "own_head=True"), ("sum", "choose one of avg, max")]
)
def test_a_pooling_that_the_backbone_lacks_is_refused(pooling, message):
    backbone = build_backbone("test_efficientnet.r160_in1k", pretrained=False, image_size=64)
    with pytest.raises(NoseprintError, match=message):
        backbone.pooled(torch.zeros(1, 3, 64, 64), pooling)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("classes", [0, 10, 1000])
@pytest.mark.parametrize("name", ["test_efficientnet.r160_in1k", "test_vit3.r160_in1k"])
def test_a_backbone_starts_from_a_local_file(tmp_path, name, classes, suffix):
    """With any number of classes in the file; the attention pooling of test_vit3 is no part of its feature map."""
    torch.manual_seed(1)
    source = timm.create_model(name, pretrained=False, num_classes=classes).state_dict()
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(source, path)
    state = build_backbone(name, weights_file=path, image_size=160).model.state_dict()
    assert len(state) > 50
    assert all(torch.equal(tensor, source[key]) for key, tensor in state.items())


def prefixed(prefix, table):
    return {f"{prefix}{key}": tensor for key, tensor in table.items()}


def zeros(table):
    return {key: torch.zeros_like(tensor) for key, tensor in table.items()}


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda t: {"state_dict": t, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
         "reads state_dict; leaves out epoch, optimizer"),
        (lambda t: {"model": prefixed("module.", t), "args": argparse.Namespace(lr=1)}, "reads model; leaves out args"),
        (lambda t: {"net": prefixed("_orig_mod.", t)}, "reads net"),
        (lambda t: {"state_dict": zeros(t), "state_dict_ema": t}, "reads state_dict_ema; leaves out state_dict"),
        (lambda t: prefixed("backbone.", t) | {"head.x": torch.zeros(9)}, "reads backbone.*; leaves out head.x"),
        (lambda t: {"student": prefixed("head.", {"0.weight": torch.zeros(9)}), "teacher": prefixed("backbone.", t)},
         "reads teacher; leaves out student"),
        (lambda t: prefixed("module.encoder.", t), ""),
    ],
)  # fmt: skip
def test_a_backbone_is_found_in_what_training_programs_save(tmp_path, capsys, wrap, says):
    name = "test_efficientnet.r160_in1k"
    torch.manual_seed(1)
    source = timm.create_model(name, pretrained=False).state_dict()
    path = tmp_path / "weights.pth"
    torch.save(wrap(source), path)
    state = build_backbone(name, weights_file=path, image_size=64).model.state_dict()
    assert all(torch.equal(tensor, source[key]) for key, tensor in state.items())
    assert capsys.readouterr().err == (f"{path}: {says}\n" if says else "")


def test_a_backbone_starts_from_weights_of_noseprint(tmp_path, capsys, tiny):
    save_weights(tmp_path / "best.safetensors", tiny, extra={})
    backbone = build_backbone("test_efficientnet.r160_in1k", weights_file=tmp_path / "best.safetensors", image_size=64)
    own = tiny.backbone.model.state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in backbone.model.state_dict().items())
    assert "reads backbone.model.*; leaves out heads.0.weight, heads.1.weight" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_backbone_of_another_precision_is_converted_and_said(tmp_path, capsys, dtype, suffix):
    name, number = "test_efficientnet.r160_in1k", getattr(torch, dtype)
    model = timm.create_model(name, pretrained=False)
    for counter in (tensor for key, tensor in model.state_dict().items() if key.endswith("num_batches_tracked")):
        counter.fill_(100_000)
    source = {key: tensor.to(number) for key, tensor in model.state_dict().items()}
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(source, path)
    state = build_backbone(name, weights_file=path, image_size=64).model.state_dict()
    assert capsys.readouterr().err == f"{path}: converts {len(source)} tensors from {dtype} to float32\n"
    floats = {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    assert len(floats) > 50
    assert all(tensor.dtype == torch.float32 for tensor in floats.values())
    assert all(torch.equal(tensor, source[key].float()) for key, tensor in floats.items())
    expected = {"float16": 0, "bfloat16": 99_840, "float64": 100_000}[dtype]
    assert {int(tensor) for key, tensor in state.items() if key not in floats} == {expected}


def test_a_layout_that_timm_converts_is_found_under_prefixes(tmp_path):
    name = "test_convnext.r160_in1k"
    source = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    authors = {}
    for key, tensor in source.items():
        old = re.sub(r"^stages\.(\d+)\.blocks\.", r"stages.\1.", re.sub("^stem", "downsample_layers.0", key))
        old = re.sub(r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1.", old)
        old = old.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv").replace("head.norm", "norm")
        authors[old] = tensor
    assert len(set(authors) - set(source)) > 10
    torch.save({"epoch": 1, "model": prefixed("module.backbone.", authors)}, tmp_path / "w.pth")
    state = build_backbone(name, weights_file=tmp_path / "w.pth", image_size=64).model.state_dict()
    assert all(torch.equal(tensor, source[key]) for key, tensor in state.items())


def test_a_file_of_clip_is_left_to_timm(tmp_path, capsys):
    """Its text network and its projection may be parts of the conversion."""
    name = "test_convnext.r160_in1k"
    source = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    other = {"logit_scale": torch.ones(()), "text.projection": torch.ones(4, 4)}
    torch.save(prefixed("visual.trunk.", source) | other, tmp_path / "w.pth")
    state = build_backbone(name, weights_file=tmp_path / "w.pth", image_size=64).model.state_dict()
    assert all(torch.equal(tensor, source[key]) for key, tensor in state.items())
    assert capsys.readouterr().err == ""


def test_a_local_file_for_another_image_size_is_resampled(tmp_path):
    name = "test_vit.r160_in1k"
    save_file(timm.create_model(name, pretrained=False).state_dict(), tmp_path / "w.safetensors")
    state = build_backbone(name, weights_file=tmp_path / "w.safetensors", image_size=96).model.state_dict()
    assert state["pos_embed"].shape[1] == 1 + 6 * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("blocks.0.0.bn1.weight"), r"Missing key.*blocks\.0\.0\.bn1\.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), r"Unexpected key.*extra"),
        (lambda tensors: tensors.update({"bn2.bias": torch.zeros(3)}), r"size mismatch for bn2\.bias"),
        (lambda tensors: tensors.update({"bn2.bias": tensors["bn2.bias"].int()}), r"1 wrongly typed: bn2\.bias: int32"),
        (lambda tensors: tensors["bn2.bias"].fill_(torch.inf), r"1 not finite: bn2\.bias"),
    ],
)
def test_a_local_file_that_does_not_fit_is_refused(tmp_path, change, message):
    name, path = "test_efficientnet.r160_in1k", tmp_path / "w.safetensors"
    tensors = timm.create_model(name, pretrained=False).state_dict()
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(NoseprintError, match=rf"w\.safetensors: not weights of the backbone {name} .*{message}"):
        build_backbone(name, weights_file=path, image_size=64)


def test_a_file_with_several_backbones_is_refused(tmp_path):
    source = timm.create_model("test_efficientnet.r160_in1k", pretrained=False).state_dict()
    torch.save({"student": source, "teacher": prefixed("module.", source)}, tmp_path / "w.pth")
    with pytest.raises(NoseprintError, match=r"of several networks \('student', 'teacher\.module\.'\); save one"):
        build_backbone("test_efficientnet.r160_in1k", weights_file=tmp_path / "w.pth", image_size=64)


def test_a_local_file_that_is_missing_or_unreadable_is_refused(tmp_path):
    with pytest.raises(NoseprintError, match="no such weights file"):
        build_backbone("test_efficientnet.r160_in1k", weights_file=tmp_path / "w.pth", image_size=64)
    (tmp_path / "w.pth").write_bytes(b"<html>")
    with pytest.raises(NoseprintError, match=r"w\.pth: not a PyTorch file of tensors, .*a web page"):
        build_backbone("test_efficientnet.r160_in1k", weights_file=tmp_path / "w.pth", image_size=64)
