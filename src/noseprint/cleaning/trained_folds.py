"""Labels judged by trained networks: each fold of the images by a network that was trained on the other folds."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.cleaning.fold_options import FoldOptions
from noseprint.cleaning.rounds import assign_folds
from noseprint.cleaning.suspicion import SUSPECT_ABOVE, noise_channel
from noseprint.data.class_tables import ClassTable
from noseprint.data.transforms import Transform
from noseprint.devices import choose_device
from noseprint.distributed import is_main_rank
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs
from noseprint.inference.ensemble import fit_temperature, with_temperature

FILE = "out_of_fold.safetensors"
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class TrainedFolds:
    """What the networks of k folds say about N images that they have not seen.

    probabilities: (N, K) of each round, the first one first. networks: (N,) the fingerprint of the network that judges
    each image in the last round.
    """

    probabilities: tuple[Floats, ...]
    networks: tuple[str, ...]


def table_hash(images: ClassTable) -> str:
    """A hash of the names, labels and groups of images, in their order: 16 digits."""
    rows = zip(images.names, images.labels, images.groups or images.names, strict=True)
    return hashlib.sha256("\n".join("\0".join(row) for row in rows).encode()).hexdigest()[:16]


def images_of_fold(images: ClassTable, options: FoldOptions, *, results: Path) -> tuple[ClassTable, ClassTable]:
    """The images to train on for a fold, and the images of the fold.

    results: the folder of all folds and rounds. After the first round, what the noise channel finds suspect by the
    rounds before is left out of the training.
    Raises NoseprintError as `assign_folds` and `read_trained_folds` do.
    """
    own = assign_folds(images.labels, folds=options.folds, groups=images.groups) == options.fold
    trained = ~own
    if options.round > 1:
        before = read_trained_folds(images, results=results, folds=options.folds, rounds=options.round - 1)
        number = {name: index for index, name in enumerate(images.classes)}
        labels = np.array([number[label] for label in images.labels], np.int64)
        trained &= noise_channel(before.probabilities[-1], labels).suspicion(labels) < SUSPECT_ABOVE
    return images.where(trained.tolist()), images.where(own.tolist())


def write_fold(
    images: ClassTable,
    own: ClassTable,
    *,
    options: FoldOptions,
    results: Path,
    transform: Callable[[int], Transform],
) -> None:
    """Write the logits and features of the images of a fold, `own`, by results/best.safetensors: results/FILE."""
    if not is_main_rank():
        return
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
    write_outputs(results / FILE, replace(outputs, table=table_hash(images)))


def read_trained_folds(images: ClassTable, *, results: Path, folds: int, rounds: int = 1) -> TrainedFolds:
    """The probabilities of each of `images` by the network that did not see it, in every round; classes in their order.

    After a short training with label smoothing, probabilities are lower than the share of labels that they predict, and
    the noise channel would suspect nothing. So one temperature for each round makes them fit. It never lowers them,
    because wrong labels make networks seem too sure.

    results: the folder of all folds and rounds. Raises NoseprintError, which says what to run, if a fold is missing,
    was trained for other images, labels, groups or classes, or if the folds are not the parts of all images.
    """
    found = list[Floats]()
    number = {name: index for index, name in enumerate(images.classes)}
    labels = np.array([number[label] for label in images.labels], np.int64)
    for turn in range(1, rounds + 1):
        outputs = _read_round(images, results, [f"round{turn}-fold{fold}" for fold in range(folds)])
        names = [name for one in outputs for name in one.names]
        if Counter(names) != Counter(images.names):
            raise _run_again(results, f"the folds of round {turn} do not hold each image once")
        row_of = {name: row for row, name in enumerate(names)}
        rows = [row_of[name] for name in images.names]
        said = softmax(np.concatenate([one.logits for one in outputs]).astype(np.float64), axis=1)[rows]
        found.append(with_temperature(said, min(1.0, fit_temperature(said, labels))))
        networks = [one.network for one in outputs for _ in one.names]
    return TrainedFolds(tuple(found), tuple(networks[row] for row in rows))


def _read_round(images: ClassTable, results: Path, parts: Sequence[str]) -> list[ClassifierOutputs]:
    if missing := [part for part in parts if not (results / part / FILE).is_file()]:
        raise _run_again(results, f"{', '.join(missing)}: not trained to the end")
    outputs = [read_outputs(results / part / FILE) for part in parts]
    for part, one in zip(parts, outputs, strict=True):
        if one.table != table_hash(images) or one.classes != images.classes:
            raise _run_again(results, f"{part} was trained for other images, labels or groups")
    return outputs


def _run_again(results: Path, problem: str) -> NoseprintError:
    return NoseprintError(f"{results}: {problem}. Run clean.sh with the same options and --only folds --force")
