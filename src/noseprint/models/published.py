"""Reads the four checkpoints published in 2022 (`ckpts/*.pth`) into the networks of today's timm.

They are flat tables of tensors, taken from timm 0.5.4 backbones inside an `nn.Sequential`: `features.N.*` by position,
and one linear layer for each descriptor (`main_modules.0` for the mean, `main_modules.1` for the maximum). All tensors
keep their shapes.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from noseprint.errors import NoseprintError, printable
from noseprint.models.weights_header import (
    count_parameters,
    fingerprint,
    guess_file_type,
    summarise_tensors,
    tensor_specs,
)

if TYPE_CHECKING:  # `noseprint weights` describes checkpoints without importing timm, which takes seconds
    from noseprint.models.network import SupConNet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_DESCRIPTORS = "SM"

# Entries left behind by an operation counter, and entries that today's timm computes from the architecture.
_IGNORED = re.compile(r"(^|\.)(total_ops|total_params|relative_position_index|attn_mask)$")
_STAGE = re.compile(r"features\.2\.(\d+)\.(blocks|downsample)\.(.+)")
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
# A tensor of each network (today's key and shape) that the other networks of its family do not have.
_SIGNATURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "swin224": ("backbone.model.layers.0.blocks.0.attn.relative_position_bias_table", (13 * 13, 4)),
    "swin384": ("backbone.model.layers.0.blocks.0.attn.relative_position_bias_table", (23 * 23, 4)),
    "v2": ("backbone.model.conv_head.weight", (1280, 640, 1, 1)),
    "b7ns": ("backbone.model.conv_head.weight", (2560, 640, 1, 1)),
}


def load_published(path: Path, network: "SupConNet") -> None:
    """Fill `network` from a published `.pth` file; pixels are then normalised with ImageNet's statistics, as in 2022.

    No code in the file is executed. Raises NoseprintError if the file is not such a checkpoint, belongs to another
    network, or has missing, unexpected, wrongly shaped or non-finite tensors; the network is then unchanged.
    """
    from noseprint.models.weights import fill_network  # noqa: PLC0415 - imports timm, see above

    if network.descriptors != _DESCRIPTORS:
        raise NoseprintError(
            f"{path}: the published checkpoints have the descriptors {_DESCRIPTORS}, this network has "
            f"{network.descriptors}; build it with {_DESCRIPTORS}"
        )
    tensors, old_keys = _read_renamed(path)
    expected, actual = _recognise(network.state_dict()), _recognise(tensors)
    if actual is not None and actual != expected:
        raise NoseprintError(
            f"{path}: this looks like {actual}, the folder expects {expected or network.backbone_name}; "
            "put each file under its own name"
        )
    fill_network(network, tensors, path=path, shown_key=lambda key: old_keys.get(key, key))
    network.set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)


def describe_published(path: Path) -> dict[str, Any]:
    """What one of the four published files holds, for printing or as JSON, without building its network.

    Raises NoseprintError for any other file, and for numbers that are not finite.
    """
    tensors, old_keys = _read_renamed(path)
    name = _recognise(tensors)
    specs = tensor_specs(tensors)
    if name is None or sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        raise NoseprintError(f"{path}: none of the four published checkpoints: {summarise_tensors(specs)}")
    if wrong := [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise NoseprintError(
            f"{path}: {len(wrong)} tensors are not finite ({printable(old_keys[wrong[0]][:100])}, ...)"
        )
    heads = [tensor for key, tensor in tensors.items() if key.startswith("heads.")]
    return {
        "file": str(path),
        "format": "checkpoint of 2022",
        "network": name,
        "image_size": 384 if name == "swin384" else 224,
        "descriptors": _DESCRIPTORS,
        "dim": sum(len(head) for head in heads if head.ndim),
        "parameters": count_parameters(specs),
        "bytes": path.stat().st_size,
        "fingerprint": fingerprint(path),
    }


def _read_renamed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The file's tensors under today's keys, and the key of 2022 for each of those."""
    stored = {key: tensor for key, tensor in _read(path).items() if not _IGNORED.search(key)}
    family = "Swin" if any("features.2.0.blocks." in key for key in stored) else "EfficientNet"
    tensors: dict[str, Tensor] = {}
    old_keys: dict[str, str] = {}
    for old, tensor in stored.items():
        key = _rename(old.removeprefix("module."), family)
        if key in tensors:
            twice = f"{printable(old_keys[key][:100])} and {printable(old[:100])}"
            raise NoseprintError(f"{path}: {twice} are the same tensor; download the file again")
        tensors[key], old_keys[key] = tensor, old
    return tensors, old_keys


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise NoseprintError(f"{path}: no such checkpoint; download it and put it there")
    zipped = False
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _check_zip(path)
        table = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # parsers may raise any exception for untrusted bytes
        refused = isinstance(error, pickle.UnpicklingError)
        reason = "it holds more than tensors" if refused else printable(str(error).partition("\n")[0][:100])
        reason = (not zipped and guess_file_type(path)) or reason
        raise NoseprintError(
            f"{path}: not a PyTorch file of tensors, or only part of one ({reason}); none of its code was executed; "
            "download it again from where its authors published it"
        ) from error
    if not isinstance(table, Mapping) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in table.items()
    ):
        raise NoseprintError(f"{path}: not a flat table of named tensors; give one of the four published files")
    return table


def _check_zip(path: Path) -> None:
    """Refuse a zip that would grow when it is read, or is damaged: torch checks neither."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("it is compressed, which PyTorch's own files never are")
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")


def _is_plain(value: Any) -> bool:
    if type(value) not in (Tensor, torch.nn.Parameter):
        return False
    return value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized


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
    return next((name for name, (key, shape) in _SIGNATURES.items() if shapes.get(key) == shape), None)
