"""Out-of-fold probabilities by a linear classifier on features, and rounds of cleaning with them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from noseprint.cleaning.options import RuleName
from noseprint.cleaning.suspicion import choose_rule, noise_channel, outside_top
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score, bootstrap_difference

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]

MOST_COLUMNS = 256
"""Features are reduced to this many principal components."""
SCALE = 20.0
"""Features have this length, so that the classifier can be sure of its answers."""
PENALTIES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""What `choose_penalty` chooses from: the weight of the squared weights of the classifier, beside the mean loss."""
COARSE = 5
"""The coarse step suspects labels outside this many most probable classes."""


@dataclass(frozen=True)
class Round:
    """One round of a cleaning: how many labels are suspect after it, how many are new, and how many returned."""

    number: int
    step: str
    suspect: int
    new: int
    returned: int


@dataclass(frozen=True)
class Cleaning:
    """What the rounds found about N labels.

    probabilities: (N, K), out-of-fold, of the last round. posterior: (N, K), by the rule. suspicion: (N,), higher is
    more suspect. since: (N,) the first round in a row, up to the last, in which the label was suspect; 0 for labels
    that are not suspect. found_by: (N,) which rules agree, "" if there is only one. rate: the share of wrong labels by
    the noise channel, whatever the rule.
    """

    probabilities: Floats
    posterior: Floats
    suspicion: Floats
    since: Labels
    found_by: tuple[str, ...]
    rate: float
    rounds: tuple[Round, ...]

    @property
    def suspect(self) -> Flags:
        """(N,)."""
        return self.since > 0


def assign_folds(labels: Sequence[str], *, folds: int, groups: Sequence[str] | None = None, seed: int = 0) -> Labels:
    """The fold of each image, (N,) in 0..folds-1: about the same share of each class, and no group in two folds.

    Raises NoseprintError if there are fewer images, or groups, than folds.
    """
    units = len(labels) if groups is None else len(set(groups))
    if not 2 <= folds <= units:
        kind = "images" if groups is None else "groups"
        raise NoseprintError(f"--folds {folds}: give 2 to {units}, the number of {kind}")
    kind_of_folds = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind_of_folds(folds, shuffle=True, random_state=seed)
    found = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        for fold, (_, rows) in enumerate(splitter.split(labels, labels, groups)):
            found[rows] = fold
    return found


def reduce_features(features: Floats) -> Floats:
    """Features (N, C), each of length 1, as at most MOST_COLUMNS principal components, times SCALE."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    columns = min(MOST_COLUMNS, *features.shape)
    reduced: Floats = SCALE * PCA(columns, svd_solver="covariance_eigh").fit_transform(directions.astype(np.float64))
    return reduced


def linear_probabilities(
    features: Floats, labels: Labels, weights: Weights, others: Floats, *, classes: int, penalty: float
) -> Floats:
    """Train a linear softmax classifier on the rows with a weight above 0; its probabilities (M, classes) of `others`.

    A class without such a row gets the probability 0.
    """
    kept = weights > 0
    known = np.unique(labels[kept])
    found = np.zeros((len(others), classes))
    if len(known) == 1:
        found[:, known[0]] = 1
        return found
    model = LogisticRegression(C=1 / (2 * penalty * weights[kept].sum()), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights do not matter
        model.fit(features[kept], labels[kept], sample_weight=weights[kept])
    scores = model.decision_function(others)
    if len(known) == 2:
        scores = np.stack([np.zeros(len(others)), scores], axis=1)
    found[:, known] = softmax(scores, axis=1)
    return found


def out_of_fold(
    features: Floats, labels: Labels, weights: Weights, folds: Labels, *, classes: int, penalty: float
) -> Floats:
    """The probabilities (N, classes) of each image by a classifier that was trained on the other folds."""
    found = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = linear_probabilities(
            features[~own], labels[~own], weights[~own], features[own], classes=classes, penalty=penalty
        )
    return found


def choose_penalty(features: Floats, labels: Labels, folds: Labels, *, classes: int) -> float:
    """The one of PENALTIES with the least out-of-fold log loss."""
    rows, weights = np.arange(len(labels)), np.ones(len(labels))

    def loss(penalty: float) -> float:
        found = out_of_fold(features, labels, weights, folds, classes=classes, penalty=penalty)[rows, labels]
        return float(-np.log(np.maximum(found, 1e-6)).mean())

    return min(PENALTIES, key=loss)


def clean(
    features: Floats,
    labels: Labels,
    folds: Labels,
    *,
    classes: int,
    rule: RuleName,
    rounds: int,
    penalty: float,
    certain: Flags | None = None,
) -> Cleaning:
    """Find suspect labels, train again without them, and so on: first roughly, outside the top 5, then by the rule.

    Each step ends after `rounds`, or when no label changes sides. In the coarse step, and by the rule top-k, a round
    after the first one only judges suspects again, and those that it agrees with return. By other rules it judges all
    labels again. With at most 2 * COARSE classes there is no coarse step. certain: (N,) labels that are never suspect.
    """
    certain = np.zeros(len(labels), bool) if certain is None else certain
    since, weights, log = np.zeros(len(labels), np.int64), np.ones(len(labels)), list[Round]()
    steps = [("coarse", outside_top(COARSE), True)] if classes > 2 * COARSE else []
    for step, judge, only_suspects in [*steps, ("fine", choose_rule(rule, features), rule == "top-k")]:
        for turn in range(rounds):
            probabilities = out_of_fold(features, labels, weights, folds, classes=classes, penalty=penalty)
            said = judge(probabilities, labels)
            before = since > 0
            suspect = said.suspect & ~certain & (before if only_suspects and turn else True)
            since = np.where(suspect, np.where(before, since, len(log) + 1), 0)
            weights = np.where(suspect, 0.0, 1.0)
            new, returned = int((suspect & ~before).sum()), int((before & ~suspect).sum())
            log.append(Round(len(log) + 1, step, int(suspect.sum()), new, returned))
            if turn and not new and not returned:
                break
    rate = noise_channel(probabilities, labels).rate
    found_by = said.found_by or ("",) * len(labels)
    return Cleaning(probabilities, said.posterior, said.suspicion, since, found_by, rate, tuple(log))


def gain_of_removal(
    features: Floats,
    labels: Labels,
    folds: Labels,
    *,
    classes: int,
    rule: RuleName,
    rounds: int,
    penalty: float,
    certain: Flags,
    groups: Sequence[str] | None = None,
) -> Score:
    """How much more often the label given to an unseen image is right if suspects are removed first, paired.

    Each fold is predicted by two classifiers that never saw it: trained on all images of the other folds, and without
    the suspects that were found among those alone. The interval of the difference is from a bootstrap over groups, or
    over images. Labels of unseen images are as noisy as those trained on. But noise that follows no pattern cannot be
    predicted, so it lowers both figures alike.
    """
    before, after = np.zeros(len(labels)), np.zeros(len(labels))
    settings = {"classes": classes, "penalty": penalty}
    for fold in np.unique(folds):
        own = folds == fold
        train = features[~own], labels[~own]
        inner = clean(*train, folds[~own], rule=rule, rounds=rounds, certain=certain[~own], **settings)
        for right, weights in ((before, np.ones((~own).sum())), (after, (~inner.suspect).astype(float))):
            found = linear_probabilities(*train, weights, features[own], **settings)
            right[own] = found.argmax(axis=1) == labels[own]
    units = [str(row) for row in range(len(labels))] if groups is None else list(groups)
    return bootstrap_difference(after, before, units, seed=0)
