"""The cleaning of a folder of classes, from features to the list of suspects, the log and the cleaned table."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from noseprint.cleaning.decisions import OUT, RULE, Decision, append, file_hashes, governing, read_log, replay
from noseprint.cleaning.fold_options import FoldOptions
from noseprint.cleaning.label_files import export_labels
from noseprint.cleaning.options import CleaningOptions, RuleName
from noseprint.cleaning.rounds import (
    GAIN_COVERAGE,
    Cleaning,
    Round,
    choose_settings,
    clean,
    gain_of_removal,
    judge_networks,
    out_of_fold,
    reduce_features,
)
from noseprint.cleaning.suspicion import SUSPECT_ABOVE, label_ranks
from noseprint.cleaning.trained_folds import TrainedFolds
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import assign_folds
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.inference.classify import ClassifierOutputs, read_outputs

Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]

NOT_MEMBERS = "not-members"
"""The `rule` of the decisions of the step not-members."""
SUSPECTS_HEADER = ("image", "label", "proposal", "probability", "rank", "round", "reason")
ROUNDS_HEADER = ("round", "step", "suspect", "new", "returned")
THRESHOLDS: dict[RuleName, float] = {"noise-channel": SUSPECT_ABOVE, "top-k": 1.0}


@dataclass(frozen=True)
class Found:
    """What `find_suspects` found about the N training images, in the order of the table.

    rule: which judged. probabilities (N, K): out-of-fold. posterior (N, K): by the rule. suspicion (N,): higher is more
    suspect. since (N,): the round since which a label is suspect, 0 for those that are not; 1 for images that the rule
    did not judge, as a person or the step not-members has taken them out. found_by (N,): which rules agree, "" if only
    one was asked. folds (N,).
    """

    rule: RuleName
    probabilities: Floats
    posterior: Floats
    suspicion: Floats
    since: Labels
    found_by: npt.NDArray[np.str_]
    folds: Labels


@dataclass(frozen=True)
class Settled:
    """What is known of N training images before a rule judges their labels.

    labels: (N,) class numbers, as people decided. certain: (N,) whether a person decided that the image stays. dropped:
    (N,) taken out by a person. not_members: (N,) no member of any class, by the step not-members.
    """

    labels: Labels
    certain: Flags
    dropped: Flags
    not_members: Flags


def read_images(options: CleaningOptions | FoldOptions, features: Path) -> tuple[ClassTable, ClassifierOutputs]:
    """The training images that have features, and these features, in the same order.

    Raises NoseprintError if there are features of other images, and as `read_classes` and `read_outputs` do.
    """
    outputs = read_outputs(features)
    with redirect_stderr(StringIO()):  # the step features has printed what there is to say about the table
        images = read_classes(options.data, columns=options.columns).split("train")
    known = set(outputs.names)
    images = images.where([name in known for name in images.names])
    if outputs.names != images.names:
        raise NoseprintError(
            f"{features}: its images are not those of {options.data}: run clean.sh again with the same options"
        )
    return images, outputs


def settle(images: ClassTable, log: Path) -> Settled:
    """What people and the step not-members decided. Raises DataError as `read_log` does."""
    state = replay([line for line in read_log(log) if line.who != RULE or line.rule == NOT_MEMBERS], images)
    number = {name: index for index, name in enumerate(images.classes)}
    by_person = np.array([line is not None and line.who != RULE for line in state.decisions], bool)
    kept = np.array(state.kept, bool)
    labels = np.array([number[label] for label in state.labels], np.int64)
    return Settled(labels, by_person & kept, by_person & ~kept, ~by_person & ~kept)


def find_suspects(
    images: ClassTable,
    outputs: ClassifierOutputs,
    *,
    options: CleaningOptions,
    results: Path,
    own: Path,
    trained: TrainedFolds | None = None,
) -> Found:
    """Judge every label, log what is left out, and estimate what removal brings.

    images, outputs: see `read_images`. results: has decisions.jsonl, and gets suspects.csv, labels.csv, dropped.csv,
    summary.txt and summary.json. own: gets rounds.csv and, last of all, out_of_fold.npz, for `load_found`. trained:
    judges the labels; None: linear classifiers on the features do. Only these say whether removal helps.
    Raises NoseprintError if fewer than two classes are left.
    """
    log = results / "decisions.jsonl"
    known = settle(images, log)
    present = ~(known.dropped | known.not_members)
    if len(np.unique(known.labels[present])) < 2:
        raise NoseprintError(f"{log}: leaves fewer than two classes: take decisions back with noseprint labels undo")
    _say(f"Judging {present.sum():,} labels of {len(images.classes):,} classes by the rule {options.rule} ...")
    features = reduce_features(outputs.features)
    folds = assign_folds(images.labels, folds=options.folds, groups=images.groups, seed=options.seed)
    rows = features[present], known.labels[present], folds[present]
    classes = len(images.classes)
    settings = choose_settings(*rows, classes=classes)
    judge = partial(clean, classes=classes, rule=options.rule, rounds=options.rounds, settings=settings)
    certain = known.certain[present]
    if trained is None:
        cleaning, networks = judge(*rows, certain=certain), (outputs.network,) * len(images)
        learned = np.zeros(len(present), bool)
        learned[present] = ~cleaning.suspect
        others = out_of_fold(features, known.labels, learned, folds, classes=classes, settings=settings)
    else:
        rounds, networks = [found[present] for found in trained.probabilities], trained.networks
        cleaning = judge_networks(rounds, rows[1], features=rows[0], rule=options.rule, certain=certain)
        others = trained.probabilities[-1]
    for each in cleaning.rounds:
        _say(f"{each.step}, round {each.number}: {each.suspect} suspect; {each.new} new, {each.returned} returned")
    _say(f"Training without each of {options.folds} folds, with and without suspects, to see if removal helps ...")
    groups = None if images.groups is None else list(np.array(images.groups)[present])
    gain = gain_of_removal(*rows, judge, certain=certain, groups=groups)
    found = _for_all(cleaning, present, others, folds=folds, rule=options.rule)
    removes = options.remove == "always" or (options.remove == "auto" and gain.low > 0)
    out = at_most(
        present & (found.since > 0), found.suspicion, images.labels, most=options.most_of_class, gone=known.not_members
    )
    _log_suspects(images, networks, found, out=out & removes, log=log)
    log.touch()  # where nothing is decided, the log is empty, but there is one to ask
    lines = read_log(log)
    state = replay(lines, images)
    lost = replay([line for line in lines if line.who != RULE], images).not_applied
    _write_suspects(results / "suspects.csv", images, found, known)
    kept = export_labels(results / "labels.csv", images, state).kept
    write_csv(own / "rounds.csv", ROUNDS_HEADER, [tuple(asdict(each).values()) for each in cleaning.rounds])
    limit = options.trained_rounds or options.rounds
    unsettled = _unsettled(cleaning.rounds, limit)
    summary = Summary(
        images=len(images),
        not_members=int(known.not_members.sum()),
        decided=int((known.certain | known.dropped).sum()),
        judged=len(cleaning.since),
        suspect=int(cleaning.suspect.sum()),
        rule=options.rule,
        rate=cleaning.rate,
        gain=gain.value,
        gain_low=gain.low,
        gain_high=gain.high,
        removed=removes,
        kept=kept,
        left_out=len(images) - kept,
        not_applied=len(lost),
        unsettled=tuple(each.step for each in unsettled),
    )
    text_lines = _summary_lines(summary, unsettled, limit=limit)
    for name, text in (("summary.txt", "\n".join(text_lines)), ("summary.json", json.dumps(asdict(summary), indent=1))):
        with atomic_write(results / name) as part:
            part.write_text(f"{text}\n", encoding="utf-8")
    with atomic_write(own / "out_of_fold.npz") as part, part.open("wb") as file:
        np.savez(file, **asdict(found))
    return found


def load_found(path: Path) -> Found:
    """Read what `find_suspects` left for the steps after it. Raises NoseprintError if it is missing."""
    if not path.is_file():
        raise NoseprintError(f"{path}: no such file; the stage suspects of clean.sh makes it")
    with np.load(path) as file:
        return Found(**{**file, "rule": cast(RuleName, str(file["rule"]))})


def at_most(chosen: Flags, suspicion: Floats, labels: Collection[str], *, most: float, gone: Flags) -> Flags:
    """The chosen rows, but of each class at most the share `most`, the most suspicious first.

    gone: (N,) rows that rules have taken out before; these count, too.
    """
    chosen, names = chosen.copy(), np.array(labels)
    for label in np.unique(names[chosen]):
        own = names == label
        rows = np.flatnonzero(own & chosen)
        order = rows[np.argsort(-suspicion[rows], kind="stable")]
        chosen[order[max(0, int(most * own.sum()) - int((own & gone).sum())) :]] = False
    return chosen


def log_opinion(
    images: ClassTable, out: Flags, *, rules: Collection[str], decide: Callable[[int, bool], Decision], log: Path
) -> None:
    """Log which images a rule takes out, and those that one of `rules` took out before and that now stay.

    decide: gives the decision about a row, from whether it is taken out; its hash of the file is filled in here.
    """
    before = {
        (line.image, line.label)
        for line in governing(read_log(log)).values()
        if line.who == RULE and line.rule in rules and line.decision in OUT
    }
    names = zip(images.names, images.labels, strict=True)
    rows = [row for row, name in enumerate(names) if out[row] or name in before]
    hashes = file_hashes(images.paths[row] for row in rows)
    append(log, [replace(decide(row, bool(out[row])), sha256=hashes[images.paths[row]]) for row in rows], latest=True)


def describe_suspicion(found: Found, row: int, *, label: str, proposal: str) -> str:
    """Why a label is suspect, in a few words; "" if it is not."""
    if not found.since[row]:
        return ""
    agreed = f"by {found.found_by[row]}: " if found.found_by[row] else ""
    likely = found.posterior[row].max()
    if proposal == label:
        return f"{agreed}the label is the first choice ({likely:.2f}), but not clearly"
    return f"{agreed}{proposal} is more likely ({likely:.2f})"


def _say(text: str) -> None:
    print(text, flush=True)


def _for_all(cleaning: Cleaning, present: Flags, others: Floats, *, folds: Labels, rule: RuleName) -> Found:
    """What was found about the rows that are present, beside others (N, K), the probabilities of those that are not."""
    probabilities, posterior = others.copy(), others.copy()
    probabilities[present], posterior[present] = cleaning.probabilities, cleaning.posterior
    suspicion = np.full(len(present), cleaning.suspicion.max())
    suspicion[present] = cleaning.suspicion
    since = np.ones(len(present), np.int64)
    since[present] = cleaning.since
    found_by = np.full(len(present), "", dtype=object)
    found_by[present] = cleaning.found_by
    return Found(rule, probabilities, posterior, suspicion, since, found_by.astype(str), folds)


def _numbers(images: ClassTable) -> Labels:
    """The class numbers of the labels given."""
    number = {name: index for index, name in enumerate(images.classes)}
    return np.array([number[label] for label in images.labels], np.int64)


def _log_suspects(images: ClassTable, networks: Sequence[str], found: Found, *, out: Flags, log: Path) -> None:
    """networks: (N,) the fingerprint of the network that judges each image."""
    labels, classes = _numbers(images), images.classes
    ranks, proposals = label_ranks(found.probabilities, labels), found.posterior.argmax(axis=1)

    def decide(row: int, leaves: bool) -> Decision:
        return Decision(
            image=images.names[row],
            sha256="0" * 64,
            label=images.labels[row],
            rank=int(ranks[row]),
            probability=float(found.posterior[row, labels[row]]),
            proposal=classes[proposals[row]],
            proposal_probability=float(found.posterior[row, proposals[row]]),
            fold=int(found.folds[row]),
            round=int(found.since[row]),
            rule=found.rule,
            threshold=THRESHOLDS.get(found.rule),
            network=networks[row],
            decision="drop" if leaves else "keep",
        )

    log_opinion(images, out, rules=get_args(RuleName), decide=decide, log=log)


def _write_suspects(path: Path, images: ClassTable, found: Found, known: Settled) -> None:
    labels, classes = _numbers(images), images.classes
    ranks, proposals = label_ranks(found.probabilities, labels), found.posterior.argmax(axis=1)

    def reason(row: int) -> str:
        if known.not_members[row]:
            return "no member of any class, by the step not-members"
        if known.dropped[row]:
            return "a person took it out"
        return describe_suspicion(found, row, label=images.labels[row], proposal=classes[proposals[row]])

    write_csv(
        path,
        SUSPECTS_HEADER,
        (
            (
                images.names[row],
                images.labels[row],
                classes[proposals[row]],
                f"{found.posterior[row, labels[row]]:.6f}",
                str(ranks[row]),
                str(found.since[row]),
                reason(row),
            )
            for row in np.argsort(-found.suspicion, kind="stable").tolist()
        ),
    )


@dataclass(frozen=True)
class Summary:
    """What summary.json holds.

    images: training images that can be used. not_members: how many the step of that name found. decided: by people.
    judged, suspect: labels. rule: which judged. rate: the share of wrong labels, as far as a linear classifier can
    tell. gain, gain_low, gain_high: what removal brings, see `gain_of_removal`, in 0..1. removed: whether suspects are
    left out. kept, left_out: images in labels.csv, and not in it. not_applied: images about which people decided, but
    which are gone or have changed since. unsettled: steps that ended at their limit of rounds.
    """

    images: int
    not_members: int
    decided: int
    judged: int
    suspect: int
    rule: RuleName
    rate: float
    gain: float
    gain_low: float
    gain_high: float
    removed: bool
    kept: int
    left_out: int
    not_applied: int
    unsettled: tuple[str, ...]


def _unsettled(rounds: Sequence[Round], limit: int) -> list[Round]:
    """The last round of each step that ended at the limit of rounds while labels still changed."""
    steps = [[each for each in rounds if each.step == step] for step in dict.fromkeys(each.step for each in rounds)]
    return [own[-1] for own in steps if len(own) == limit > 1 and (own[-1].new or own[-1].returned)]


def _summary_lines(summary: Summary, unsettled: Sequence[Round], *, limit: int) -> Iterator[str]:
    """The lines of summary.txt: what was found, what removal brings, and how sure that is."""
    helps = (
        "Removal helps"
        if summary.gain_low > 0
        else "Removal does harm"
        if summary.gain_high < 0
        else "Nothing shows that removal helps"
    )
    if summary.not_members:
        yield f"{summary.not_members} of {summary.images} images are no member of any class."
    if summary.decided:
        images = "1 image" if summary.decided == 1 else f"{summary.decided} images"
        yield f"People have decided about {images}; these decisions stand."
    if summary.not_applied:
        yield (
            "Decisions of people that are not applied, since the image or its label is gone or has changed: "
            f"{summary.not_applied}. noseprint labels export lists them."
        )
    yield f"{summary.suspect} of {summary.judged} labels are suspect, by the rule {summary.rule}."
    for last in unsettled:
        yield (
            f"The {last.step} step ended at its limit of {limit} rounds, not at rest: in the last one {last.new} "
            f"labels became suspect and {last.returned} returned. --rounds {2 * limit} shows if it comes to rest."
        )
    yield (
        f"About {summary.rate:.1%} of the labels are wrong, as far as a linear classifier can tell. Where "
        "classes are hard to tell apart, that is too high. The random sample on the page measures it."
    )
    yield (
        f"{helps}: without the suspects, the share of labels of unseen images that are predicted changes by "
        f"{100 * summary.gain:+.1f} points [{100 * summary.gain_low:+.1f}, {100 * summary.gain_high:+.1f}] "
        f"({GAIN_COVERAGE:.0%} interval)."
    )
    if summary.removed or summary.left_out:
        yield f"labels.csv keeps {summary.kept} images and leaves {summary.left_out} out."
    elif summary.suspect:
        yield "No image is left out: look at the suspects on the page, or leave them out with --remove always."
    else:
        yield "No image is left out."
