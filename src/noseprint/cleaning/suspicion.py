"""Which labels are suspect, by out-of-fold probabilities: those of a network that has not seen the image's label.

Probabilities are (N, K), labels (N,) class numbers in 0..K-1. A suspicion is (N,), and higher is more suspect. A `Rule`
is a function of both; `choose_rule` gives the one of a name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from noseprint.cleaning.area_under_margin import area_under_margin, mean_margins
from noseprint.cleaning.options import RuleName

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


def label_ranks(probabilities: Floats, labels: Labels) -> npt.NDArray[np.int64]:
    """The rank of each label among the classes, from 1 for the most probable; equal probabilities share the best."""
    of_label = probabilities[np.arange(len(labels)), labels]
    ranks: npt.NDArray[np.int64] = 1 + (probabilities > of_label[:, None]).sum(axis=1)
    return ranks


def self_confidence(probabilities: Floats, labels: Labels) -> Floats:
    """Suspicion by the probability p of the label: 1 - p, in 0..1."""
    suspicion: Floats = 1 - probabilities[np.arange(len(labels)), labels]
    return suspicion


def margin(probabilities: Floats, labels: Labels) -> Floats:
    """Suspicion by the probability of the best other class over that of the label, in -1..1."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1
    suspicion: Floats = others.max(axis=1) - probabilities[rows, labels]
    return suspicion


def confident_learning(probabilities: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
    """Which labels are suspect by confident learning (Northcutt et al., arXiv 1911.00068, "prune by class").

    A class's threshold is the mean probability of the class over the images with its label. An image counts as a member
    of the most probable class whose threshold it reaches. The counts, scaled to the images of each label, estimate how
    many labels of each class are wrong. That many of its images are suspect: those with the lowest probability of the
    label.
    """
    classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=classes)
    threshold = np.array([probabilities[labels == k, k].mean() if given[k] else np.inf for k in range(classes)])
    reached = probabilities >= threshold - 1e-12
    member = np.where(reached, probabilities, -1).argmax(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[reached.any(axis=1)], member[reached.any(axis=1)]), 1)
    right = np.diag(joint) / np.maximum(joint.sum(axis=1), 1)
    wrong = np.floor(given * np.where(joint.sum(axis=1) > 0, 1 - right, 0) + 1e-9).astype(int)
    suspect = np.zeros(len(labels), bool)
    for k in np.flatnonzero(wrong):
        rows = np.flatnonzero(labels == k)
        suspect[rows[np.argsort(probabilities[rows, k], kind="stable")[: wrong[k]]]] = True
    return suspect


@dataclass(frozen=True)
class NoiseChannel:
    """How labels are mistaken, estimated from the labels given.

    rate: the share of wrong labels, in 0..1. matrix: (K, K), row by true class: the probability of each label.
    posterior: (N, K), the probability of each class for each image, given its label, too.
    """

    rate: float
    matrix: npt.NDArray[np.float64]
    posterior: npt.NDArray[np.float64]

    def suspicion(self, labels: Labels) -> Floats:
        """1 - the posterior probability of the label, in 0..1. Above 0.5, the label is probably wrong."""
        return self_confidence(self.posterior, labels)


PRIOR_IMAGES = 10.0
"""The prior of each row of the channel counts as this many images."""
FIRST_RATE = 0.3
"""The share of wrong labels that the estimate starts from."""
ROUNDS = 30
"""Rounds of expectation maximisation. After them the rate moves by less than 0.001 a round."""


def noise_channel(probabilities: Floats, labels: Labels) -> NoiseChannel:
    """Estimate the noise channel by expectation maximisation (Dawid & Skene 1979, with the network as one rater).

    An image of true class i gets the label j with probability matrix[i, j], whatever it shows. So its class has the
    posterior p[i] * matrix[i, label], normalised. The matrix is fitted to the posteriors of all images. Each row has a
    prior of PRIOR_IMAGES: the right label with 1 - rate, the others by how often their labels are given.
    """
    classes = probabilities.shape[1]
    given = np.bincount(labels, minlength=classes) + 1.0
    spread = np.tile(given, (classes, 1))
    np.fill_diagonal(spread, 0)
    spread /= spread.sum(axis=1, keepdims=True)
    right = np.eye(classes)
    matrix = (1 - FIRST_RATE) * right + FIRST_RATE * spread
    likely = np.maximum(probabilities.astype(np.float64), 1e-12)
    posterior, rate = likely, FIRST_RATE
    for _ in range(ROUNDS):
        posterior = likely * matrix[:, labels].T
        posterior /= posterior.sum(axis=1, keepdims=True)
        counts = np.zeros((classes, classes))
        np.add.at(counts.T, labels, posterior)
        rate = 1 - np.trace(counts) / counts.sum()
        matrix = counts + PRIOR_IMAGES * ((1 - rate) * right + rate * spread)
        matrix /= matrix.sum(axis=1, keepdims=True)
    return NoiseChannel(rate=float(rate), matrix=matrix, posterior=posterior)


