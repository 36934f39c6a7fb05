"""What trained classifiers say of images that are trained on again: computed once, and kept in files."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from noseprint.data.class_tables import ClassTable
from noseprint.data.transforms import Transform
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs
from noseprint.models.weights_header import fingerprint, read_header


def member_weights(family: Path, members: str, *, run: str) -> dict[str, Path]:
    """The weights of the members whose folders `members` names, separated by commas.

    Raises NoseprintError if one is named twice or has not been trained.
    """
    names = [name.strip() for name in members.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise NoseprintError(f"{members!r}: name folders, each once, separated by commas, such as b4,b5")
    weights = {name: family / name / "results" / run / "best.safetensors" for name in names}
    if missing := [name for name, path in weights.items() if not path.is_file()]:
        raise NoseprintError(
            f"{weights[missing[0]]} is missing: train {', '.join(missing)} first, or name other folders"
        )
    return weights


def cached_outputs(
    folder: Path,
    weights: Path,
    images: ClassTable,
    *,
    transform: Callable[[int], Transform],
    seed: int = 0,
    device: torch.device,
    workers: int | None = None,
) -> ClassifierOutputs:
    """`classify_photographs`, or what it returned before for the same weights, images, transform and seed.

    folder: where that is kept, in a file named after these. Images are known by name and size in bytes, transforms by
    what they print as.
    Raises NoseprintError as `classify_photographs` does.
    """
    digest = hashlib.sha256()
    seen_as = repr(transform(read_header(weights).image_size))
    for text in (fingerprint(weights), seen_as, str(seed), *images.names):
        digest.update(f"{len(text)}:{text}".encode(errors="surrogateescape"))
    digest.update(np.array([path.stat().st_size for path in images.paths], np.int64).tobytes())
    path = folder / f"{digest.hexdigest()[:16]}.safetensors"
    if path.is_file():
        return read_outputs(path, network=fingerprint(weights))
    outputs = classify_photographs(
        weights, images.paths, names=images.names, transform=transform, seed=seed, device=device, workers=workers
    )
    write_outputs(path, outputs)
    return read_outputs(path)  # mapped into memory
