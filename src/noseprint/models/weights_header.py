"""What a weights file says about itself: read without torch, and checked before it is trusted."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from noseprint.errors import NoseprintError, breaks_line, printable
from noseprint.files import file_hash

FORMAT = "noseprint weights 2"
_FORMAT_1 = "noseprint weights 1"  # embedding networks only; says `trunk` where format 2 says `backbone`
RESERVED = (
    *("format", "kind", "backbone", "image_size", "mean", "std", "version"),
    *("descriptors", "dim", "pooling", "hidden", "heads", "stride", "others"),
)
"""Header entries that describe the network, so that no caller may use their names for something else."""
MOST_HIDDEN = 2**16
MOST_BACKBONES = 16
_DTYPES = {"F32": "float32", "I64": "int64"}  # safetensors' names of the two types that a network's tensors have
_BACKBONE, _POOLING = r"[A-Za-z0-9_.]{1,100}", r"[a-z]{1,20}"
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_FIRST_BYTES = {  # of files that people take for weights by mistake
    b"<": "a web page: the download site wanted something else first",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull",
    b"PK": "a zip as PyTorch writes it: cut short, or its name does not end in .pth",
    b"\x80": "a Python pickle, which noseprint never runs",
    b"\x1f\x8b": "compressed: unpack it",
}

Spec = tuple[str, tuple[int, ...]]
"""Type and shape of a tensor, such as ("float32", (512, 1024))."""


@dataclass(frozen=True)
class BackbonePlan:
    """A further backbone of a `ProjectionNet`.

    pooling: see `Backbone.pooled`. mean, std: per channel, for pixels in 0..1; None: the backbone's own. stride: see
    `overlap_patches`.
    """

    backbone: str
    pooling: str = "own"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    stride: int | None = None


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says about itself.

    `kind` is "embedding" (with `descriptors` and `dim`), "projection" (with `dim`, `pooling`, `stride` and `others`, as
    for `ProjectionNet`) or "classifier" (with `pooling`, `hidden`: the features of its neck, None without one, and
    `heads`: the classes of each head, in the order of its logits). `mean` and `std` are for pixels in 0..1. `extra`
    holds the recipe, the hold-out's scores and whatever else the training stored.
    """

    backbone: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    version: str
    kind: str = "embedding"
    descriptors: str = ""
    dim: int = 0
    pooling: str = ""
    hidden: int | None = None
    heads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stride: int | None = None
    others: tuple[BackbonePlan, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Spec] = field(default_factory=dict)
    format: str = FORMAT

    @property
    def holdout_share(self) -> float | None:
        """The share of the identities that was held out from the training; None if the header does not say."""
        share: float | None = json.loads(self.extra.get("training", "{}")).get("holdout")
        return share

    @property
    def holdout_scores(self) -> dict[str, float] | None:
        """The scores on the hold-out by name; None if nothing was held out."""
        scores: dict[str, float] | None = json.loads(self.extra.get("holdout", "null"))
        return scores


