"""The four checkpoints published in 2022 (`ckpts/*.pth`), read into the networks of today's timm.

They are flat state dicts of timm 0.5.4 backbones inside an `nn.Sequential`: `features.N.*` by position, and one linear
layer a descriptor (`main_modules.0` the mean, `main_modules.1` the maximum). No tensor changes its shape.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from noseprint.errors import NoseprintError
from noseprint.models.strict import load_strictly, specs
from noseprint.models.weights_header import fingerprint, looks_like, parameters, shown, summary

if TYPE_CHECKING:  # `noseprint weights` reads checkpoints without timm
    from noseprint.models.network import SupConNet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DESCRIPTORS_2022 = "SM"

# Left in the model by an operation counter, or computed from the architecture in today's timm.
_DROPPED = re.compile(r"(^|\.)(total_ops|total_params|relative_position_index|attn_mask)$")
_STAGE = re.compile(r"features\.2\.(\d+)\.(blocks|downsample)\.(.+)")
# All that a pickled table of tensors asks for. What torch allows besides can be made to take any amount of memory.
_NEEDED = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    *(f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
}
_LONGEST_PICKLE = 2**24  # bytes; those of the four networks have fewer than 2**18
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
# Today's key and its shape that tell the members of one family apart.
_SIGNATURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "swin224": ("backbone.model.layers.0.blocks.0.attn.relative_position_bias_table", (13 * 13, 4)),
    "swin384": ("backbone.model.layers.0.blocks.0.attn.relative_position_bias_table", (23 * 23, 4)),
    "v2": ("backbone.model.conv_head.weight", (1280, 640, 1, 1)),
    "b7ns": ("backbone.model.conv_head.weight", (2560, 640, 1, 1)),
}


def load_published(path: Path, network: "SupConNet") -> None:
    """Fill `network` from a published `.pth` file, and normalise pixels with ImageNet's statistics as its authors did.

    Nothing in the file is executed. Raises NoseprintError where it is no such checkpoint, belongs to another network,
    or has missing, unexpected, wrongly shaped or non-finite tensors; the network is then unchanged.
    """
    if network.descriptors != DESCRIPTORS_2022:
        raise NoseprintError(
            f"{path}: the published checkpoints have the descriptors {DESCRIPTORS_2022}, this network has "
            f"{network.descriptors}; build it with {DESCRIPTORS_2022}"
        )
    tensors, origin = _today(path)
    ours, theirs = _member(network.state_dict()), _member(tensors)
    if theirs is not None and theirs != ours:
        raise NoseprintError(
            f"{path}: this looks like {theirs}, the folder expects {ours or network.backbone_name}; "
            "put each file under its own name"
        )
    load_strictly(network, tensors, path=path, name=lambda key: origin.get(key, key))
    network.set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)


def describe_published(path: Path) -> dict[str, Any]:
    """What is in one of the four published files, for a person or as JSON; no network is built.

    Raises NoseprintError for a file that is none of the four or holds numbers that are not finite.
    """
    tensors, origin = _today(path)
    member = _member(tensors)
    if member is None or sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        raise NoseprintError(f"{path}: none of the four published checkpoints: {summary(specs(tensors))}")
    if wrong := [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise NoseprintError(f"{path}: {len(wrong)} tensors are not finite ({shown(origin[wrong[0]])}, ...)")
    heads = [tensor for key, tensor in tensors.items() if key.startswith("heads.")]
    return {
        "file": str(path),
        "format": "checkpoint of 2022",
        "network": member,
        "image_size": 384 if member == "swin384" else 224,
        "descriptors": DESCRIPTORS_2022,
        "dim": sum(len(head) for head in heads if head.ndim),
        "parameters": parameters(specs(tensors)),
        "bytes": path.stat().st_size,
        "fingerprint": fingerprint(path),
    }


def _today(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The file's tensors under today's keys, and the key of 2022 of each."""
    held = {key: tensor for key, tensor in _read(path).items() if not _DROPPED.search(key)}
    family = "Swin" if any("features.2.0.blocks." in key for key in held) else "EfficientNet"
    tensors: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in held.items():
        today = _rename(key.removeprefix("module."), family)
        if today in tensors:
            raise NoseprintError(
                f"{path}: {shown(origin[today])} and {shown(key)} are the same tensor twice; download the file again"
            )
        tensors[today], origin[today] = tensor, key
    return tensors, origin


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise NoseprintError(f"{path}: no such checkpoint; download it and put it there")
    zipped = False
    try:
        zipped = zipfile.is_zipfile(path)
        asked = _zip_globals(path) if zipped else _old_globals(path)
        if stranger := next((name for name in asked if name not in _NEEDED), None):
            raise pickle.UnpicklingError(f"it asks for {stranger}")
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise NoseprintError(
            f"{path}: refused, nothing in it was executed: it holds more than tensors, or is no PyTorch file "
            f"({_brief(error)}); download it again from the place its authors named"
        ) from error
    except Exception as error:  # whatever a parser says of a stranger's bytes
        seen = (not zipped and looks_like(path)) or _brief(error)
        raise NoseprintError(f"{path}: unreadable, perhaps cut short ({seen}); download it again") from error
    if not isinstance(held, Mapping) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in held.items()
    ):
        raise NoseprintError(f"{path}: holds no flat table of named tensors; give one of the four published files")
    return held


