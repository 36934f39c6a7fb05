"""What a weights file says of itself: read without torch, and believed only where it can be true."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from noseprint.errors import NoseprintError

FORMAT = "noseprint weights 2"
NAMED = ("format", "backbone", "image_size", "mean", "std", "descriptors", "dim", "version")
_PLAIN = {"backbone": r"[A-Za-z0-9_.]{1,100}", "descriptors": r"[A-Z]{1,9}", "version": r"[\x21-\x7e]{1,50}"}
_RANGES = {"image_size": (16, 4096), "dim": (1, 2**16)}
_DTYPES = {"F32": "float32", "I64": "int64"}  # safetensors' names; what a network's state is made of
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# How files begin that are taken for weights by mistake.
_OTHERS = {
    b"<": "a web page: the download asked for something first",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull",
    b"PK": "a zip as PyTorch writes it, cut short or not called .pth",
    b"\x80": "a Python pickle, which is never run",
    b"\x1f\x8b": "compressed: unpack it",
    b"": "empty: the download failed",
}

Spec = tuple[str, tuple[int, ...]]
"""Type and shape of a tensor, such as ("float32", (512, 1024))."""


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says of itself; `extra` holds the recipe, hold-out metrics and whatever else was given."""

    backbone: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    descriptors: str
    dim: int
    version: str
    extra: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Spec] = field(default_factory=dict)


