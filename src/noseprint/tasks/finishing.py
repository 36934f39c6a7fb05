"""The last epochs of a classifier, with averaged weights: tested on a hold-out first, then on all images."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import load_classifier, save_weights
from noseprint.models.weights_header import read_header
from noseprint.tasks.classification import ClassificationTask
from noseprint.tasks.student_options import FinishOptions
from noseprint.training.averaging import average_weights
from noseprint.training.best import UNKNOWN
from noseprint.training.fit import fit
from noseprint.training.task import Scores

MakeTask = Callable[[ClassifierNet, FinishOptions, bool], ClassificationTask]
"""Makes the task of the last epochs of a network. True: on all images, without a hold-out."""


def best_student(students: Mapping[str, Path]) -> tuple[str, str]:
    """The name of the student with the highest accuracy on the hold-out, and a line that says so.

    students: the weights of each. Raises NoseprintError if one is missing or was trained without a hold-out.
    """
    accuracy = dict[str, float]()
    for name, path in students.items():
        scores = read_header(path).holdout_scores
        if not scores:
            raise NoseprintError(f"{path}: was trained without a hold-out, so its accuracy is not known: train again")
        accuracy[name] = scores["accuracy"]
    name = max(accuracy, key=lambda one: accuracy[one])
    others = [f"{accuracy[name] - value:+.4f} to {one}" for one, value in accuracy.items() if one != name]
    return name, ", ".join([f"{name}: accuracy {accuracy[name]:.4f} on the hold-out", *others])


def finish(student: str, weights: Path, *, results: Path, options: FinishOptions, make_task: MakeTask) -> str:
    """Train a student a little longer, average its snapshots, and keep the mean if the hold-out allows it.

    The first training uses the student's own images. Its mean is refused if it scores worse beyond chance than the best
    of the student and the snapshots: the 95 % interval of the difference, paired over groups, lies below 0. Then
    `results`/best.safetensors and `results`/proof/best.safetensors are the student itself. Otherwise the second file is
    the mean, and a second training, on all images, gives the first. `results`/proof.json holds the scores. An
    interrupted call continues where it stopped.

    student, weights: its name and its weights. Returns a line with the scores.
    Raises NoseprintError in a distributed run, as this takes minutes in one process, and as `fit` does.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NoseprintError("the last epochs run in one process: start this without torchrun")
    network = _load(weights)
    options = replace(options, train_size=options.train_size or network.image_size)
    task = make_task(network, options, False)
    fit(task, results=results / "proof" / "training", options=options, advise=False)
    snapshots = _snapshots(results / "proof" / "training")

    def score(*files: Path) -> Scores:
        average_weights(network, files)
        scores = task.score(network)
        assert scores
        return scores

    before, each = score(weights), [score(path) for path in snapshots]
    mean = score(*snapshots)  # the last: the network and the header are those of the mean
    accuracy = {"student": _accuracy(before), "snapshots": [*map(_accuracy, each)], "mean": _accuracy(mean)}
    accepted = not worse_beyond_chance(mean, max(before, *each, key=_accuracy))
    why = f"on {len(task.holdout)} held-out images the mean of {len(each)} snapshots scores {_accuracy(mean):.4f}, "
    why += f"the best of them {max(map(_accuracy, each)):.4f}, and {student} {_accuracy(before):.4f}"
    why += "" if accepted else f": the mean is worse, so {student} stays as it is"
    proof, best = results / "proof" / "best.safetensors", results / "best.safetensors"
    if accepted:
        save_weights(proof, network, extra={"recipe": "finish", **task.header()})
    else:
        _copy(weights, proof)
    with atomic_write(results / "proof.json") as part:
        record = {"student": student, "accuracy": accuracy, "accepted": accepted, "why": why}
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if accepted:
        network = _load(weights)
        task = make_task(network, options, True)
        fit(task, results=results / "all_images", options=options, advise=False)
        average_weights(network, _snapshots(results / "all_images"))
        save_weights(best, network, extra={"recipe": "finish", **task.header()})
    else:
        _copy(weights, best)
    return why


def worse_beyond_chance(scores: Scores, than: Scores) -> bool:
    """Whether the 95 % interval of the difference, paired over groups, lies below 0.

    With too few groups for an interval: whether the difference itself does.
    """
    gain = scores.gain_over(than)
    is_known = gain.high - gain.low < UNKNOWN
    return (gain.high if is_known else gain.value) < 0


def _accuracy(scores: Scores) -> float:
    return scores.values["accuracy"]


def _load(weights: Path) -> ClassifierNet:
    network = load_classifier(weights)
    network.freeze_batch_norm = True
    return network


def _snapshots(results: Path) -> list[Path]:
    """The snapshots of a training, in their order. A training of few steps has fewer than it was asked for."""
    return sorted((results / "snapshots").glob("*.safetensors"), key=lambda path: int(path.stem))


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as part:
        shutil.copyfile(source, part)
