"""How good a classifier is: accuracy, also of each class and of rare ones, confusions, log loss and calibration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score, percentile_interval, resampled_weights
from noseprint.metrics.calibration_error import (
    LEAST_PROBABILITY,
    calibration_error_interval,
    calibration_errors,
)
from noseprint.metrics.similarity import Labels

Floats = npt.NDArray[np.float64]
Frequency: TypeAlias = Literal["many", "medium", "few"]
MANY_ABOVE, FEW_BELOW = 100, 20
"""Classes with more training images than this are "many", with fewer than that "few" (Liu et al., "Large-scale
long-tailed recognition in an open world", arXiv 1904.05160); those between are "medium"."""
BINS = 10
"""Of the calibration error."""
_ROUNDING = 1e-3  # as much as the sum of an image's probabilities may differ from 1


@dataclass(frozen=True)
class ClassificationScores:
    """The scores of N images, with 95 % intervals.

    top_1, top_5: the share of images whose class is the first answer, or among the first five. mean_per_class: the mean
    of the classes' own top-1. by_frequency: the same over the classes with many, medium and few training images;
    without an entry where no image has such a class. log_loss: mean of -ln(probability of the class) in nats, over the
    images whose class the network has. calibration_error: see `calibration_error.expected_calibration_error`, of the
    confidence, which is the highest probability.
    """

    top_1: Score
    top_5: Score
    mean_per_class: Score
    by_frequency: dict[Frequency, Score]
    log_loss: Score
    calibration_error: Score


@dataclass(frozen=True)
class Confusion:
    """`images` images of the class `label` are taken for `answer`; `share` of all images of `label`."""

    label: str
    answer: str
    images: int
    share: float


def classification_scores(
    probability: npt.NDArray[np.floating],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    groups: Labels | None = None,
    training_counts: Mapping[str, float] | None = None,
    seed: int = 0,
    replicates: int = 1000,
) -> ClassificationScores:
    """Score a classifier's answers.

    Intervals are from a bootstrap over groups or, without these, over images. With fewer than MIN_IDENTITIES groups
    they are the whole range: 0 to 1, and 0 to 34.5 for the log loss. A replicate's mean over classes leaves out those
    that it has not drawn.

    probability: (N, K), rows with the sum 1. labels: (N,) the class of each image. An image of a class that is not
    among `classes` counts as wrong. classes: (K,). groups: (N,) such as the sender of each photograph. training_counts:
    the number of training images of each class, for `by_frequency`; classes that it lacks have none. seed, replicates:
    of the bootstrap.
    Raises NoseprintError if there are no images, none has a class of the network, or a row is no distribution.
    """
    p = _check_distributions(probability, labels, classes)
    ranks, truth = true_ranks(p, labels, classes), np.asarray(labels)
    known = ranks >= 0
    if not known.any():
        raise NoseprintError(f"none of the {len(p)} images has a class that the network has, such as {classes[0]!r}")
    right, top_5 = np.equal(ranks, 0).astype(float), ((ranks >= 0) & (ranks < 5)).astype(float)
    names, class_of = np.unique(truth, return_inverse=True)
    frequency = np.array([frequency_of((training_counts or {}).get(str(name), 0)) for name in names])
    kinds: tuple[Frequency, ...] = ("many", "medium", "few")
    shown = [kind for kind in kinds if training_counts is not None and (frequency == kind).any()]
    losses = np.where(known, log_losses(p, labels, classes), 0)
    confidence = np.minimum(p.max(axis=1), 1)

    def scores(weight: Floats) -> list[Floats]:
        """Of each row of weights (R, N): the scores (R,) in order; not finite where nothing of their kind is drawn."""
        total = weight.sum(axis=1)
        with np.errstate(invalid="ignore"):
            per_class = _sum_by_class(weight * right, class_of) / _sum_by_class(weight, class_of)
            means = [_mean_of_finite(per_class)]
            means += [_mean_of_finite(per_class[:, frequency == kind]) for kind in shown]
            log_loss = weight @ losses / (weight @ known)
        errors = calibration_errors(confidence, right, weight, BINS)
        return [weight @ right / total, weight @ top_5 / total, *means, log_loss, errors]

    values = [float(value[0]) for value in scores(np.ones((1, len(p))))]
    groups = np.arange(len(p)) if groups is None else np.asarray(groups)
    if len(np.unique(groups)) < MIN_IDENTITIES:
        intervals = [(0.0, 1.0)] * len(values)
        intervals[-2] = (0.0, float(-np.log(LEAST_PROBABILITY)))
    else:
        blocks = [np.stack(scores(weight)) for weight in resampled_weights(groups, seed=seed, replicates=replicates)]
        drawn = np.concatenate(blocks, axis=1)
        intervals = [percentile_interval(row) for row in drawn[:-1]]
        intervals.append(calibration_error_interval(drawn[-1], values[-1]))
    found = [Score(value, *interval) for value, interval in zip(values, intervals, strict=True)]
    return ClassificationScores(
        top_1=found[0],
        top_5=found[1],
        mean_per_class=found[2],
        by_frequency=dict(zip(shown, found[3:-2], strict=True)),
        log_loss=found[-2],
        calibration_error=found[-1],
    )


def true_ranks(scores: npt.NDArray[np.floating], labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """How many classes come before the label of each image: (N,), 0 for a right first answer.

    Of equal scores, the class that is first in `classes` comes first, as in `argmax`. -1 for a label that is not among
    the classes. scores: (N, K), logits or probabilities. labels: (N,). classes: (K,).
    """
    truth = _class_numbers(labels, classes)
    own = np.take_along_axis(scores, truth[:, None].clip(min=0), axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(len(classes)) < truth[:, None]))
    return np.where(truth < 0, -1, before.sum(axis=1))


def mean_per_class(right: npt.NDArray[np.bool_], labels: Sequence[str]) -> float:
    """The mean over the classes of the share of their images that are right. right, labels: (N,), N > 0."""
    class_of = np.unique(np.asarray(labels), return_inverse=True)[1]
    return float((np.bincount(class_of, right) / np.bincount(class_of)).mean())


def log_losses(probability: npt.NDArray[np.floating], labels: Sequence[str], classes: Sequence[str]) -> Floats:
    """-ln(probability of the label) of each image (N,), in nats, at most 34.5; infinite for a label without a class.

    probability: (N, K). labels: (N,). classes: (K,).
    """
    truth = _class_numbers(labels, classes)
    own = np.take_along_axis(probability, truth[:, None].clip(min=0), axis=1)[:, 0]
    return np.where(truth < 0, np.inf, -np.log(np.maximum(own, LEAST_PROBABILITY)))


def frequency_of(training_images: float) -> Frequency:
    """Whether a class has many, medium or few training images: see MANY_ABOVE and FEW_BELOW."""
    return "many" if training_images > MANY_ABOVE else "few" if training_images < FEW_BELOW else "medium"


def most_confused(labels: Sequence[str], answers: Sequence[str], *, most: int = 20) -> list[Confusion]:
    """The wrong answers that are given most often, up to `most`: (label, answer) by number of images, then by name."""
    images = Counter(labels)
    found = Counter(pair for pair in zip(labels, answers, strict=True) if pair[0] != pair[1])
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [Confusion(label, answer, number, number / images[label]) for (label, answer), number in ordered]


def _class_numbers(labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """The number of each label among the classes, (N,); -1 if it is not there."""
    number = {name: index for index, name in enumerate(classes)}
    return np.fromiter((number.get(label, -1) for label in labels), np.intp, count=len(labels))


def _check_distributions(
    probability: npt.NDArray[np.floating], labels: Sequence[str], classes: Sequence[str]
) -> Floats:
    p = np.asarray(probability, np.float64)
    if p.shape != (len(labels), len(classes)):
        raise ValueError(f"probability has shape {p.shape}, for {len(labels)} images and {len(classes)} classes")
    if not len(p):
        raise NoseprintError("there are no images to score")
    wrong = np.flatnonzero(~((p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) < _ROUNDING)))
    if len(wrong):
        raise NoseprintError(
            f"the probabilities of {len(wrong)} of {len(p)} images, first of row {wrong[0] + 1}, are no distribution: "
            "each must be at least 0, and their sum 1; take the softmax of the logits"
        )
    return p


def _sum_by_class(values: Floats, class_of: npt.NDArray[np.intp]) -> Floats:
    """The sums over each class's columns: (R, N) -> (R, C)."""
    order = np.argsort(class_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(class_of))[:-1]])
    return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def _mean_of_finite(values: Floats) -> Floats:
    """The mean of each row (R, C) over what is finite."""
    finite = np.isfinite(values)
    return np.asarray(np.where(finite, values, 0).sum(axis=1) / finite.sum(axis=1))