def read_header(path: Path) -> WeightsHeader:
    """Read the header of a weights file, no tensor.

    Raises NoseprintError where the file is missing, truncated, no safetensors, of another program, or where its header
    holds what cannot be.
    """
    if path.exists() and not path.is_file():
        raise NoseprintError(f"{path}: is no regular file; give the place of the weights themselves")
    if not path.is_file():
        raise NoseprintError(f"{path}: no such weights file; train the network first, or give its place")
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - it has only this one
            tensors = {key: (_dtype(part.get_dtype()), tuple(part.get_shape())) for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise NoseprintError(
            f"{path}: not a safetensors file, or only part of one ({looks_like(path) or error}); copy or train it again"
        ) from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")[:100]
        raise NoseprintError(
            f"{path}: header format is {found!r}, not {FORMAT!r}; it was written by another program: {summary(tensors)}"
        )
    try:
        for name, pattern in _PLAIN.items():
            if not re.fullmatch(pattern, metadata[name]):
                raise ValueError(f"{name} {metadata[name][:100]!r}")
        numbers = {name: int(metadata[name]) for name in _RANGES}
        for name, (low, high) in _RANGES.items():
            if not low <= numbers[name] <= high:
                raise ValueError(f"{name} {numbers[name]}, must be in {low}..{high}")
        extra = {key: value for key, value in metadata.items() if key not in NAMED}
        _check_extra(extra)
        return WeightsHeader(
            backbone=metadata["backbone"],
            image_size=numbers["image_size"],
            mean=_three(metadata["mean"], low=-1e4),
            std=_three(metadata["std"], low=1e-4),
            descriptors=metadata["descriptors"],
            dim=numbers["dim"],
            version=metadata["version"],
            extra=extra,
            tensors=tensors,
        )
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NoseprintError(f"{path}: damaged header ({type(error).__name__}: {error}); train it again") from error


def describe_weights(path: Path) -> dict[str, Any]:
    """What is in a weights file of ours, for a person or as JSON; no network is built.

    Raises NoseprintError like `read_header`, and for heads that are not those of the header or numbers not finite.
    """
    header = read_header(path)
    heads = [shape for key, (_, shape) in header.tensors.items() if re.fullmatch(r"heads\.\d+\.weight", key)]
    if len(heads) != len(header.descriptors) or sum(shape[0] for shape in heads if shape) != header.dim:
        raise NoseprintError(
            f"{path}: its header tells of {header.dim} dimensions and descriptors {header.descriptors}, its heads are "
            f"{heads}; train it again"
        )
    others = [key for key, (dtype, _) in header.tensors.items() if dtype not in _DTYPES.values()]
    if others:
        raise NoseprintError(
            f"{path}: {shown(others[0])} is {header.tensors[others[0]][0]}, not float32; train it again"
        )
    with safe_open(path, framework="np") as file:
        wrong = [key for key in header.tensors if not np.isfinite(file.get_tensor(key)).all()]
    if wrong:
        raise NoseprintError(f"{path}: {len(wrong)} tensors are not finite ({shown(wrong[0])}, ...); train it again")
    training = json.loads(header.extra.get("training", "{}"))
    return {
        "file": str(path),
        "format": FORMAT,
        "version": header.version,
        "recipe": header.extra.get("recipe"),
        "backbone": header.backbone,
        "image_size": header.image_size,
        "descriptors": header.descriptors,
        "dim": header.dim,
        "parameters": parameters(header.tensors),
        "bytes": path.stat().st_size,
        "loss": training.get("loss"),
        "share_held_out": training.get("holdout"),
        "holdout": json.loads(header.extra.get("holdout", "null")),
        "calibrated": "calibration" in header.extra,
        "fingerprint": fingerprint(path),
    }


def fingerprint(path: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256: two files with one fingerprint hold the same weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def require_recipe(path: Path, header: WeightsHeader, recipe: str) -> None:
    """Refuse weights whose header says that another recipe than `recipe` made them."""
    made_by = header.extra.get("recipe")
    if made_by not in (None, recipe):
        raise NoseprintError(
            f"{path}: these are the weights of {made_by}, not of {recipe}; put them under their own name"
        )


def parameters(tensors: dict[str, Spec]) -> int:
    """How many numbers are learnt; BatchNorm's statistics are not."""
    learnt = (shape for key, (_, shape) in tensors.items() if not key.endswith(_STATISTICS))
    return sum(math.prod(shape) for shape in learnt)


def summary(tensors: dict[str, Spec]) -> str:
    """Tensors of somebody else's, in a few words."""
    names = ", ".join(map(shown, list(tensors)[:3]))
    return f"{len(tensors)} tensors ({names}), {sum(math.prod(shape) for _, shape in tensors.values()):,} numbers"


def shown(text: str) -> str:
    """A stranger's word for a message: no longer than 100 characters, and nothing that a terminal would obey."""
    return text[:100] if text.isprintable() else repr(text[:100])


def looks_like(path: Path) -> str | None:
    """What the file is instead of weights, where its first bytes tell."""
    with path.open("rb") as file:
        start = file.read(32).lstrip()
    return next((name for mark, name in _OTHERS.items() if (start.startswith(mark) if mark else not start)), None)


def _check_extra(extra: dict[str, str]) -> None:
    """What the library itself reads again must be what it writes."""
    recipe = extra.get("recipe", "")
    if len(recipe) > 100 or not recipe.isprintable():
        raise ValueError(f"recipe {recipe[:100]!r}")
    if not re.fullmatch(r"([0-9a-f]{8}){0,65536}", extra.get("held_out_photographs", "")):
        raise ValueError(f"held_out_photographs {extra['held_out_photographs'][:50]!r}")
    for name in ("training", "holdout", "calibration"):
        held = json.loads(extra.get(name, "{}"))
        if not isinstance(held, dict):
            raise TypeError(f"{name} is no table of names and values")
        # `training` may tell more than numbers; of it only the share of the hold-out is read. What a calibration is
        # made of, its own reader checks.
        values = [held.get("holdout", 0.0)] if name == "training" else [held[key] for key in held if key != "family"]
        numbers = [number for value in values for number in (value if isinstance(value, list) else [value])]
        if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
            raise ValueError(f"{name} {extra[name][:100]!r}")


def _three(text: str, *, low: float) -> tuple[float, ...]:
    values = tuple(float(value) for value in json.loads(text))
    if len(values) != 3 or not all(low <= value <= 1e4 for value in values):
        raise ValueError(f"three numbers in {low}..10000 expected, not {text[:100]!r}")
    return values


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name)
