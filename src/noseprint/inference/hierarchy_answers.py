"""Answers with the networks that were chosen: classes, nodes of the tree, and a submission."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.calibration.selective import CANNOT_TELL
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.class_tree import LEAF
from noseprint.data.csv_rows import write_csv
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import Transform
from noseprint.devices import choose_device
from noseprint.errors import DataError, NoseprintError
from noseprint.files import check_output, skipped_table
from noseprint.inference.cached_outputs import cached_outputs
from noseprint.inference.classify import classify_photographs
from noseprint.inference.hierarchy_options import Decide, HierarchyPredictOptions
from noseprint.inference.infer_classes import photographs_in
from noseprint.inference.selection import Floats, Selection, read_selection, selection_hash, write_together
from noseprint.inference.submission import submission_rows, write_submission
from noseprint.inference.tree_answers import least_risk, sure_nodes
from noseprint.metrics.bootstrap import Score, bootstrap_mean
from noseprint.metrics.hierarchy import parent_probabilities

TEST = "test.safetensors"
"""What the chosen networks together say of the test images."""


def answer_images(
    options: HierarchyPredictOptions,
    *,
    family: Path,
    results: Path,
    transforms: Sequence[Callable[[int], Transform]],
) -> Iterator[str]:
    """Answer the test images, or those in a folder, and yield lines of text about it.

    Writes prediction.csv and submission.csv to the family's results/RUN, or `options.out`; images that cannot be read
    are listed beside it, in NAME.skipped.csv. If no submission can be written, a line says why; with a sample file that
    is an error.

    results: where what the networks computed of the test images is kept. transforms: the views of an image.
    Raises NoseprintError if the selection does not fit the weights, for a level that does not exist, and if there are
    no images; DataError as `submission_rows` does.
    """
    out = options.out or options.results(family) / "prediction.csv"
    check_output(out, suffix=".csv", inputs=() if options.sample is None else (options.sample,))
    selection = read_selection(family, options.run)
    selection.tree.ancestors(options.level)
    if selection.tree_file and (changed := selection.tree_file.changed(options.data)):
        yield (
            f"{changed} is not the tree with which the networks were chosen. The answers follow the earlier tree, "
            "which is in selection.json. For the new one, run train.sh with the same options again, then predict.sh: "
            "nothing is trained again."
        )
    if options.images:
        images = photographs_in(options.images)
    else:
        images = read_classes(options.data, columns=options.columns, missing_ok=True).split("test")
        if not len(images):
            raise NoseprintError("the data have no test images: classify others with --images FOLDER --out FILE.csv")
    good = readable_photographs(images.paths, skip_bad=True, skipped_csv=skipped_table(out))
    if not good:
        raise NoseprintError(f"none of the {len(images)} photographs can be read: give others")
    images = images.where(path in good for path in images.paths)
    submission, rows, why_not = out.with_name("submission.csv"), dict[str, int](), ""
    if not options.images:
        submission.unlink(missing_ok=True)
        try:
            rows = submission_rows(images.names, classes=selection.classes, sample=options.sample)
        except DataError as error:
            if options.sample is not None:
                raise
            why_not = f"No submission.csv is written: {error.faults[0].problem}."
    probability = probabilities(
        selection,
        images,
        family=family,
        transforms=transforms,
        cache=None if options.images else results / "outputs",
        device=choose_device(options.device),
        workers=options.workers,
    )
    yield from write_predictions(
        out, images, probability, selection=selection, level=options.level, decide=options.decide
    )
    yield f"The answer is in {out}."
    if options.images:
        return
    made_by = selection_hash(family, options.run)
    write_together(results / TEST, images.names, probability, classes=selection.classes, made_by=made_by)
    if why_not:
        yield why_not
    else:
        write_submission(submission, rows, probability, classes=selection.classes, top=options.top)
        yield f"The submission, with {options.top} classes for each image, is in {submission}."


def probabilities(
    selection: Selection,
    images: ClassTable,
    *,
    family: Path,
    transforms: Sequence[Callable[[int], Transform]],
    cache: Path | None,
    device: torch.device,
    workers: int | None = None,
) -> npt.NDArray[np.float32]:
    """The probabilities (N, K) of the classes, by the chosen networks together; only these run.

    transforms: the mean over these views of each image is taken. cache: a folder that keeps what was computed; None:
    compute. Raises NoseprintError as `classify_photographs` does.
    """
    total: Floats = np.zeros((len(images), len(selection.classes)), np.float32)
    for view, transform in enumerate(transforms):
        outputs = []
        for network in selection.networks:
            weights = family / network.file
            seen = f", view {view + 1} of {len(transforms)}" if len(transforms) > 1 else ""
            print(f"{network.name}{seen}: {len(images)} images ...", flush=True)
            if cache is None:
                outputs.append(
                    classify_photographs(weights, images.paths, transform=transform, device=device, workers=workers)
                )
            else:
                outputs.append(
                    cached_outputs(
                        cache, weights, images, transform=transform, features=False, device=device, workers=workers
                    )
                )
        total += selection.mean(outputs) / len(transforms)
    return total


def write_predictions(
    path: Path, images: ClassTable, probability: Floats, *, selection: Selection, level: str = LEAF, decide: Decide
) -> Iterator[str]:
    """Write image,label,probability,answer,level, a row for each image, and yield lines of text about it.

    label, probability: of the node on `level` that is most probable, or with which the risk is the least. answer: the
    deepest node that is sure enough, see `sure_nodes`; its own level is in the last column. probability: (N, K).
    Raises NoseprintError if the tree has no such level.
    """
    tree = selection.tree
    names, number = tree.nodes(level)
    of_level = parent_probabilities(probability, tree, level)
    best = of_level.argmax(axis=1)
    if decide == "least-risk":
        best = number[least_risk(probability, tree, level)]
    sure = sure_nodes(probability, tree, selection.sure_from)
    labels = [names[at] for at in best.tolist()]
    own = of_level[np.arange(len(best)), best].tolist()
    rows = zip(images.names, labels, (f"{p:.6f}" for p in own), sure.names, sure.levels, strict=True)
    write_csv(path, ("image", "label", "probability", "answer", "level"), rows)
    yield f"{len(images)} images, answered by {', '.join(network.name for network in selection.networks)}."
    yield from _sure_lines(sure.levels, selection)
    yield from _right_lines(images, labels, sure.names, sure.levels, selection=selection, level=level)


def _sure_lines(levels: Sequence[str], selection: Selection) -> Iterator[str]:
    if selection.threshold is None:
        yield selection.promise
    counts = {level: levels.count(level) for level in (LEAF, *selection.levels)}
    shown = ", ".join(f"{level} {number}" for level, number in counts.items())
    unsure = len(levels) - sum(counts.values())
    yield f'Sure answers (probability {selection.sure_from:.2f} or more): {shown}; "{CANNOT_TELL}" {unsure}.'


def _right_lines(
    images: ClassTable,
    labels: Sequence[str],
    answers: Sequence[str],
    levels: Sequence[str],
    *,
    selection: Selection,
    level: str,
) -> Iterator[str]:
    """How many are right, where that is known."""
    tree = selection.tree
    class_number = {name: at for at, name in enumerate(tree.classes)}
    at = [class_number.get(label, -1) for label in images.labels]
    known = np.array([one >= 0 for one in at])
    if not known.any():
        return
    right = np.array([tree.ancestors(level)[one] == given for one, given in zip(at, labels, strict=True)])
    given = np.array([node != CANNOT_TELL for node in answers])
    sure = np.array(
        [
            is_given and tree.ancestors(of)[one] == node
            for one, node, of, is_given in zip(at, answers, levels, given, strict=True)
        ]
    )
    groups = np.asarray(images.groups or images.names)
    parts = [("labels", right, known), ("sure answers", sure, known & given)]
    for what, hits, rows in parts:
        if rows.any():
            score = Score(float(hits[rows].mean()), *bootstrap_mean(hits[rows], groups[rows], seed=0))
            yield f"Right: {score} of the {rows.sum()} {what} of images whose class is known."
