"""Weights on disk: safetensors whose header says which network they belong to."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from noseprint.errors import NoseprintError, printable
from noseprint.files import atomic_write
from noseprint.models.classifier import ClassifierNet
from noseprint.models.foreign_tensors import CONVERTED
from noseprint.models.network import EmbeddingNet, Network, SupConNet
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights_header import (
    FORMAT,
    RESERVED,
    Spec,
    WeightsHeader,
    current_key,
    fingerprint,
    read_header,
    require_recipe,
    tensor_specs,
)
from noseprint.version import __version__

__all__ = [
    "check_tensors",
    "fingerprint",
    "load_classifier",
    "load_network",
    "load_projection",
    "load_supcon",
    "read_header",
    "read_tensors",
    "save_weights",
]

_SPARE_BYTES = 2**28  # beside the weights: attention masks grow with the image size, and the file does not hold them
_KIND = {
    "embedding": "an embedding network",
    "projection": "a projection network (recipes/universal_embedding)",
    "classifier": "a classifier",
}
AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def save_weights(path: Path, network: Network, *, extra: Mapping[str, str]) -> None:
    """Write the network's weights and its description to `path`, completely or not at all; same input, same bytes.

    extra: more entries for the header. Raises ValueError if one has a name that the header itself uses.
    """
    if clash := sorted(set(extra) & set(RESERVED)):
        raise ValueError(f"extra must not use the header's own names {clash}")
    metadata = {"format": FORMAT, "version": __version__, **network.config(), **extra}
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    data = _sort_metadata(save(tensors, metadata))
    with atomic_write(path) as part:
        part.write_bytes(data)


def load_network(
    path: Path, *, backbone: str | None = None, image_size: int | None = None, recipe: str | None = None
) -> EmbeddingNet:
    """Load an embedding network of either kind (`SupConNet` or `ProjectionNet`), in eval mode.

    backbone, recipe: refuse weights of another backbone, or that name another recipe. image_size: side of the input in
    pixels, if the backbone takes any; by default as in training.
    Raises NoseprintError as `read_header` does; for a classifier's weights, another backbone or recipe, or a size that
    the backbone does not take; and for missing, unexpected, wrongly shaped, wrongly typed or non-finite tensors. A
    header that claims a large network is refused before it takes memory.
    """
    header = _read(path, kinds=("embedding", "projection"), backbone=backbone, recipe=recipe)
    if header.kind == "embedding":
        return _load(path, header, _supcon(header), image_size=image_size)
    return _load(path, header, _projection(header), image_size=image_size)


def load_supcon(path: Path, *, backbone: str | None = None, image_size: int | None = None) -> SupConNet:
    """Load a `SupConNet` to train it further. Arguments and exceptions are those of `load_network`."""
    header = _read(path, kinds=("embedding",), backbone=backbone, recipe=None)
    return _load(path, header, _supcon(header), image_size=image_size)


def load_projection(path: Path, *, backbone: str | None = None, image_size: int | None = None) -> ProjectionNet:
    """Load a `ProjectionNet`, to train, join or average it. Arguments and exceptions are those of `load_network`."""
    header = _read(path, kinds=("projection",), backbone=backbone, recipe=None)
    return _load(path, header, _projection(header), image_size=image_size)


def _projection(header: WeightsHeader) -> Callable[..., ProjectionNet]:
    return partial(ProjectionNet, dim=header.dim, pooling=header.pooling, stride=header.stride, others=header.others)


def _supcon(header: WeightsHeader) -> Callable[..., SupConNet]:
    return partial(SupConNet, descriptors=header.descriptors, dim=header.dim)


def load_classifier(
    path: Path, *, backbone: str | None = None, image_size: int | None = None, recipe: str | None = None
) -> ClassifierNet:
    """Load a classifier, in eval mode. Arguments and exceptions are those of `load_network`."""
    header = _read(path, kinds=("classifier",), backbone=backbone, recipe=recipe)
    build = partial(ClassifierNet, pooling=header.pooling, hidden=header.hidden, heads=header.heads)
    return _load(path, header, build, image_size=image_size)


def check_tensors(
    network: Network,
    tensors: Mapping[str, Tensor],
    *,
    path: Path,
    shown_key: Callable[[str], str] = str,
    convert: bool = False,
) -> dict[str, Tensor]:
    """Return `tensors` if they are exactly those of `network`: the same keys, types and shapes, all values finite.

    network: it may be on the meta device; it is not changed. convert: float16, bfloat16 and float64 become float32
    where the network has that. Raises NoseprintError, naming the file `path` and the keys as `shown_key` gives them.
    """
    own, given = network.state_dict(), tensor_specs(tensors)
    for key in own.keys() & tensors.keys():
        if convert and tensors[key].dtype in CONVERTED and own[key].dtype is torch.float32:
            given[key] = ("float32", given[key][1])
    _require_fit(network, given, path=path, shown_key=shown_key)
    tensors = {key: tensor.to(own[key].dtype) for key, tensor in tensors.items()}
    if wrong := [shown_key(key) for key in tensors if not torch.isfinite(tensors[key]).all()]:
        raise NoseprintError(f"{path}: {_count_keys('not finite', wrong)}: its training diverged; give other weights")
    return tensors


def read_tensors(path: Path, network: Network) -> dict[str, Tensor]:
    """The tensors of a weights file. Raises NoseprintError unless they are exactly those of `network`."""
    header = read_header(path)
    tensors = {current_key(key, header.format): tensor for key, tensor in load_file(path).items()}
    return check_tensors(network, tensors, path=path)


def _read(path: Path, *, kinds: Sequence[str], backbone: str | None, recipe: str | None) -> WeightsHeader:
    header = read_header(path)
    if header.kind not in kinds:
        raise NoseprintError(f"{path}: holds {_KIND[header.kind]}; give the weights of {_KIND[kinds[0]]}")
    if backbone not in (None, header.backbone):
        raise NoseprintError(
            f"{path}: its backbone is {header.backbone}, not {backbone}; leave --backbone out, or train that one"
        )
    if recipe is not None:
        require_recipe(path, header, recipe)
    return header


def _load(path: Path, header: WeightsHeader, build: Callable[..., AnyNetwork], *, image_size: int | None) -> AnyNetwork:
    size = header.image_size if image_size is None else image_size
    options: dict[str, Any] = {"image_size": size, "pretrained": False, "mean": header.mean, "std": header.std}
    with torch.device("meta"):  # takes no memory
        plan = build(header.backbone, **options)
    if any(backbone.fixed_size is not None for backbone in plan.backbones) and size != header.image_size:
        raise NoseprintError(
            f"{path}: {header.backbone} was trained at {header.image_size} pixels and takes no other size, not {size}; "
            "leave --image-size out"
        )
    _require_fit(plan, header.tensors, path=path)
    memory = sum(tensor.nbytes for tensor in (*plan.parameters(), *plan.buffers()))
    if memory > 2 * path.stat().st_size + _SPARE_BYTES:
        raise NoseprintError(
            f"{path}: {header.backbone} takes {memory / 2**30:.1f} GiB at {size} pixels; choose a smaller size"
        )
    network = build(header.backbone, **options)
    network.load_state_dict(read_tensors(path, network))
    network.eval()
    return network


def _require_fit(
    network: Network, given: Mapping[str, Spec], *, path: Path, shown_key: Callable[[str], str] = str
) -> None:
    """Refuse tensors with other keys, shapes or types than those of `network`, which may be on the meta device.

    Nothing is converted: in half precision it would be another network than the one that was measured.
    """
    own = tensor_specs(network.state_dict())
    common = [(shown_key(key), given[key], own[key]) for key in own if key in given]
    faults = {
        "missing": [shown_key(key) for key in own if key not in given],
        "unexpected": [shown_key(key) for key in given if key not in own],
        "wrongly shaped": [f"{key}: {has[1]}, not {needs[1]}" for key, has, needs in common if has[1] != needs[1]],
        "wrongly typed": [f"{key}: {has[0]}, not {needs[0]}" for key, has, needs in common if has[0] != needs[0]],
    }
    messages = [_count_keys(fault, keys) for fault, keys in faults.items() if keys]
    if messages:
        raise NoseprintError(
            f"{path}: does not fit {network.backbone_name}: {'; '.join(messages)}; give weights of exactly this network"
        )


def _count_keys(fault: str, keys: list[str]) -> str:
    more = ", ..." if len(keys) > 3 else ""
    return f"{len(keys)} {fault} ({', '.join(printable(key[:150]) for key in keys[:3])}{more})"


def _sort_metadata(data: bytes) -> bytes:
    """Sort the header's entries: safetensors leaves them in the order of a hash table, which differs each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    if len(text) != length:
        raise RuntimeError(f"safetensors header of {length} bytes became {len(text)}")
    return data[:8] + text + data[8 + length :]