def read_header(path: Path) -> WeightsHeader:
    """Read the header of a weights file, but none of its tensors.

    Raises NoseprintError for a missing file, one that is not (or only in part) a safetensors file, one that another
    program wrote, and a header with impossible values.
    """
    if not path.is_file():
        problem = "not a regular file" if path.exists() else "no such weights file"
        raise NoseprintError(f"{path}: {problem}; train the network first, or correct the path")
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            tensors = {
                key: (_DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
                for key, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        if path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
            advice = "give the best.safetensors of a training; bash predict_ckpt.sh reads published .pth files"
            raise NoseprintError(f"{path}: a PyTorch file by its name, which is not read here: {advice}") from error
        reason = guess_file_type(path) or error
        raise NoseprintError(
            f"{path}: not a safetensors file, or only part of one ({reason}); copy it again or train it again"
        ) from error
    form = metadata.get("format", "none")
    if form == _FORMAT_1:
        tensors = {current_key(key, form): spec for key, spec in tensors.items()}
    elif form != FORMAT:
        raise NoseprintError(
            f"{path}: not noseprint weights, but another program's ({form[:100]!r}): {summarise_tensors(tensors)}"
        )
    try:
        return _parse(metadata, tensors)
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NoseprintError(f"{path}: damaged header ({type(error).__name__}: {error}); train it again") from error


def current_key(key: str, file_format: str) -> str:
    """Today's name of a tensor that a file of `file_format` calls `key`."""
    return re.sub(r"^trunk\.backbone\.", "backbone.model.", key) if file_format == _FORMAT_1 else key


def check_heads(heads: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError unless `heads` gives each head a short name and a list of distinct class names."""
    if not heads:
        raise ValueError("heads: a classifier needs at least one")
    for name, classes in heads.items():
        if not re.fullmatch(r"[\w-]{1,50}", name):
            raise ValueError(f"head {name[:50]!r}: use up to 50 letters, digits, _ and -")
        if isinstance(classes, str) or not all(isinstance(one, str) for one in classes):
            raise TypeError(f"head {name}: its classes are not a list of names")
        if not 1 <= len(classes) <= 2**20 or len(set(classes)) != len(classes):
            raise ValueError(f"head {name}: needs between 1 and {2**20} classes, each once")
        if bad := [one for one in classes if not 0 < len(one) <= 200 or breaks_line(one)]:
            listed = ", ".join(repr(one[:50]) for one in bad[:20])
            raise ValueError(f"head {name}: a class needs a printable name of 1 to 200 characters, unlike {listed}")


def describe_weights(path: Path) -> dict[str, Any]:
    """What a noseprint weights file holds, for printing or as JSON, without building its network.

    Raises NoseprintError as `read_header` does, and if tensors are not finite.
    """
    header = read_header(path)
    own: dict[str, Any] = {"descriptors": header.descriptors, "dim": header.dim}
    if header.kind == "classifier":
        heads = {name: len(classes) for name, classes in header.heads.items()}
        own = {"pooling": header.pooling, "hidden": header.hidden, "heads": heads}
    elif header.kind == "projection":
        others = [asdict(plan) for plan in header.others]
        own = {"dim": header.dim, "pooling": header.pooling, "stride": header.stride, "others": others}
    with safe_open(path, framework="np") as file:
        wrong = [key for key in file.keys() if not np.isfinite(file.get_tensor(key)).all()]  # noqa: SIM118
    if wrong:
        raise NoseprintError(
            f"{path}: {len(wrong)} tensors are not finite ({printable(wrong[0][:100])}, ...); train it again"
        )
    return {
        "file": str(path),
        "format": header.format,
        "version": header.version,
        "kind": header.kind,
        "recipe": header.extra.get("recipe"),
        "backbone": header.backbone,
        "image_size": header.image_size,
        **own,
        "parameters": count_parameters(header.tensors),
        "bytes": path.stat().st_size,
        "loss": json.loads(header.extra.get("training", "{}")).get("loss"),
        "share_held_out": header.holdout_share,
        "holdout": header.holdout_scores,
        "calibrated": "calibration" in header.extra,
        "fingerprint": fingerprint(path),
    }


def fingerprint(path: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256; files with the same fingerprint hold the same weights."""
    return file_hash(path)[:16]


def require_recipe(path: Path, header: WeightsHeader, recipe: str) -> None:
    """Refuse weights whose header names a recipe other than `recipe`."""
    made_by = header.extra.get("recipe")
    if made_by not in (None, recipe):
        raise NoseprintError(
            f"{path}: these are the weights of {made_by}, not of {recipe}; put each file under its own name"
        )


def tensor_specs(tensors: Mapping[str, Any]) -> dict[str, Spec]:
    """Type and shape of each torch tensor."""
    return {key: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for key, tensor in tensors.items()}


def count_parameters(tensors: Mapping[str, Spec]) -> int:
    """Number of learned values; BatchNorm's statistics do not count."""
    learned = (shape for key, (_, shape) in tensors.items() if not key.endswith(_STATISTICS))
    return sum(math.prod(shape) for shape in learned)


def summarise_tensors(tensors: Mapping[str, Spec]) -> str:
    """One line about the tensors of another program's file."""
    names = ", ".join(printable(key[:100]) for key in list(tensors)[:3])
    return f"{len(tensors)} tensors ({names}), {sum(math.prod(shape) for _, shape in tensors.values()):,} numbers"


def guess_file_type(path: Path) -> str | None:
    """What a file that is not weights seems to be, by its first bytes; None if they do not say."""
    with path.open("rb") as file:
        start = file.read(32).lstrip()
    if not start:
        return "empty: the download failed"
    return next((name for begin, name in _FIRST_BYTES.items() if start.startswith(begin)), None)


def _parse(metadata: dict[str, str], tensors: dict[str, Spec]) -> WeightsHeader:
    if metadata["format"] == _FORMAT_1:
        trunk = metadata["trunk"]
        metadata = {key: value for key, value in metadata.items() if key != "trunk"}
        metadata |= {"kind": "embedding", "backbone": trunk}
    kind = _match(metadata, "kind", "embedding|projection|classifier")
    own: dict[str, Any]
    if kind == "classifier":
        heads = json.loads(metadata["heads"])
        if not isinstance(heads, dict):
            raise TypeError("heads is not a table of names and classes")
        check_heads(heads)
        pooling = _match(metadata, "pooling", _POOLING)
        hidden = _integer(metadata, "hidden", 1, MOST_HIDDEN) if "hidden" in metadata else None
        classes = {name: tuple(of_head) for name, of_head in heads.items()}
        own = {"pooling": pooling, "hidden": hidden, "heads": classes}
    elif kind == "projection":
        others = json.loads(metadata["others"])
        if not isinstance(others, list) or len(others) >= MOST_BACKBONES:
            raise ValueError(f"others {metadata['others'][:100]!r}, must list up to {MOST_BACKBONES - 1} backbones")
        own = {
            "dim": _integer(metadata, "dim", 1, 2**16),
            "pooling": _match(metadata, "pooling", _POOLING),
            "stride": _stride(metadata.get("stride")),
            "others": tuple(_backbone_plan(entry) for entry in others),
        }
    else:
        descriptors = _match(metadata, "descriptors", r"[A-Z]{1,9}")
        own = {"descriptors": descriptors, "dim": _integer(metadata, "dim", 1, 2**16)}
    extra = {key: value for key, value in metadata.items() if key not in RESERVED}
    _check_extra(extra)
    return WeightsHeader(
        format=metadata["format"],
        kind=kind,
        backbone=_match(metadata, "backbone", _BACKBONE),
        image_size=_integer(metadata, "image_size", 16, 4096),
        mean=_three(json.loads(metadata["mean"]), low=-1e4),
        std=_three(json.loads(metadata["std"]), low=1e-4),
        version=_match(metadata, "version", r"[\x21-\x7e]{1,50}"),
        extra=extra,
        tensors=tensors,
        **own,
    )


def _match(metadata: Mapping[str, str], name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, metadata[name]):
        raise ValueError(f"{name} {metadata[name][:100]!r}")
    return metadata[name]


def _integer(metadata: Mapping[str, str], name: str, low: int, high: int) -> int:
    value = int(metadata[name])
    if not low <= value <= high:
        raise ValueError(f"{name} {value}, must be in {low}..{high}")
    return value


def _three(given: Any, *, low: float) -> tuple[float, ...]:
    values = tuple(float(value) for value in given)
    if len(values) != 3 or not all(low <= value <= 1e4 for value in values):
        raise ValueError(f"three numbers in {low}..10000 expected, not {str(given)[:100]!r}")
    return values


def _stride(given: Any) -> int | None:
    return None if given is None else _integer({"stride": given}, "stride", 1, 4096)


def _backbone_plan(entry: Any) -> BackbonePlan:
    """A further backbone; all of its entries must be there, and no others."""
    if not isinstance(entry, dict) or set(entry) != {one.name for one in fields(BackbonePlan)}:
        raise ValueError(f"backbone {str(entry)[:100]!r}")
    return BackbonePlan(
        backbone=_match(entry, "backbone", _BACKBONE),
        pooling=_match(entry, "pooling", _POOLING),
        mean=_three(entry["mean"], low=-1e4),
        std=_three(entry["std"], low=1e-4),
        stride=_stride(entry["stride"] and str(entry["stride"])),
    )


def _check_extra(extra: Mapping[str, str]) -> None:
    """Check the extra entries that this library reads again: they must look as it writes them."""
    recipe = extra.get("recipe", "")
    if len(recipe) > 100 or breaks_line(recipe):
        raise ValueError(f"recipe {recipe[:100]!r}")
    if not re.fullmatch(r"([0-9a-f]{8}){0,65536}", extra.get("held_out_photographs", "")):
        raise ValueError(f"held_out_photographs {extra['held_out_photographs'][:50]!r}")
    if not re.fullmatch(r"([0-9a-f]{16})*", extra.get("trained_images", "")):
        raise ValueError(f"trained_images {extra['trained_images'][:50]!r}")
    for name in ("training", "holdout", "calibration"):
        table = json.loads(extra.get(name, "{}"))
        if not isinstance(table, dict):
            raise TypeError(f"{name} is not a table of names and values")
        # `training` may hold text, too; only the share of the hold-out is read from it. A calibration holds lists, too;
        # its reader checks the rest of it.
        values = [table.get("holdout", 0.0)] if name == "training" else [table[key] for key in table if key != "family"]
        lists = [value if name == "calibration" and isinstance(value, list) else [value] for value in values]
        numbers = [number for row in lists for number in row]
        if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
            raise ValueError(f"{name} {extra[name][:100]!r}")
