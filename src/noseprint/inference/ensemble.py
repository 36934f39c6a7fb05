"""The answers of several classifiers as one: the mean, a vote, or a greedy selection; and how sure the answer is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs
from noseprint.metrics.calibration_error import LEAST_PROBABILITY
from noseprint.metrics.classification import mean_per_class

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

MOST_JOINS = 20
"""A greedy selection adds at most this many members, one of them as often as it helps."""
TEMPERATURES = (0.05, 20.0)
PRIOR_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""The shares that `choose_prior_share` tries."""


@dataclass(frozen=True)
class Join:
    """A member that joined a greedy selection, and the hold-out's share of right answers and log loss from then on."""

    member: int
    accuracy: float
    log_loss: float


def weighted_mean(members: Iterable[Floats], weights: Sequence[float]) -> Floats:
    """The mean of the members' probabilities, each (N, K). weights: of each member, with a sum above 0."""
    parts = (weight * member for member, weight in zip(members, weights, strict=True) if weight)
    mean: Floats = reduce(np.add, parts) / sum(weights)
    return mean


def vote(members: Sequence[Floats]) -> Floats:
    """Each member votes for its first answer; of equally many votes, the class that is more probable on average wins.

    members: the probabilities of each, (N, K). Returns rows (N, K) with the sum 1: the share of the votes, where the
    mean probability counts as one more vote that is split among the classes.
    """
    total = weighted_mean(members, [1] * len(members))
    rows = np.arange(len(total))
    for member in members:
        total[rows, member.argmax(axis=1)] += 1
    shares: Floats = total / (len(members) + 1)
    return shares


def greedy_selection(members: Sequence[Floats], truth: Ints) -> list[Join]:
    """Choose members whose mean is right most often on the hold-out.

    Starts with the best member, then adds the one, also one that is in already, with which the mean is right most
    often, and so on; of all ensembles on the way the best is kept. A tie goes to the smaller ensemble, and between
    members to the lower log loss, then to the first (Caruana et al., "Ensemble Selection from Libraries of Models",
    2004, section 2.1).

    members: the probabilities of each, (N, K). truth: (N,) the right class of each image.
    Returns those that joined, in order: the mean of their probabilities is the ensemble's.
    """
    rows = np.arange(len(truth))
    total, joins = np.zeros_like(members[0]), list[Join]()
    for number in range(1, MOST_JOINS + 1):
        found = []
        for index, member in enumerate(members):
            mean = (total + member) / number
            right = int((mean.argmax(axis=1) == truth).sum())
            found.append((-right, -np.log(np.maximum(mean[rows, truth], LEAST_PROBABILITY)).mean(), index))
        wrong, loss, index = min(found)
        total = total + members[index]
        joins.append(Join(index, -wrong / len(truth), float(loss)))
    best = int(np.argmax([join.accuracy for join in joins]))  # the first of equals: the smallest ensemble
    return joins[: best + 1]


def fit_temperature(probability: Floats, truth: Ints) -> float:
    """The temperature at which probabilities fit the hold-out best: above 1 where they are too sure.

    It minimises the log loss (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2).
    Each image counts as 1 / (N + 2) of an image of every class, too, as Platt does: so a few images that are all right
    do not make it sure of everything.

    probability: (N, K). truth: (N,) the right class of each image.
    """
    logits = np.log(np.maximum(probability, LEAST_PROBABILITY))
    spread = 1 / (len(truth) + 2)
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]
    target = (1 - spread) * own + spread * logits.mean(axis=1)  # the logit of the smoothed target

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(logits * inverse, axis=1) - target * inverse).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def with_temperature(probability: Floats, temperature: float) -> Floats:
    """Probabilities (N, K), less sure at a temperature above 1: p ** (1 / temperature), normalised."""
    adjusted: Floats = softmax(np.log(np.maximum(probability, LEAST_PROBABILITY)) / temperature, axis=1)
    return adjusted


def without_prior(probability: Floats, counts: Ints, share: float) -> Floats:
    """Probabilities (N, K) that favour frequent classes less: p / n ** share, normalised.

    counts: (K,) the number n of training images of each class. share: how much of the log prior is taken away, in
    0..1 (post-hoc logit adjustment, arXiv 2007.07314, section 4.1).
    """
    adjusted = np.maximum(probability, LEAST_PROBABILITY) / np.maximum(counts, 1) ** share
    rows: Floats = adjusted / adjusted.sum(axis=1, keepdims=True)
    return rows


def choose_prior_share(probability: Floats, truth: Ints, counts: Ints) -> float:
    """The share for `without_prior` with the best mean per class on the hold-out, at no loss of top-1 there.

    probability: (N, K) of the hold-out. truth: (N,) the right class of each image. counts: (K,).
    """
    labels = truth.tolist()
    found = []
    for share in PRIOR_SHARES:
        right = without_prior(probability, counts, share).argmax(axis=1) == truth
        found.append((mean_per_class(right, labels), float(right.mean()), share))
    least = found[0][1]
    per_class, _, share = max((one for one in found if one[1] >= least), key=lambda one: (one[0], -one[2]))
    return share if per_class > found[0][0] else 0.0


def mean_answers(members: Sequence[ClassifierOutputs], *, classes: Sequence[str]) -> npt.NDArray[np.float32]:
    """The mean of the probabilities of members that answer with `classes` (K,): (N, K).

    Raises NoseprintError if a member has other classes.
    """
    for member in members:
        if member.classes != tuple(classes):
            other = sorted(set(member.classes) ^ set(classes))
            raise NoseprintError(
                f"a member has other classes than the training images have now, such as {', '.join(other[:3])}: train "
                "the members again"
            )
    return weighted_mean((softmax(member.logits, axis=1) for member in members), [1] * len(members)).astype(np.float32)
