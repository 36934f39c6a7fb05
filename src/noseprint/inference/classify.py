"""Logits and pooled features of photographs, in memory and on disk."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.command_line import Engine
from noseprint.data.transforms import A, Transform
from noseprint.devices import default_workers, reuse_freed_memory
from noseprint.errors import NoseprintError
from noseprint.inference.array_file import pack_names, read_arrays, unpack_names, write_arrays
from noseprint.models.classifier import ClassifierNet
from noseprint.models.embed import embed_with, embedder
from noseprint.models.weights import load_classifier
from noseprint.models.weights_header import check_heads, fingerprint
from noseprint.version import __version__

FORMAT = "noseprint logits 1"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassifierOutputs:
    """What a classifier with one head computes of N named photographs."""

    names: tuple[str, ...]
    logits: Floats
    """(N, K)."""
    features: Floats
    """(N, C), what the head is given: pooled, and before any dropout."""
    classes: tuple[str, ...]
    """The K classes, in the order of the logits."""
    network: str
    """The fingerprint of the weights file, or the start of the `content_hash` of a network in memory: 16 digits."""


def classify_photographs(
    network: ClassifierNet | Path,
    paths: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    transform: Callable[[int], Transform] | None = None,
    device: torch.device,
    workers: int | None = None,
    batch_size: int = 64,
    engine: Engine = "auto",
    cache: Path | None = None,
) -> ClassifierOutputs:
    """The logits and features of photographs, in the order of `paths`. A path that comes twice is computed once.

    The process computes all of them: under torchrun, call it on one rank.

    network: in memory, where it is moved to `device` and put into eval mode, or its weights file. names: (N,) what to
    call each photograph; None: its path. transform: makes the transform of each image, for the side of the input in
    pixels; None: resize it. workers: processes that decode; None: chosen for this machine. engine: see `embedder`.
    cache: a folder for decoded photographs.
    Raises NoseprintError as `load_classifier` and `embedder` do; for several heads; for no photographs, or one that
    cannot be read; and for logits that are not finite.
    """
    if not paths:
        raise NoseprintError("there are no photographs to classify")
    reuse_freed_memory()
    if isinstance(network, Path):
        where, made_by, network = f"{network}: ", fingerprint(network), load_classifier(network)
    else:
        where, made_by = "", network.content_hash()[:16]
    if len(network.classes) != 1:
        raise NoseprintError(f"{where}the network has {len(network.classes)} heads: give one with a single head")
    network.to(device).eval()
    (classes,) = network.classes.values()
    row_of = {path: row for row, path in enumerate(dict.fromkeys(paths))}
    outputs = embed_with(
        embedder(network, device=device, engine=engine),
        list(row_of),
        transform=(transform or _resize)(network.image_size),
        workers=default_workers(device) if workers is None else workers,
        batch_size=batch_size,
        label="classifying",
        cache=cache,
        pin_memory=device.type == "cuda",
    )
    if not np.isfinite(outputs.sum()):
        raise NoseprintError(f"{where}the network gives logits or features that are not finite; train it again")
    if len(row_of) < len(paths):
        outputs = outputs[[row_of[path] for path in paths]]
    return ClassifierOutputs(
        names=tuple(map(str, paths)) if names is None else tuple(names),
        logits=outputs[:, : len(classes)],
        features=outputs[:, len(classes) :],
        classes=classes,
        network=made_by,
    )


def empty_outputs(like: ClassifierOutputs) -> ClassifierOutputs:
    """The outputs of no photographs, by the network of others."""
    return ClassifierOutputs((), like.logits[:0], like.features[:0], like.classes, like.network)


def write_outputs(path: Path, outputs: ClassifierOutputs) -> None:
    """Write what a classifier computed, completely or not at all; the same outputs give the same bytes."""
    if not len(outputs.names) == len(outputs.logits) == len(outputs.features):
        raise ValueError(f"{len(outputs.names)} names for {len(outputs.logits)} rows")
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "network": outputs.network,
        "classes": json.dumps(outputs.classes, ensure_ascii=False),
    }
    matrices = {"logits": outputs.logits, "features": outputs.features}
    write_arrays(path, {**matrices, "names": pack_names(outputs.names)}, metadata)


def read_outputs(path: Path, *, network: str | None = None) -> ClassifierOutputs:
    """Read what `write_outputs` wrote; the matrices are mapped into memory.

    network: refuse what another network computed than that with this fingerprint.
    Raises NoseprintError for that, and if the file is missing, of another kind or damaged.
    """
    shapes = {"logits": ("float32", 2), "features": ("float32", 2), "names": ("uint8", 1)}
    arrays, metadata = read_arrays(path, what="table of logits", format_name=FORMAT, shapes=shapes)
    logits, features = arrays["logits"], arrays["features"]
    try:
        names, classes = unpack_names(arrays["names"]), tuple(json.loads(metadata["classes"]))
        check_heads({"label": classes})
        made_by = metadata["network"]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise NoseprintError(f"{path}: its header is damaged ({type(error).__name__}); classify again") from error
    if not len(names) == len(logits) == len(features) or len(classes) != logits.shape[1]:
        raise NoseprintError(
            f"{path}: is damaged: {len(names)} names and {len(classes)} classes for logits {logits.shape} and features "
            f"{features.shape}; classify again"
        )
    if network not in (None, made_by):
        raise NoseprintError(f"{path}: another network made it ({made_by}, not {network}); classify again")
    return ClassifierOutputs(names, logits, features, classes, made_by)


def _resize(side: int) -> Transform:
    return A.Resize(side, side)
