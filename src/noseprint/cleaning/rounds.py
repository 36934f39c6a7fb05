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

from noseprint.cleaning.suspicion import noise_channel
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score, bootstrap_difference

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

MOST_COLUMNS = 256
"""Features are reduced to this many principal components."""
SCALE = 20.0
"""Features have this length, so that the classifier can be sure of its answers."""
PENALTY = 3e-4
"""Of the squared weights of the linear classifier, against the mean loss."""
SUSPECT_ABOVE = 0.5
"""A label is suspect if its posterior probability is at most one half."""


@dataclass(frozen=True)
class Cleaning:
    """What the rounds found about N labels.

    probabilities: (N, K), out-of-fold, after the last round. posterior: (N, K), given the label, too. suspicion: (N,),
    1 - the posterior of the label. suspect_since: (N,) the first round in a row, up to the last, in which the label
    was suspect; 0 for labels that are not suspect. rate: the estimated share of wrong labels. rounds: how many ran.
    """

    probabilities: Floats
    posterior: Floats
    suspicion: Floats
    suspect_since: Labels
    rate: float
    rounds: int

    @property
    def suspect(self) -> npt.NDArray[np.bool_]:
        """(N,)."""
        return self.suspect_since > 0


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


def linear_probabilities(features: Floats, labels: Labels, weights: Weights, others: Floats, *, classes: int) -> Floats:
    """Train a linear softmax classifier on the rows with a weight above 0; its probabilities (M, classes) of `others`.

    A class without such a row gets the probability 0.
    """
    kept = weights > 0
    known = np.unique(labels[kept])
    found = np.zeros((len(others), classes))
    if len(known) == 1:
        found[:, known[0]] = 1
        return found
    model = LogisticRegression(C=1 / (2 * PENALTY * weights[kept].sum()), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights do not matter
        model.fit(features[kept], labels[kept], sample_weight=weights[kept])
    scores = model.decision_function(others)
    if len(known) == 2:
        scores = np.stack([np.zeros(len(others)), scores], axis=1)
    found[:, known] = softmax(scores, axis=1)
    return found


def out_of_fold(features: Floats, labels: Labels, weights: Weights, folds: Labels, *, classes: int) -> Floats:
    """The probabilities (N, classes) of each image by a classifier that was trained on the other folds."""
    found = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = linear_probabilities(features[~own], labels[~own], weights[~own], features[own], classes=classes)
    return found


def clean(features: Floats, labels: Labels, folds: Labels, *, classes: int, rounds: int) -> Cleaning:
    """Find suspect labels by the noise channel, train again without them, and so on.

    Each round judges all labels, so one that was suspect may return. It ends after `rounds`, or when no label changes
    sides.
    """
    weights = np.ones(len(labels))
    since = np.zeros(len(labels), np.int64)
    for number in range(1, rounds + 1):
        probabilities = out_of_fold(features, labels, weights, folds, classes=classes)
        channel = noise_channel(probabilities, labels)
        suspicion = channel.suspicion(labels)
        suspect = suspicion >= SUSPECT_ABOVE
        unchanged = number > 1 and bool((suspect == (since > 0)).all())
        since = np.where(suspect, np.where(since > 0, since, number), 0)
        weights = np.where(suspect, 0.0, 1 - suspicion)
        if unchanged:
            break
    return Cleaning(probabilities, channel.posterior, suspicion, since, channel.rate, number)


def gain_of_removal(
    features: Floats,
    labels: Labels,
    folds: Labels,
    *,
    classes: int,
    rounds: int,
    groups: Sequence[str] | None = None,
) -> Score:
    """How much more often the label given to an unseen image is right if suspects are removed first, paired.

    Each fold is predicted by two classifiers that never saw it: trained on all images of the other folds, and without
    the suspects that were found among those alone. The interval of the difference is from a bootstrap over groups, or
    over images. Labels of unseen images are as noisy as those trained on. But noise that follows no pattern cannot be
    predicted, so it lowers both figures alike.
    """
    before, after = np.zeros(len(labels)), np.zeros(len(labels))
    for fold in np.unique(folds):
        own = folds == fold
        inner = clean(features[~own], labels[~own], folds[~own], classes=classes, rounds=rounds)
        for right, weights in ((before, np.ones((~own).sum())), (after, (~inner.suspect).astype(float))):
            found = linear_probabilities(features[~own], labels[~own], weights, features[own], classes=classes)
            right[own] = found.argmax(axis=1) == labels[own]
    units = [str(row) for row in range(len(labels))] if groups is None else list(groups)
    return bootstrap_difference(after, before, units, seed=0)