@dataclass(frozen=True)
class Judgement:
    """What a rule says about N labels.

    suspicion: (N,), higher is more suspect. suspect: (N,). posterior: (N, K), how probable each class is. found_by:
    which rules find each label suspect, if several are asked.
    """

    suspicion: Floats
    suspect: Flags
    posterior: Floats
    found_by: tuple[str, ...] = ()


Rule = Callable[[Floats, Labels], Judgement]
"""From out-of-fold probabilities and labels to a judgement."""
SUSPECT_ABOVE = 0.5
"""By the noise channel, a label is suspect if its posterior probability is at most one half."""


def choose_rule(name: RuleName, features: Floats) -> Rule:
    """The rule of that name for the images with these features (N, C), which only noise-channel and aum use.

    The rule noise-channel trains once, on the labels that it judges first, so it is for one set of labels.
    """
    learned: list[Floats] = []

    def by_channel(probabilities: Floats, labels: Labels) -> Judgement:
        """The ranking is the mean of two: by the channel, and by how late a label is learned.

        A label is suspect if it is one of the n that are probably wrong by the channel, and one of the first n of the
        ranking.
        """
        channel = noise_channel(probabilities, labels)
        doubt = channel.suspicion(labels)
        if not learned:
            learned.append(mean_margins(features, labels, probabilities.shape[1]))
        suspicion = (rankdata(doubt) + rankdata(-learned[0])) / (2 * len(labels))
        doubted = doubt >= SUSPECT_ABOVE
        return Judgement(suspicion, doubted & first(suspicion, int(doubted.sum())), channel.posterior)

    def by_confident_learning(probabilities: Floats, labels: Labels) -> Judgement:
        suspect = confident_learning(probabilities, labels)
        return Judgement(self_confidence(probabilities, labels), suspect, probabilities)

    def by_margin_in_training(probabilities: Floats, labels: Labels) -> Judgement:
        suspicion = -area_under_margin(features, labels)
        return Judgement(suspicion, suspicion > 0, probabilities)

    rules: dict[RuleName, Rule] = {
        "noise-channel": by_channel,
        "top-k": outside_top(1),
        "confident-learning": by_confident_learning,
        "aum": by_margin_in_training,
    }
    voters = dict(rules)
    rules |= {
        "self-confidence": most_suspicious(self_confidence),
        "margin": most_suspicious(margin),
        "agreement": agreement(voters),
    }
    return rules[name]


def first(suspicion: Floats, number: int) -> Flags:
    """Which rows are the `number` most suspicious."""
    found = np.zeros(len(suspicion), bool)
    found[np.argsort(-suspicion, kind="stable")[:number]] = True
    return found


def outside_top(number: int) -> Rule:
    """A label is suspect if at least `number` classes are more probable. The ranking is that of self-confidence."""

    def rule(probabilities: Floats, labels: Labels) -> Judgement:
        suspect = label_ranks(probabilities, labels) > number
        return Judgement(self_confidence(probabilities, labels), suspect, probabilities)

    return rule


def most_suspicious(score: Callable[[Floats, Labels], Floats]) -> Rule:
    """For a score without a limit of its own: as many labels are suspect as the noise channel estimates to be wrong."""

    def rule(probabilities: Floats, labels: Labels) -> Judgement:
        suspicion = score(probabilities, labels)
        number = round(noise_channel(probabilities, labels).rate * len(labels))
        return Judgement(suspicion, first(suspicion, number), probabilities)

    return rule


def agreement(voters: Mapping[RuleName, Rule]) -> Rule:
    """A label is suspect if at least two rules find it so. The ranking is by the mean of its ranks by each rule."""

    def rule(probabilities: Floats, labels: Labels) -> Judgement:
        said = {name: voter(probabilities, labels) for name, voter in voters.items()}
        votes = np.stack([each.suspect for each in said.values()], axis=1)
        ranks = [rankdata(each.suspicion) / len(labels) for each in said.values()]
        found_by = tuple(" and ".join(name for name, vote in zip(said, row, strict=True) if vote) for row in votes)
        return Judgement(np.mean(ranks, axis=0), votes.sum(axis=1) >= 2, probabilities, found_by)

    return rule
