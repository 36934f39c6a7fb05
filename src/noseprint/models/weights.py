"""Weights on disk: safetensors whose header says which network they belong to."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from noseprint import __version__
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.models.network import SupConNet

FORMAT = "noseprint weights 1"
_NAMED = ("format", "trunk", "image_size", "mean", "std", "descriptors", "dim", "version")


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says of itself; `extra` holds the recipe, hold-out metrics and whatever else was given."""

    trunk: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    descriptors: str
    dim: int
    version: str
    extra: dict[str, str] = field(default_factory=dict)


def save_weights(path: Path, network: SupConNet, *, extra: Mapping[str, str]) -> None:
    """Write the network's weights and its description to `path`, whole or not at all; same input, same bytes.

    Raises ValueError where `extra` uses one of the header's own names.
    """
    if clash := sorted(set(extra) & set(_NAMED)):
        raise ValueError(f"extra must not carry the header's own names {clash}")
    metadata = {
        "format": FORMAT,
        "trunk": network.trunk_name,
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


def read_header(path: Path) -> WeightsHeader:
    """Read the header of a weights file, no tensor.

    Raises NoseprintError where the file is missing, truncated, no safetensors, or of another program.
    """
    if not path.is_file():
        raise NoseprintError(f"{path}: no such weights file; train the network first, or give its place")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NoseprintError(
            f"{path}: not a safetensors file, or only part of one ({error}); copy or train it again"
        ) from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise NoseprintError(f"{path}: header format is '{found}', not '{FORMAT}'; it was written by another program")
    try:
        return WeightsHeader(
            trunk=metadata["trunk"],
            image_size=int(metadata["image_size"]),
            mean=_three(metadata["mean"]),
            std=_three(metadata["std"]),
            descriptors=metadata["descriptors"],
            dim=int(metadata["dim"]),
            version=metadata["version"],
            extra={key: value for key, value in metadata.items() if key not in _NAMED},
        )
    except (KeyError, ValueError, TypeError) as error:
        raise NoseprintError(f"{path}: damaged header ({type(error).__name__}: {error}); train it again") from error


def load_weights(path: Path, network: SupConNet) -> WeightsHeader:
    """Fill `network` from `path`, and normalise pixels as those weights were trained. Give back the header.

    Raises NoseprintError for another trunk or other descriptors, and for missing, unexpected, wrongly shaped or
    non-finite tensors; the network is then unchanged.
    """
    header = read_header(path)
    for name, ours, theirs in (
        ("trunk", network.trunk_name, header.trunk),
        ("descriptors", network.descriptors, header.descriptors),
        ("dim", network.dim, header.dim),
    ):
        if ours != theirs:
            raise NoseprintError(
                f"{path}: its {name} is {theirs}, this network's is {ours}; give the weights of this one"
            )
    load_strictly(network, load_file(path), path=path)
    network.set_pixel_statistics(header.mean, header.std)
    return header


def load_network(path: Path, *, trunk: str | None = None, image_size: int | None = None) -> SupConNet:
    """Build the network that `path` describes and fill it, in eval mode.

    trunk: refuse weights of another one. image_size: side of the input in pixels, where the trunk takes any size.
    Raises NoseprintError like `load_weights`, and for a trunk or a size that these weights do not fit.
    """
    header = read_header(path)
    if trunk not in (None, header.trunk):
        raise NoseprintError(
            f"{path}: its trunk is {header.trunk}, asked for is {trunk}; leave --trunk out, or train it"
        )
    network = SupConNet(
        header.trunk,
        descriptors=header.descriptors,
        dim=header.dim,
        image_size=header.image_size if image_size is None else image_size,
        pretrained=False,
        mean=header.mean,
        std=header.std,
    )
    if network.trunk.fixed_size is not None and network.image_size != header.image_size:
        raise NoseprintError(
            f"{path}: {header.trunk} was trained at {header.image_size} pixels and takes no other size, "
            f"not {image_size}; leave --image-size out"
        )
    load_weights(path, network)
    return network.eval()


def load_strictly(
    network: SupConNet, tensors: Mapping[str, Tensor], *, path: Path, name: Callable[[str], str] = str
) -> None:
    """Copy `tensors` into `network` if they are exactly its own: the same keys and shapes, every value finite.

    `name` turns a key into the one to show. Raises NoseprintError naming the keys, before anything is copied.
    """
    own = network.state_dict()
    shared = [key for key in own if key in tensors]
    faults = {
        "missing": [key for key in own if key not in tensors],
        "unexpected": [key for key in tensors if key not in own],
        "wrongly shaped": [key for key in shared if tensors[key].shape != own[key].shape],
        "not finite": [key for key in shared if not torch.isfinite(tensors[key]).all()],
    }
    told = [
        f"{len(keys)} {fault} ({', '.join(name(key) for key in keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for fault, keys in faults.items()
        if keys
    ]
    if told:
        raise NoseprintError(
            f"{path}: does not fit {network.trunk_name}: {'; '.join(told)}; give the weights of this very network"
        )
    network.load_state_dict(tensors)


def fingerprint(path: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256: two files with one fingerprint hold the same weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _three(text: str) -> tuple[float, ...]:
    values = tuple(float(value) for value in json.loads(text))
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise ValueError(f"three finite numbers expected, not {text}")
    return values


def _sort_metadata(data: bytes) -> bytes:
    """Put the header's entries in sorted order: safetensors leaves them in a hash table's, new in every process."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    if len(text) != length:
        raise RuntimeError(f"safetensors header of {length} bytes became {len(text)}")
    return data[:8] + text + data[8 + length :]
