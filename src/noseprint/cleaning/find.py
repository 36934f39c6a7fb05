"""The cleaning of a folder of classes, from features to the list of suspects, the log and the cleaned table."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.cleaning.decisions import Decision, Replay, append, file_hashes, governing, read_log, replay
from noseprint.cleaning.label_files import export_labels
from noseprint.cleaning.options import CleaningOptions
from noseprint.cleaning.rounds import SUSPECT_ABOVE, Cleaning, assign_folds, clean, gain_of_removal, reduce_features
from noseprint.cleaning.suspicion import label_ranks
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import atomic_write
from noseprint.inference.classify import ClassifierOutputs
from noseprint.inspection.contradictions import find_contradictory_copies
from noseprint.metrics.bootstrap import Score

RULE_NAME = "noise-channel"
SUSPECTS_HEADER = ("image", "label", "proposal", "probability", "rank", "round", "reason")


@dataclass(frozen=True)
class Found:
    """What `find_suspects` found about the N training images, in the order of the table.

    probabilities (N, K): out-of-fold. posterior (N, K): given the label, too. suspicion (N,): 1 - the posterior of the
    label. since (N,): the round since which a label is suspect, 0 for those that are not. folds (N,).
    """

    probabilities: npt.NDArray[np.floating]
    posterior: npt.NDArray[np.floating]
    suspicion: npt.NDArray[np.floating]
    since: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]


def find_suspects(
    images: ClassTable,
    outputs: ClassifierOutputs,
    *,
    options: CleaningOptions,
    results: Path,
    own: Path,
    judged: Cleaning | None = None,
) -> Found:
    """Judge every label, log what is left out, and write suspects.csv and labels.csv into `results`.

    images: of the training. outputs: their features, in the same order. own: gets out_of_fold.npz, for the review.
    judged: what trained networks found; None: judge by linear classifiers on the features.
    Raises DataError for one picture with two labels, and NoseprintError if the features are of other images.
    """
    if outputs.names != images.names:
        raise NoseprintError("the features are those of other images: run the step features again")
    _refuse_contradictions(images)
    classes = images.classes
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in images.labels], np.int64)
    features = reduce_features(outputs.features)
    folds = assign_folds(images.labels, folds=options.folds, groups=images.groups, seed=options.seed)
    settings = {"classes": len(classes), "rounds": options.rounds}
    cleaning = judged or clean(features, labels, folds, **settings)
    gain = gain_of_removal(features, labels, folds, groups=images.groups, **settings)
    found = Found(cleaning.probabilities, cleaning.posterior, cleaning.suspicion, cleaning.suspect_since, folds)
    removes = options.remove == "always" or (options.remove == "auto" and gain.low > 0)
    left_out = _least_trusted(found, labels, most=options.most_of_class) if removes else np.zeros(len(labels), bool)
    log = results / "decisions.jsonl"
    _log_decisions(images, outputs, found, left_out=left_out, classes=classes, labels=labels, log=log)
    state = replay(read_log(log), images)
    _write_suspects(results / "suspects.csv", images, found, classes=classes, labels=labels)
    export_labels(results / "labels.csv", images, state)
    with atomic_write(own / "out_of_fold.npz") as part, part.open("wb") as file:
        np.savez(file, **asdict(found))
    print("\n".join(_summary(images, found, rate=cleaning.rate, gain=gain, removes=removes, state=state)), flush=True)
    return found


def load_found(path: Path) -> Found:
    """Read what `find_suspects` left for the review. Raises NoseprintError if it is missing."""
    if not path.is_file():
        raise NoseprintError(f"{path}: no such file; run the step suspects first")
    with np.load(path) as file:
        return Found(**file)


def _refuse_contradictions(images: ClassTable) -> None:
    faults = [
        Fault(
            images.paths[rows[0]],
            None,
            f"is the same picture as {', '.join(images.names[row] for row in rows[1:])}, with another label: keep one",
        )
        for rows in find_contradictory_copies(images)
    ]
    if faults:
        raise DataError(faults)


def _least_trusted(found: Found, labels: npt.NDArray[np.int64], *, most: float) -> npt.NDArray[np.bool_]:
    """The suspects, but of each class at most the share `most`, the most suspicious first."""
    chosen = found.since > 0
    for label in np.unique(labels[chosen]):
        rows = np.flatnonzero(labels == label)
        order = rows[np.argsort(-found.suspicion[rows], kind="stable")]
        chosen[order[int(most * len(rows)) :]] = False
    return chosen


def _log_decisions(
    images: ClassTable,
    outputs: ClassifierOutputs,
    found: Found,
    *,
    left_out: npt.NDArray[np.bool_],
    classes: tuple[str, ...],
    labels: npt.NDArray[np.int64],
    log: Path,
) -> None:
    """Log what is left out, and what an earlier run left out and this one does not."""
    dropped_before = {line.image for line in governing(read_log(log)).values() if line.decision == "drop"}
    rows = [row for row, name in enumerate(images.names) if left_out[row] or name in dropped_before]
    hashes = file_hashes(images.paths[row] for row in rows)
    ranks, proposals = label_ranks(found.probabilities, labels), found.posterior.argmax(axis=1)
    append(
        log,
        [
            Decision(
                image=images.names[row],
                sha256=hashes[images.paths[row]],
                label=images.labels[row],
                rank=int(ranks[row]),
                probability=float(1 - found.suspicion[row]),
                proposal=classes[proposals[row]],
                proposal_probability=float(found.posterior[row, proposals[row]]),
                fold=int(found.folds[row]),
                round=int(found.since[row]),
                rule=RULE_NAME,
                threshold=SUSPECT_ABOVE,
                network=outputs.network,
                decision="drop" if left_out[row] else "keep",
            )
            for row in rows
        ],
    )


def _write_suspects(
    path: Path, images: ClassTable, found: Found, *, classes: tuple[str, ...], labels: npt.NDArray[np.int64]
) -> None:
    ranks, proposals = label_ranks(found.probabilities, labels), found.posterior.argmax(axis=1)
    order = np.lexsort((np.arange(len(labels)), -found.suspicion))
    write_csv(
        path,
        SUSPECTS_HEADER,
        (
            (
                images.names[row],
                images.labels[row],
                classes[proposals[row]],
                f"{1 - found.suspicion[row]:.6f}",
                str(ranks[row]),
                str(found.since[row]),
                describe_suspicion(found, row, rank=int(ranks[row]), proposal=classes[proposals[row]]),
            )
            for row in order.tolist()
        ),
    )


def describe_suspicion(found: Found, row: int, *, rank: int, proposal: str) -> str:
    """Why a label is suspect, in a few words; "" if it is not."""
    if not found.since[row]:
        return ""
    likely = found.posterior[row].max()
    if likely > SUSPECT_ABOVE:
        return f"{proposal} is more likely ({likely:.2f}); the label has rank {rank}"
    return f"no class is likely; the label has rank {rank}"


def _summary(images: ClassTable, found: Found, *, rate: float, gain: Score, removes: bool, state: Replay) -> list[str]:
    suspects, out = int((found.since > 0).sum()), len(images) - sum(state.kept)
    helps = (
        "Removal helps"
        if gain.low > 0
        else "Removal does harm"
        if gain.high < 0
        else "Nothing shows that removal helps"
    )
    return [
        f"{suspects} of {len(images)} labels are suspect; about {rate:.1%} of all labels are estimated to be wrong.",
        f"{helps}: without the suspects, the labels of unseen images are predicted right {gain.value:+.1%} "
        f"[{gain.low:+.1%}, {gain.high:+.1%}] more often.",
        f"{out} images are left out of labels.csv." if removes or out else
        "No image is left out. Look at the most suspicious ones on the review page.",
    ]  # fmt: skip
