"""What the members compute of training images, for the fusion and the student: computed once, and kept in files."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from noseprint.data.class_tables import ClassTable
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import Transform
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs
from noseprint.models.weights_header import fingerprint, read_header


def member_weights(family: Path, names: Sequence[str], *, run: str) -> dict[str, Path]:
    """The weights of the members in the folders `names`. Raises NoseprintError if one has not been trained."""
    weights = {name: family / name / "results" / run / "best.safetensors" for name in names}
    if missing := [name for name, path in weights.items() if not path.is_file()]:
        raise NoseprintError(
            f"{weights[missing[0]]} is missing: train {', '.join(missing)} first, or name other folders"
        )
    return weights


def outputs_file(
    folder: Path,
    weights: Path,
    images: ClassTable,
    *,
    transform: Callable[[int], Transform],
    seed: int = 0,
    features: bool = True,
) -> Path:
    """Where `cached_outputs` keeps what it computes for the same arguments."""
    digest = hashlib.sha256()
    seen_as = repr(transform(read_header(weights).image_size))
    for text in (fingerprint(weights), seen_as, str(seed), *(() if features else ("logits",)), *images.names):
        digest.update(f"{len(text)}:{text}".encode(errors="surrogateescape"))
    digest.update(np.array([path.stat().st_size for path in images.paths], np.int64).tobytes())
    return folder / f"{digest.hexdigest()[:16]}.safetensors"


def cached_outputs(
    folder: Path,
    weights: Path,
    images: ClassTable,
    *,
    transform: Callable[[int], Transform],
    seed: int = 0,
    features: bool = True,
    device: torch.device,
    workers: int | None = None,
) -> ClassifierOutputs:
    """`classify_photographs`, or what it returned before for the same weights, images, transform and seed.

    folder: where that is kept, in a file named after these. Images are known by name and size in bytes, transforms by
    what they print as. features: False keeps the logits only; the features are then (N, 0).
    Raises NoseprintError as `classify_photographs` does.
    """
    path = outputs_file(folder, weights, images, transform=transform, seed=seed, features=features)
    if path.is_file():
        return read_outputs(path, network=fingerprint(weights))
    outputs = classify_photographs(
        weights, images.paths, names=images.names, transform=transform, seed=seed, device=device, workers=workers
    )
    if not features:
        outputs = replace(outputs, features=outputs.features[:, :0])
    write_outputs(path, outputs)
    return read_outputs(path)  # mapped into memory


def views_of_members(
    folder: Path,
    members: Mapping[str, Path],
    images: ClassTable,
    *,
    transform: Callable[[int], Transform],
    views: int = 1,
    skip_bad: bool = False,
    device: torch.device,
    workers: int | None = None,
) -> tuple[ClassTable, list[list[ClassifierOutputs]]]:
    """The images that can be read, and for each view of them what each member says.

    folder: where that is kept; it may be deleted at any time. members: the weights of each. transform: makes the
    transform of each image; if it is random, the views differ. skip_bad: leave out what cannot be read,
    and list it in skipped.csv beside `folder`.
    Raises NoseprintError as `classify_photographs` does.
    """
    if skip_bad:
        good = readable_photographs(images.paths, skip_bad=True, skipped_csv=folder.with_name("skipped.csv"))
        images = images.where(path in good for path in images.paths)
    found = []
    for view in range(views):
        of_view = []
        for name, weights in members.items():
            print(f"{name}: view {view + 1} of {views} of {len(images)} images", flush=True)
            outputs = cached_outputs(
                folder, weights, images, transform=transform, seed=view, device=device, workers=workers
            )
            of_view.append(outputs)
        found.append(of_view)
    return images, found
