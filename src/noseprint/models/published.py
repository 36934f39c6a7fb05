"""Reads the four checkpoints published in 2022 (`ckpts/*.pth`) into the networks of today's timm.

They are tables of tensors, taken from timm 0.5.4 backbones inside an `nn.Sequential`: `features.N.*` by position,
and one linear layer for each descriptor (`main_modules.0` for the mean, `main_modules.1` for the maximum). All tensors
keep their shapes.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noseprint.errors import NoseprintError
from noseprint.models.foreign_tensors import find_tensors
from noseprint.models.network import SupConNet
from noseprint.models.weights import check_tensors
from noseprint.models.weights_header import count_parameters, fingerprint, summarise_tensors, tensor_specs

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_DESCRIPTORS = "SM"

# Entries left behind by an operation counter, and entries that today's timm computes from the architecture.
_IGNORED = re.compile(r"(^|\.)(total_ops|total_params|relative_position_index|attn_mask)$")
_OLD_KEY = re.compile(r"(?:^|\.)(?=(?:features|main_modules)\.[0-9])")
_STAGE = re.compile(r"features\.2\.([0-3])\.(blocks|downsample)\.(.+)")
_PREFIXES = {
    "Swin": {"features.0.": "patch_embed.", "features.3.": "norm."},
    "EfficientNet": {
        "features.0.": "conv_stem.",
        "features.1.": "bn1.",
        "features.3.": "blocks.",
        "features.4.": "conv_head.",
        "features.5.": "bn2.",
    },
}
_BIASES = "backbone.model.layers.0.blocks.0.attn.relative_position_bias_table"
_LAST = "backbone.model.conv_head.weight"
# The timm model and image size of each network, and a tensor (today's key and shape) that tells it from the others.
_NETWORKS: dict[str, tuple[str, int, tuple[str, tuple[int, ...]]]] = {
    "swin224": ("swin_base_patch4_window7_224.ms_in22k", 224, (_BIASES, (13 * 13, 4))),
    "swin384": ("swin_base_patch4_window12_384.ms_in22k", 384, (_BIASES, (23 * 23, 4))),
    "v2": ("tf_efficientnetv2_l.in21k_ft_in1k", 224, (_LAST, (1280, 640, 1, 1))),
    "b7ns": ("tf_efficientnet_b7.ns_jft_in1k", 224, (_LAST, (2560, 640, 1, 1))),
}


def load_published(path: Path, network: SupConNet) -> None:
    """Fill `network` from a published file; pixels are then normalised with ImageNet's statistics, as in 2022.

    The tensors may be wrapped, as `find_tensors` describes, and in float16, bfloat16 or float64, which become float32;
    a line on standard error then says so. No code in the file is executed. Raises NoseprintError if the file is not
    such a checkpoint, belongs to another network, or has missing, unexpected, wrongly shaped or non-finite tensors; the
    network is then unchanged.
    """
    if network.descriptors != _DESCRIPTORS:
        raise NoseprintError(
            f"{path}: the published checkpoints have the descriptors {_DESCRIPTORS}, this network has "
            f"{network.descriptors}; build it with {_DESCRIPTORS}"
        )
    tensors, old_keys, note = _read_renamed(path)
    expected, actual = _recognise(network.state_dict()), _recognise(tensors)
    if actual is not None and actual != expected:
        raise NoseprintError(
            f"{path}: this looks like {actual}, the folder expects {expected or network.backbone_name}; "
            "put each file under its own name"
        )
    network.load_state_dict(_check(network, tensors, old_keys, path=path))
    network.set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)
    if note:
        print(f"{path}: {note}", file=sys.stderr, flush=True)


def describe_published(path: Path) -> dict[str, Any]:
    """What one of the four published files holds, for printing or as JSON.

    Raises NoseprintError for any other file, and for one that `load_published` refuses. The network that it is compared
    with takes no memory.
    """
    tensors, old_keys, note = _read_renamed(path)
    name = _recognise(tensors)
    if name is None:
        raise _foreign(path, {old_keys[key]: tensor for key, tensor in tensors.items()})
    backbone, image_size, _ = _NETWORKS[name]
    with torch.device("meta"):  # takes no memory
        plan = SupConNet(backbone, descriptors=_DESCRIPTORS, image_size=image_size, pretrained=False)
    _check(plan, tensors, old_keys, path=path)
    return {
        "file": str(path),
        "format": "checkpoint of 2022",
        "network": name,
        "image_size": plan.image_size,
        "descriptors": _DESCRIPTORS,
        "dim": plan.dim,
        "parameters": count_parameters(tensor_specs(tensors)),
        "bytes": path.stat().st_size,
        "fingerprint": fingerprint(path),
    } | ({"reading": note} if note else {})


def _read_renamed(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """The file's tensors under today's keys, the key in the file for each of those, and `FoundTensors.note`."""
    if not path.is_file():
        raise NoseprintError(f"{path}: no such checkpoint; download it and put it there")
    found = find_tensors(path, _prefix_of_2022, at_least=1, ignored=_IGNORED)
    if not any(_OLD_KEY.match(key) for key in found.tensors):
        raise _foreign(path, {found.name_in_file[key]: tensor for key, tensor in found.tensors.items()})
    family = "Swin" if any("features.2.0.blocks." in key for key in found.tensors) else "EfficientNet"
    renamed = {_rename(key, family): key for key in found.tensors}
    tensors = {new: found.tensors[old] for new, old in renamed.items()}
    return tensors, {new: found.name_in_file[old] for new, old in renamed.items()}, found.note


def _foreign(path: Path, tensors: Mapping[str, Tensor]) -> NoseprintError:
    summary = summarise_tensors(tensor_specs(tensors))
    return NoseprintError(f"{path}: none of the four published checkpoints: {summary}; give one of them")


def _prefix_of_2022(key: str) -> list[str]:
    return [key[: at.end()]] if (at := _OLD_KEY.search(key)) else []


def _check(network: SupConNet, tensors: Mapping[str, Tensor], old_keys: Mapping[str, str], *, path: Path) -> Any:
    return check_tensors(network, tensors, path=path, shown_key=lambda key: old_keys.get(key, key), convert=True)


def _rename(key: str, family: str) -> str:
    """Today's key for a key of 2022; an unknown one becomes a key that no network has, and so is refused later."""
    if head := re.fullmatch(r"main_modules\.(\d+)\.0\.weight", key):
        return f"heads.{head[1]}.weight"
    if family == "Swin" and (stage := _STAGE.fullmatch(key)):
        # In 2022 the downsampling was the end of stage i; today it is the beginning of stage i + 1.
        number = int(stage[1]) + (stage[2] == "downsample")
        return f"backbone.model.layers.{number}.{stage[2]}.{stage[3]}"
    for old, new in _PREFIXES[family].items():
        if key.startswith(old):
            return f"backbone.model.{new}{key.removeprefix(old)}"
    return f"2022:{key}"


def _recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """Which of the four networks these tensors (under today's keys) belong to; None if it is none of them."""
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return next((name for name, (*_, (key, shape)) in _NETWORKS.items() if shapes.get(key) == shape), None)