def _brief(error: Exception) -> str:
    return shown(str(error).partition("\n")[0])


def _zip_globals(path: Path) -> Iterator[str]:
    """What the pickles in a checkpoint ask Python for. Refuses a zip that would grow when read, or is damaged."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
            sum(entry.file_size for entry in entries) > path.stat().st_size
        ):
            raise pickle.UnpicklingError("it is compressed, as PyTorch never writes it")
        if damaged := archive.testzip():  # torch itself compares no checksum
            raise ValueError(f"{damaged} is damaged")
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):
                yield from _globals(io.BytesIO(archive.read(entry)))


def _old_globals(path: Path) -> Iterator[str]:
    """The same for the layout before PyTorch 1.6: four pickles in a row, then the storages."""
    with path.open("rb") as file:
        start = io.BytesIO(file.read(_LONGEST_PICKLE))
    for _ in range(4):
        yield from _globals(start)


def _globals(file: io.BytesIO) -> Iterator[str]:
    """Read one pickle without running it."""
    if file.getbuffer().nbytes > _LONGEST_PICKLE:
        raise pickle.UnpicklingError("its table of contents is larger than any network's")
    words: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STACK_GLOBAL":  # takes the two words before it
            yield ".".join(words[-2:])
        elif isinstance(argument, str) and opcode.name in ("GLOBAL", "INST"):
            yield argument.replace(" ", ".")
        elif isinstance(argument, str):
            words.append(argument)


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and type(value) in (Tensor, torch.nn.Parameter)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _rename(key: str, family: str) -> str:
    """Today's key of a 2022 key; one without a place becomes a key that no network has, reported as unexpected."""
    if head := re.fullmatch(r"main_modules\.(\d+)\.0\.weight", key):
        return f"heads.{head[1]}.weight"
    if family == "Swin" and (stage := _STAGE.fullmatch(key)):
        # 2022: the downsampling ends stage i. Today it begins stage i + 1.
        number = int(stage[1]) + (stage[2] == "downsample")
        return f"backbone.model.layers.{number}.{stage[2]}.{stage[3]}"
    for old, new in _PREFIXES[family].items():
        if key.startswith(old):
            return f"backbone.model.{new}{key.removeprefix(old)}"
    return f"2022:{key}"


def _member(tensors: Mapping[str, Tensor]) -> str | None:
    """Which of the four a table of today's keys belongs to, None where no signature fits."""
    for member, (key, shape) in _SIGNATURES.items():
        if key in tensors and tuple(tensors[key].shape) == shape:
            return member
    return None
