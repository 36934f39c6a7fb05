"""Out-of-fold outputs: each image is classified by that network of k folds which did not learn from it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.data.class_tables import ClassTable
from noseprint.data.holdout import content_hashes, split_hashes
from noseprint.data.prepared import FOLDS, Prepared
from noseprint.data.transforms import Transform
from noseprint.devices import choose_device
from noseprint.distributed import is_main_rank
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs
from noseprint.models.weights_header import read_header
from noseprint.training.fit_options import FitOptions

FILE = "out_of_fold.safetensors"
_NAMED = 3  # images in a message


@dataclass(frozen=True)
class OutOfFold:
    """Of N images. logits: (N, K). networks: (N,) the fingerprint of the network that classified each."""

    logits: npt.NDArray[np.float32]
    networks: tuple[str, ...]


def table_hash(images: ClassTable) -> str:
    """A hash of the names, labels and groups of images, in their order: 16 digits."""
    rows = zip(images.names, images.labels, images.groups or images.names, strict=True)
    return hashlib.sha256("\n".join("\0".join(row) for row in rows).encode()).hexdigest()[:16]


def write_fold(
    images: ClassTable, own: ClassTable, *, options: FitOptions, results: Path, transform: Callable[[int], Transform]
) -> ClassifierOutputs | None:
    """Write the outputs of the images of a fold, `own`, by results/best.safetensors: results/FILE; return them.

    images: those of all folds. None on ranks other than 0, which write nothing.
    Raises NoseprintError as `classify_photographs` does.
    """
    if not is_main_rank():
        return None
    outputs = classify_photographs(
        results / "best.safetensors",
        own.paths,
        names=own.names,
        transform=transform,
        device=choose_device(options.device),
        workers=options.workers,
        engine="torch",
        cache=options.cache,
    )
    outputs = replace(outputs, table=table_hash(images))
    write_outputs(results / FILE, outputs)
    return outputs


def read_folds(images: ClassTable, *, results: Path, parts: Sequence[str], again: str) -> OutOfFold:
    """The outputs for `images` of the networks of the folds, in the folders `parts` of `results`; rows in their order.

    again: a sentence that says how to train the folds again; the messages end with it. Raises NoseprintError if a fold
    is missing or was trained for other images, labels, groups or classes, or if the folds do not hold each image once.
    """

    def refuse(problem: str) -> NoseprintError:
        return NoseprintError(f"{results}: {problem}. {again}")

    if missing := [part for part in parts if not (results / part / FILE).is_file()]:
        raise refuse(f"{', '.join(missing)}: not trained to the end")
    outputs = [read_outputs(results / part / FILE) for part in parts]
    for part, one in zip(parts, outputs, strict=True):
        if one.table != table_hash(images) or one.classes != images.classes:
            raise refuse(f"{part} was trained for other images, labels or groups")
    row_of = {name: row for row, name in enumerate(name for one in outputs for name in one.names)}
    if Counter(name for one in outputs for name in one.names) != Counter(images.names):
        raise refuse(f"{parts[0]} to {parts[-1]} do not hold each image once")
    rows = [row_of[name] for name in images.names]
    networks = [one.network for one in outputs for _ in one.names]
    return OutOfFold(np.concatenate([one.logits for one in outputs])[rows], tuple(networks[row] for row in rows))


def judge_fold(
    images: ClassTable, own: ClassTable, *, options: FitOptions, results: Path, transform: Callable[[int], Transform]
) -> None:
    """`write_fold`, if the network has seen no image of the fold, and print its accuracy on them.

    Raises NoseprintError as `require_unseen` and `write_fold` do.
    """
    require_unseen(results / "best.safetensors", own)
    outputs = write_fold(images, own, options=options, results=results, transform=transform)
    if outputs:
        given = [outputs.classes[column] for column in outputs.logits.argmax(axis=1)]
        right = np.mean([one == label for one, label in zip(given, own.labels, strict=True)])
        print(f"{results.name}: accuracy {right:.4f} on its {len(own)} images, which it has not seen", flush=True)


def teacher_probabilities(prepared: Prepared, results: Path) -> npt.NDArray[np.float32]:
    """The probabilities (N, K) of the images of split train, in their order, each by the teacher of its fold.

    results: the folder of all folds. Raises NoseprintError as `read_folds` and `require_unseen` do.
    """
    parts = [f"fold{fold}" for fold in range(FOLDS)]
    again = "Run teacher/train.py for each --part, or train.sh with the same --targets and --only teacher"
    found = read_folds(prepared.split("train"), results=results, parts=parts, again=again)
    for fold, part in enumerate(parts):
        require_unseen(results / part / "best.safetensors", prepared.fold(fold)[1])
    probabilities: npt.NDArray[np.float32] = softmax(found.logits, axis=1)
    return probabilities


def require_unseen(weights: Path, images: ClassTable) -> None:
    """Raise NoseprintError if a network learned from one of `images`, or from a file with the same bytes.

    It also raises NoseprintError if the training did not record what it learned from (`record_images` of
    `ClassificationTask`).
    """
    recorded = read_header(weights).extra.get("trained_images")
    if recorded is None:
        raise NoseprintError(
            f"{weights}: does not say which images it learned from, so nothing shows that it has not seen these; give "
            "weights that teacher/train.py made"
        )
    known = set(split_hashes(recorded))
    hashes = content_hashes(images.paths)
    seen = [name for name, one in zip(images.names, hashes, strict=True) if one in known]
    if seen:
        more = ", ..." if len(seen) > _NAMED else ""
        raise NoseprintError(
            f"{weights}: this network learned from {len(seen)} of the {len(images)} images that it must not have seen "
            f"({', '.join(seen[:_NAMED])}{more}), or from copies of them; train it again"
        )
