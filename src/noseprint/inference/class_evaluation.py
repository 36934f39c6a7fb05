"""How good classifiers are, alone and as an ensemble, on images whose classes are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.calibration.reliability import ReliabilityCurve, reliability_curve
from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs
from noseprint.inference.ensemble import fit_temperature, with_temperature
from noseprint.metrics.bootstrap import Score, bootstrap_difference
from noseprint.metrics.classification import ClassificationScores, classification_scores, true_ranks

Floats = npt.NDArray[np.float64]
Outputs = Mapping[str, ClassifierOutputs]
"""Of the same images, by the name of the network."""
Answers = Mapping[str, tuple[str, float]]
"""The class that is given to each image, by its name, and the probability that it is right."""
ENSEMBLE, ANSWERS = "ensemble", "answers"


@dataclass(frozen=True)
class ClassEvaluation:
    """The scores of networks on N images whose classes are known.

    names, labels, groups: (N,) of the images; groups is None if intervals are by image. scores: of each network, of the
    ensemble, which is the mean of its members' probabilities, and of the answers, where they differ from those of the
    ensemble; of these only top_1, mean_per_class, by_frequency and calibration_error mean anything. whole: the
    entry of `scores` that was answered. given, confidence: (N,) the class that was answered, and its probability.
    gains: the top-1 of the ensemble minus that without the member. over_best: the name of the best member, and the
    top-1 of the ensemble minus that of this member. over_mean: the top-1 of the answers minus that of the ensemble;
    None if they are the same. curve: the share of right answers by confidence. All differences are paired.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None
    scores: dict[str, ClassificationScores]
    whole: str
    given: tuple[str, ...]
    confidence: Floats
    gains: dict[str, Score]
    over_best: tuple[str, Score] | None
    over_mean: Score | None
    curve: ReliabilityCurve


def evaluate_classes(
    outputs: Outputs,
    labels: Sequence[str],
    *,
    members: Sequence[str],
    temperatures: Mapping[str, float],
    answers: Answers | None = None,
    groups: Sequence[str] | None = None,
    training_counts: Mapping[str, float] | None = None,
) -> ClassEvaluation:
    """Score networks, their ensemble, and what was answered. Intervals are by group or, without groups, by image.

    outputs: of networks, the members of the ensemble among them. labels: (N,) the classes of their images.
    temperatures: as `fit_temperatures` returns them; 1 for a network that is missing. answers: None stands for those of
    the ensemble. training_counts: the number of training images of each class.
    Raises NoseprintError as `probabilities_of` does, and if `answers` lacks an image.
    """
    probabilities = probabilities_of(outputs, members=members)
    names, classes = _common(outputs)
    heated = {name: with_temperature(p, temperatures.get(name, 1.0)) for name, p in probabilities.items()}
    units = tuple(groups) if groups is not None else names
    score = partial(
        classification_scores, labels=labels, classes=classes, groups=np.asarray(units), training_counts=training_counts
    )
    scores = {name: score(p) for name, p in heated.items()}
    whole = ENSEMBLE if ENSEMBLE in scores else members[0]
    given = tuple(classes[row] for row in heated[whole].argmax(axis=1).tolist())
    confidence = heated[whole].max(axis=1)
    over_mean = None
    if answers is not None:
        if missing := [name for name in names if name not in answers]:
            raise NoseprintError(f"{len(missing)} images, such as {missing[0]}, have no answer: run predict.sh again")
        of_mean, given = given, tuple(answers[name][0] for name in names)
        confidence = np.array([answers[name][1] for name in names])
        if given != of_mean:
            then, now = (np.equal(each, labels).astype(float) for each in (of_mean, given))
            over_mean = bootstrap_difference(now, then, np.asarray(units), seed=0)
            scores[ANSWERS] = score(_certain(given, confidence, classes))
            whole = ANSWERS
    right = {name: true_ranks(p, labels, classes) == 0 for name, p in probabilities.items()}
    return ClassEvaluation(
        names=names,
        labels=tuple(labels),
        groups=None if groups is None else units,
        scores=scores,
        whole=whole,
        given=given,
        confidence=confidence,
        gains=_gains(probabilities, labels, classes=classes, members=members, units=units),
        over_best=_over_best(right, members=members, units=units),
        over_mean=over_mean,
        curve=reliability_curve(
            confidence, np.equal(given, labels), identity_a=np.asarray(units), identity_b=np.asarray(units)
        ),
    )


def probabilities_of(outputs: Outputs, *, members: Sequence[str]) -> dict[str, Floats]:
    """The softmax (N, K) of each network and, of two members or more, their mean, the entry ENSEMBLE.

    Raises NoseprintError if the networks do not have the same images and classes.
    """
    _common(outputs)
    found: dict[str, Floats] = {name: softmax(of.logits.astype(np.float64), axis=1) for name, of in outputs.items()}
    if len(members) > 1:
        found[ENSEMBLE] = np.mean([found[name] for name in members], axis=0)
    return found


def fit_temperatures(outputs: Outputs, labels: Sequence[str], *, members: Sequence[str]) -> dict[str, float]:
    """The `fit_temperature` of each entry of `probabilities_of`, on images that were held out.

    Images without a class of the networks do not count; without any image, every temperature is 1.
    """
    number = {name: at for at, name in enumerate(_common(outputs)[1])}
    known = np.array([label in number for label in labels], bool)
    truth = np.array([number[label] for label in labels if label in number], np.int64)
    found = probabilities_of(outputs, members=members)
    return {name: fit_temperature(p[known], truth) if len(truth) else 1.0 for name, p in found.items()}


def _common(outputs: Outputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the images, and the classes."""
    (first, of_first), *rest = outputs.items()
    for name, of in rest:
        if of.names != of_first.names:
            raise NoseprintError(f"{first} and {name} have classified different images: run predict.sh again")
        if of.classes != of_first.classes:
            raise NoseprintError(f"{first} and {name} have different classes: train both on the same labels")
    return of_first.names, of_first.classes


def _certain(given: Sequence[str], confidence: Floats, classes: Sequence[str]) -> Floats:
    """Distributions (N, K) with the confidence at the answer, and the rest spread evenly over the other classes."""
    number, rows = {name: at for at, name in enumerate(classes)}, np.arange(len(given))
    if unknown := sorted(set(given) - set(number)):
        raise NoseprintError(f"the answer {unknown[0]!r} is no class of the networks: run predict.sh again")
    least = 1 / len(classes) + 1e-6  # below it, another class would be the highest
    top = np.clip(confidence, least, 1)
    found = np.repeat((1 - top)[:, None] / max(1, len(classes) - 1), len(classes), axis=1)
    found[rows, [number[name] for name in given]] = top
    return found


def _gains(
    probabilities: Mapping[str, Floats],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    members: Sequence[str],
    units: Sequence[str],
) -> dict[str, Score]:
    def right(names: Sequence[str]) -> Floats:
        mean = np.mean([probabilities[name] for name in names], axis=0)
        return np.equal(true_ranks(mean, labels, classes), 0).astype(np.float64)

    if len(members) < 2:
        return {}
    whole = right(members)
    return {
        name: bootstrap_difference(whole, right([other for other in members if other != name]), units, seed=0)
        for name in members
    }


def _over_best(
    right: Mapping[str, npt.NDArray[np.bool_]], *, members: Sequence[str], units: Sequence[str]
) -> tuple[str, Score] | None:
    if ENSEMBLE not in right:
        return None
    best = max(members, key=lambda name: right[name].mean())
    difference = bootstrap_difference(right[ENSEMBLE].astype(float), right[best].astype(float), units, seed=0)
    return best, difference
