"""Labels judged by trained networks: each fold of the images by a network that was trained on the other folds."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.cleaning.fold_options import FoldOptions
from noseprint.cleaning.rounds import SUSPECT_ABOVE, Cleaning, assign_folds
from noseprint.cleaning.suspicion import noise_channel
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import Transform
from noseprint.devices import choose_device
from noseprint.distributed import is_main_rank
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs

FILE = "out_of_fold.safetensors"
Floats = npt.NDArray[np.floating]


def judged_images(options: FoldOptions) -> ClassTable:
    """The training images, whose labels are judged; with --skip-bad, without those that cannot be read."""
    images = read_classes(options.data, columns=options.columns).split("train")
    if options.skip_bad:
        readable = readable_photographs(images.paths, skip_bad=True, skipped_csv=None)
        images = images.where(path in readable for path in images.paths)
    return images


def table_hash(images: ClassTable) -> str:
    """A hash of the names, labels and groups of images, in their order: 16 digits."""
    rows = zip(images.names, images.labels, images.groups or images.names, strict=True)
    return hashlib.sha256("\n".join("\0".join(row) for row in rows).encode()).hexdigest()[:16]


def images_of_fold(images: ClassTable, options: FoldOptions, *, results: Path) -> tuple[ClassTable, ClassTable]:
    """The images to train on for a fold, and the images of the fold.

    results: the folder of all folds and rounds. After the first round, what the rounds before found suspect is left
    out of the training. Raises NoseprintError as `assign_folds` and `read_trained_folds` do.
    """
    own = assign_folds(images.labels, folds=options.folds, groups=images.groups) == options.fold
    trained = ~own
    if options.round > 1:
        trained &= ~judge_by_trained_folds(
            images, results=results, folds=options.folds, rounds=options.round - 1
        ).suspect
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


def read_trained_folds(images: ClassTable, *, results: Path, folds: int, round: int = 1) -> Floats:
    """The probabilities (N, K) of each of `images` by the network that did not see it, classes in their order.

    results: the folder of all folds and rounds. Raises NoseprintError, which says what to run, if a fold is missing,
    was trained for other images, labels, groups or classes, or if the folds are not the parts of all images.
    """
    files = [results / f"round{round}-fold{fold}" / FILE for fold in range(folds)]
    if missing := [path.parent.name for path in files if not path.is_file()]:
        raise _run_again(results, f"{', '.join(missing)}: not trained to the end")
    outputs = [read_outputs(path) for path in files]
    for path, one in zip(files, outputs, strict=True):
        if one.table != table_hash(images) or one.classes != images.classes:
            raise _run_again(results, f"{path.parent.name} was trained for other images, labels or groups")
    return _joined(outputs, images, results=results)


def _joined(outputs: list[ClassifierOutputs], images: ClassTable, *, results: Path) -> Floats:
    """The probabilities of all images, each of which must be in one of the outputs."""
    names = [name for one in outputs for name in one.names]
    if Counter(names) != Counter(images.names):
        times = Counter(names)
        wrong = [name for name in images.names if times[name] != 1] or sorted(set(names) - set(images.names))
        raise _run_again(
            results, f"the folds do not have each image once ({len(wrong)} are wrong, the first is {wrong[0]!r})"
        )
    row_of = {name: row for row, name in enumerate(names)}
    probabilities: Floats = softmax(np.concatenate([one.logits for one in outputs]).astype(np.float64), axis=1)
    return probabilities[[row_of[name] for name in images.names]]


def _run_again(results: Path, problem: str) -> NoseprintError:
    return NoseprintError(f"{results}: {problem}. Run clean.sh with the same options and --only folds")


def judge_by_trained_folds(images: ClassTable, *, results: Path, folds: int, rounds: int = 1) -> Cleaning:
    """Find suspect labels by the noise channel, from the folds of each round: what `clean` is for features.

    Raises NoseprintError as `read_trained_folds` does.
    """
    number_of = {name: number for number, name in enumerate(images.classes)}
    labels = np.array([number_of[label] for label in images.labels], np.int64)
    since = np.zeros(len(labels), np.int64)
    for number in range(1, rounds + 1):
        probabilities = read_trained_folds(images, results=results, folds=folds, round=number)
        channel = noise_channel(probabilities, labels)
        suspicion = channel.suspicion(labels)
        since = np.where(suspicion >= SUSPECT_ABOVE, np.where(since > 0, since, number), 0)
    return Cleaning(probabilities, channel.posterior, suspicion, since, channel.rate, rounds)
