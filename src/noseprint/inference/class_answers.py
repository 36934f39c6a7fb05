"""From what several classifiers compute of images to one answer for each image."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.data.csv_rows import write_csv
from noseprint.errors import NoseprintError
from noseprint.inference.capacity import assign_classes, balanced, prior_doubts
from noseprint.inference.classify import ClassifierOutputs, read_outputs
from noseprint.inference.ensemble import (
    Join,
    choose_prior_share,
    fit_temperature,
    greedy_selection,
    vote,
    weighted_mean,
    with_temperature,
    without_prior,
)
from noseprint.inference.predict_options import Method, images_of_each_class
from noseprint.metrics.bootstrap import bootstrap_difference

Floats = npt.NDArray[np.floating]
Outputs = Mapping[str, ClassifierOutputs]
"""Of the same images, by the name of the member."""
UNSURE_BELOW = 0.5


@dataclass(frozen=True)
class ClassAnswers:
    """The answers to N images.

    names, labels, probability: (N,) of each image, its class and the probability that this is right. plain: (N,) the
    classes without a prior. lines: what the user should know about how they were made.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    probability: Floats
    plain: tuple[str, ...]
    lines: tuple[str, ...]


def read_members(family: Path, members: Sequence[str], *, run: str, kind: str) -> dict[str, ClassifierOutputs]:
    """What each member computed of one kind of images, in KIND.safetensors of the results of its folder.

    Raises NoseprintError if a file is missing or damaged, or if the members' images or classes differ.
    """
    if not members or len(set(members)) < len(members):
        raise NoseprintError(f"--members {','.join(members)}: name folders, each once, separated by commas")
    files = {name: family / name / "results" / run / f"{kind}.safetensors" for name in members}
    if missing := [str(file) for file in files.values() if not file.is_file()]:
        test = "the data have no test images, or " if kind == "test" else ""
        raise NoseprintError(
            f"{missing[0]} is missing: {test}train.sh has not come to its end. Run it again with the same options; "
            "finished steps are skipped. Any photographs can be classified with --images FOLDER --out FILE.csv"
        )
    found = {name: read_outputs(file) for name, file in files.items()}
    (first, of_first), *others = found.items()
    for name, outputs in others:
        for what in ("classes", "names"):
            if getattr(outputs, what) != getattr(of_first, what):
                thing = "classes" if what == "classes" else "images"
                raise NoseprintError(
                    f"{first} and {name} have different {thing} ({kind}.safetensors): run train.sh again with the same "
                    "options, or leave one of them out with --members"
                )
    return found


def require_images(members: Outputs, names: Sequence[str], *, some_skipped: bool) -> None:
    """Raise NoseprintError unless the members have classified the images `names`, or a part if some were skipped."""
    name, outputs = next(iter(members.items()))
    found, wanted = set(outputs.names), set(names)
    if other := sorted(found - wanted) or sorted(set() if some_skipped else wanted - found):
        raise NoseprintError(
            f"{name} has classified other test images than the data have now ({len(other)} differ, such as "
            f"{other[0]}): run train.sh again with the same options; finished steps are skipped"
        )


def answer_classes(
    members: Outputs,
    holdout: Outputs | None,
    *,
    held_out: Mapping[str, str],
    known: Mapping[str, str] = MappingProxyType({}),
    counts: Mapping[str, int] = MappingProxyType({}),
    method: Method,
    capacity: int | None = None,
    prior: str | None = None,
) -> ClassAnswers:
    """Answer with the class that the members together find most probable, given the prior.

    Probabilities are calibrated by a temperature that is fitted on the hold-out; without a hold-out they are not.

    members, holdout: what they computed of the images, and of those that were held out. held_out: the classes of these,
    by the name of the image. known: likewise of the images to answer; "" or no entry where that is not known. counts:
    how many training images each class had; the answers then favour frequent classes less, see `choose_prior_share`.
    prior: how many images each class has, see `images_of_each_class`; `counts` is not used then.
    capacity: with a prior, the most images of one class.
    Raises NoseprintError for a greedy selection without a hold-out, and as `assign_classes` does.
    """
    first = next(iter(members.values()))
    classes, weights = first.classes, dict.fromkeys(members, 1)
    lines = [f"{len(first.names)} images. Answered by {', '.join(members)}{_how(method, len(members))}."]
    rows, truth = _truth(holdout, held_out, classes)
    if method == "greedy":
        if holdout is None or not len(truth):
            raise NoseprintError(
                "--method greedy chooses by the images that were held out, and there are none: use --method mean"
            )
        joins = greedy_selection([p[rows] for p in _probabilities(holdout)], truth)
        weights = {name: sum(join.member == index for join in joins) for index, name in enumerate(members)}
        lines += _joins(joins, list(members), held_out=len(truth))
    probability = _together(members, method=method, weights=weights)
    of_holdout = None
    if holdout is not None and len(truth):
        of_holdout = _together(holdout, method=method, weights=weights)[rows]
        if counts and prior is None:
            sizes = np.array([counts.get(name, 0) for name in classes])
            if share := choose_prior_share(of_holdout, truth, sizes):
                probability, of_holdout = (without_prior(p, sizes, share) for p in (probability, of_holdout))
                lines.append(
                    f"Frequent classes are favoured less ({share:g} of the log prior is taken away): on the hold-out, "
                    "the mean over classes is better and top-1 is not lower."
                )
        temperature = fit_temperature(of_holdout, truth)
        probability, of_holdout = (with_temperature(p, temperature) for p in (probability, of_holdout))
        lines.append(f"Temperature {temperature:.2f}, fitted on {len(truth)} images that were held out.")
    else:
        lines.append("Caution: no image was held out, so nothing shows whether the probabilities are right.")
    best = given = probability.argmax(axis=1)
    if prior is not None:
        each = images_of_each_class(prior)
        number = {name: index for index, name in enumerate(classes)}
        of_images = np.array([number.get(known.get(name, ""), -1) for name in first.names])
        pair = None if of_holdout is None else (of_holdout, truth)
        doubts = prior_doubts(probability, each=each, truth=of_images, holdout=pair)
        probability = balanced(probability)
        given = probability.argmax(axis=1) if capacity is None else assign_classes(probability, capacity=capacity)
        moved = int((given != best).sum())
        lines.append(f"With --prior {prior}, {moved} images get another class than without it.")
        lines += [f"Warning: --prior {prior} does not fit: {doubt}." for doubt in doubts]
    answers = ClassAnswers(
        names=first.names,
        labels=tuple(classes[row] for row in given.tolist()),
        probability=probability[np.arange(len(given)), given],
        plain=tuple(classes[row] for row in best.tolist()),
        lines=(),
    )
    lines += _score(answers, known, prior=prior)
    unsure = int((answers.probability < UNSURE_BELOW).sum())
    if unsure:
        some = "1 answer has" if unsure == 1 else f"{unsure} answers have"
        lines.append(f"{some} a probability below {UNSURE_BELOW}: look at {'it' if unsure == 1 else 'these'} first.")
    return ClassAnswers(answers.names, answers.labels, answers.probability, answers.plain, tuple(lines))


