"""Weights on disk: safetensors whose header says which network they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from noseprint import __version__
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.models.network import SupConNet
from noseprint.models.strict import load_strictly, require_fit
from noseprint.models.weights_header import FORMAT, NAMED, WeightsHeader, fingerprint, read_header, require_recipe

__all__ = ["WeightsHeader", "fingerprint", "load_network", "load_weights", "read_header", "save_weights"]

_SPARE = 2**28  # bytes beside the weights: attention masks grow with the image size, and no tensor tells of them


def save_weights(path: Path, network: SupConNet, *, extra: Mapping[str, str]) -> None:
    """Write the network's weights and its description to `path`, whole or not at all; same input, same bytes.

    Raises ValueError where `extra` uses one of the header's own names.
    """
    if clash := sorted(set(extra) & set(NAMED)):
        raise ValueError(f"extra must not carry the header's own names {clash}")
    metadata = {
        "format": FORMAT,
        "backbone": network.backbone_name,
        "image_size": str(network.image_size),
        "mean": json.dumps(network.mean),
        "std": json.dumps(network.std),
        "descriptors": network.descriptors,
        "dim": str(network.dim),
        "version": __version__,
        **extra,
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    data = _sort_metadata(save(tensors, metadata))
    with atomic_write(path) as part:
        part.write_bytes(data)


def load_weights(path: Path, network: SupConNet) -> WeightsHeader:
    """Fill `network` from `path`, and normalise pixels as those weights were trained. Give back the header.

    The network keeps its own input size, unless its backbone is one that takes a single size.
    Raises NoseprintError for another backbone, other descriptors or such a size, and for missing, unexpected, wrongly
    shaped or typed or non-finite tensors; the network is then unchanged.
    """
    header = read_header(path)
    _require_same(path, header, network)
    load_strictly(network, load_file(path), path=path)
    network.set_pixel_statistics(header.mean, header.std)
    return header


def load_network(
    path: Path, *, backbone: str | None = None, image_size: int | None = None, recipe: str | None = None
) -> SupConNet:
    """Build the network that `path` describes and fill it, in eval mode.

    backbone: refuse weights of another one. image_size: side of the input in pixels, where the backbone takes any size.
    recipe: refuse weights that say another recipe made them.
    Raises NoseprintError like `load_weights`, and for a backbone, size or recipe that these weights do not fit, before
    memory is taken on the word of the file.
    """
    header = read_header(path)
    if backbone not in (None, header.backbone):
        raise NoseprintError(
            f"{path}: its backbone is {header.backbone}, asked for is {backbone}; leave --backbone out, or train it"
        )
    if recipe is not None:
        require_recipe(path, header, recipe)
    with torch.device("meta"):
        plan = _build(header, image_size)
    _require_same(path, header, plan)
    memory = sum(tensor.nbytes for tensor in (*plan.parameters(), *plan.buffers()))
    if memory > 2 * path.stat().st_size + _SPARE:
        raise NoseprintError(
            f"{path}: {header.backbone} takes {memory / 2**30:.1f} GiB at {plan.image_size} px; choose a smaller size"
        )
    network = _build(header, image_size)
    load_weights(path, network)
    return network.eval()


def _build(header: WeightsHeader, image_size: int | None) -> SupConNet:
    return SupConNet(
        header.backbone,
        descriptors=header.descriptors,
        dim=header.dim,
        image_size=header.image_size if image_size is None else image_size,
        pretrained=False,
        mean=header.mean,
        std=header.std,
    )


def _require_same(path: Path, header: WeightsHeader, network: SupConNet) -> None:
    """Refuse a header or tensors of another network, which may be on the meta device."""
    for name, ours, theirs in (
        ("backbone", network.backbone_name, header.backbone),
        ("descriptors", network.descriptors, header.descriptors),
        ("dim", network.dim, header.dim),
    ):
        if ours != theirs:
            raise NoseprintError(
                f"{path}: its {name} is {theirs}, this network's is {ours}; give the weights of this one"
            )
    if network.backbone.fixed_size is not None and network.image_size != header.image_size:
        raise NoseprintError(
            f"{path}: {header.backbone} was trained at {header.image_size} pixels and takes no other size, "
            f"not {network.image_size}; leave --image-size out"
        )
    require_fit(network, header.tensors, path=path)


def _sort_metadata(data: bytes) -> bytes:
    """Put the header's entries in sorted order: safetensors leaves them in a hash table's, new in every process."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    if len(text) != length:
        raise RuntimeError(f"safetensors header of {length} bytes became {len(text)}")
    return data[:8] + text + data[8 + length :]