def write_answers(path: Path, answers: ClassAnswers) -> None:
    """Write image,label,probability, a row for each image."""
    rows = zip(answers.names, answers.labels, (f"{p:.6f}" for p in answers.probability.tolist()), strict=True)
    write_csv(path, ("image", "label", "probability"), rows)


def _probabilities(outputs: Outputs) -> Iterator[Floats]:
    for one in outputs.values():
        yield softmax(one.logits.astype(np.float32), axis=1)


def _together(outputs: Outputs, *, method: Method, weights: Mapping[str, int]) -> Floats:
    if method == "vote":
        return vote(list(_probabilities(outputs)))
    return weighted_mean(_probabilities(outputs), [weights[name] for name in outputs])


def _truth(
    holdout: Outputs | None, labels: Mapping[str, str], classes: Sequence[str]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The rows of the held-out images that have a class of the network, and their classes."""
    number = {name: index for index, name in enumerate(classes)}
    names = next(iter(holdout.values())).names if holdout else ()
    truth = np.array([number.get(labels.get(name, ""), -1) for name in names], np.intp)
    known = np.flatnonzero(truth >= 0)
    return known, truth[known]


def _how(method: Method, members: int) -> str:
    if members == 1:
        return ""
    return {"mean": " (mean)", "greedy": " (those that help)", "vote": " (vote)", "fusion": ""}[method]


def _joins(joins: Sequence[Join], members: Sequence[str], *, held_out: int) -> Iterator[str]:
    """Who joined, and why: a line for the first time of each."""
    times = Counter(members[join.member] for join in joins)
    seen, before = set[str](), 0.0
    for join in joins:
        name = members[join.member]
        if not seen:
            yield f"  {name} is the best alone: {join.accuracy:.1%} of {held_out} held-out images right."
        elif name not in seen:
            yield f"  {name} joins: {join.accuracy:.1%} right ({join.accuracy - before:+.1%})."
        seen.add(name)
        before = join.accuracy
    weights = ", ".join(f"{name} {number}" for name, number in times.items())
    yield f"  Together {joins[-1].accuracy:.1%} are right, with the weights {weights}."
    if left_out := [name for name in members if name not in seen]:
        yield f"  Left out, since they add nothing there: {', '.join(left_out)}."


def _score(answers: ClassAnswers, labels: Mapping[str, str], *, prior: str | None) -> Iterator[str]:
    """The share of right answers, where the classes are known."""
    rows = [row for row, name in enumerate(answers.names) if labels.get(name)]
    if not rows:
        return
    truth = [labels[answers.names[row]] for row in rows]
    right, before = (
        np.array([given[row] == label for row, label in zip(rows, truth, strict=True)], float)
        for given in (answers.labels, answers.plain)
    )
    yield f"Right: {right.mean():.1%} of the {len(rows)} images whose class is known."
    if prior is not None:
        gain = bootstrap_difference(right, before, np.arange(len(rows)), seed=0)
        yield (
            f"Without --prior: {before.mean():.1%}; the prior brings {gain.value:+.1%} "
            f"[{gain.low:+.1%}, {gain.high:+.1%}]."
        )
