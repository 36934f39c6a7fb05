"""Out-of-fold probabilities by a linear classifier on features, and rounds of cleaning with them."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.covariance import shrunk_covariance
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from noseprint.cleaning.options import RuleName
from noseprint.cleaning.suspicion import SUSPECT_ABOVE, Rule, choose_rule, noise_channel, outside_top
from noseprint.metrics.bootstrap import Score, bootstrap_difference
from noseprint.progress import progress

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST_COLUMNS = 256
"""Features are reduced to this many principal components."""
SCALE = 20.0
"""Features have this length, so that training by gradient steps comes to sure answers."""
PENALTY = 1e-3
"""Of the squared weights of the logistic regression, beside the mean loss."""
GAIN_COVERAGE = 0.8
"""Coverage of the interval of the gain of removal. If it lies above 0, the probability of harm is at most 10 %."""
COARSE = 5
"""The coarse step suspects labels outside this many most probable classes."""


@dataclass(frozen=True)
class Settings:
    """Of the linear classifier.

    shrinkage: of the covariance towards a multiple of the identity, in 0..1. temperature: a factor of the classes' log
    likelihoods, in 0..1; they are too sure, as the covariance is estimated from the images that they are trained on.
    """

    shrinkage: float
    temperature: float


SHRINKAGES, TEMPERATURES = (0.1, 0.3, 0.6), (0.08, 0.12, 0.16, 0.2, 0.3, 0.5, 1.0)
"""What `choose_settings` chooses from."""


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


def reduce_features(features: Floats) -> Floats:
    """Features (N, C), each of length 1, as at most MOST_COLUMNS principal components, times SCALE."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    columns = min(MOST_COLUMNS, *features.shape)
    reduced: Floats = SCALE * PCA(columns, svd_solver="covariance_eigh").fit_transform(directions.astype(np.float64))
    return reduced


def linear_probabilities(
    features: Floats, labels: Labels, kept: Flags, others: Floats, *, classes: int, settings: Settings
) -> Floats:
    """Train a linear classifier on the rows that are kept; its probabilities (M, classes) of `others`.

    It is linear discriminant analysis: each class is a Gaussian, and all share one covariance. It is trained in one
    step, and wrong labels only shift the means, while logistic regression goes on to fit each of them. A class without
    a row that is kept gets the probability 0; if nothing is kept, all classes have the same.
    """
    if not kept.any():
        return np.full((len(others), classes), 1 / classes)
    rows, of_row = features[kept], labels[kept]
    count = np.bincount(of_row, minlength=classes)
    means = np.zeros((classes, features.shape[1]))
    np.add.at(means, of_row, rows)
    means /= np.maximum(count, 1)[:, None]
    within = rows - means[of_row]
    covariance = shrunk_covariance(within.T @ within / len(rows), settings.shrinkage)
    covariance.flat[:: len(covariance) + 1] += 1e-9  # one image a class leaves nothing within
    directions = np.linalg.solve(covariance, means.T)
    scores = others @ directions - (means.T * directions).sum(axis=0) / 2
    with np.errstate(divide="ignore"):
        found: Floats = softmax(settings.temperature * scores + np.log(count), axis=1)
    return found


def out_of_fold(
    features: Floats, labels: Labels, kept: Flags, folds: Labels, *, classes: int, settings: Settings
) -> Floats:
    """The probabilities (N, classes) of each image by a classifier that was trained on what is kept of other folds."""
    found = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = linear_probabilities(
            features[~own], labels[~own], kept[~own], features[own], classes=classes, settings=settings
        )
    return found


def choose_settings(features: Floats, labels: Labels, folds: Labels, *, classes: int) -> Settings:
    """The settings under which the labels are most likely, given that some are wrong: a temperature, then a shrinkage.

    The likelihood of a label is by the noise channel of the other folds, after a round without suspects. The plain log
    loss would choose an unsure classifier: wrong labels cost it least.
    """

    def loss(settings: Settings) -> float:
        kept = np.ones(len(labels), bool)
        for _ in range(2):
            probabilities = out_of_fold(features, labels, kept, folds, classes=classes, settings=settings)
            kept = noise_channel(probabilities, labels).suspicion(labels) < SUSPECT_ABOVE
        total = 0.0
        for fold in np.unique(folds):
            own = folds == fold
            matrix = noise_channel(probabilities[~own], labels[~own]).matrix
            likelihood = (probabilities[own] * matrix[:, labels[own]].T).sum(axis=1)
            total -= float(np.log(np.maximum(likelihood, 1e-12)).sum())
        bar.update()
        return total

    with progress(total=len(TEMPERATURES) + len(SHRINKAGES), desc="settings", leave=False) as bar:
        first = min((Settings(SHRINKAGES[1], value) for value in TEMPERATURES), key=loss)
        return min((Settings(value, first.temperature) for value in SHRINKAGES), key=loss)


def clean(
    features: Floats,
    labels: Labels,
    folds: Labels,
    *,
    classes: int,
    rule: RuleName,
    rounds: int,
    settings: Settings,
    certain: Flags | None = None,
) -> Cleaning:
    """Find suspect labels, train again without them, and so on: first roughly, outside the top 5, then by the rule.

    Each step ends after `rounds`, or when no label changes sides. In the coarse step, and by the rule top-k, a round
    after the first one only judges suspects again, and those that it agrees with return. By other rules it judges all
    labels again. With at most 2 * COARSE classes there is no coarse step. certain: (N,) labels that are never suspect.
    """
    sides = _Sides(labels, certain)
    steps = [("coarse", outside_top(COARSE), True)] if classes > 2 * COARSE else []
    for step, judge, only_suspects in [*steps, ("fine", choose_rule(rule, features), rule == "top-k")]:
        for turn in range(rounds):
            probabilities = out_of_fold(features, labels, sides.since == 0, folds, classes=classes, settings=settings)
            changed = sides.judge(judge, probabilities, step=step, only_suspects=only_suspects and turn > 0)
            if turn and not changed:
                break
    return sides.cleaning()


def judge_networks(
    rounds: Sequence[Floats], labels: Labels, *, features: Floats, rule: RuleName, certain: Flags | None = None
) -> Cleaning:
    """What `clean` finds, from out-of-fold probabilities (N, K) of other networks, trained in rounds.

    There is no coarse step. features: (N, C), see `choose_rule`. certain: as for `clean`.
    """
    sides = _Sides(labels, certain)
    for turn, probabilities in enumerate(rounds):
        only_suspects = rule == "top-k" and turn > 0
        sides.judge(choose_rule(rule, features), probabilities, step="fine", only_suspects=only_suspects)
    return sides.cleaning()


class _Sides:
    """Which labels are suspect, round after round."""

    def __init__(self, labels: Labels, certain: Flags | None) -> None:
        self._labels, self._log = labels, list[Round]()
        self._certain = np.zeros(len(labels), bool) if certain is None else certain
        self.since = np.zeros(len(labels), np.int64)

    def judge(self, rule: Rule, probabilities: Floats, *, step: str, only_suspects: bool) -> bool:
        """One more round; whether a label changed sides. only_suspects: nothing else can be suspect."""
        self._probabilities, self._said = probabilities, rule(probabilities, self._labels)
        before, number = self.since > 0, len(self._log) + 1
        suspect = self._said.suspect & ~self._certain & (before if only_suspects else True)
        self.since = np.where(suspect, np.where(before, self.since, number), 0)
        new, returned = int((suspect & ~before).sum()), int((before & ~suspect).sum())
        self._log.append(Round(number, step, int(suspect.sum()), new, returned))
        return bool(new or returned)

    def cleaning(self) -> Cleaning:
        """What was found, after at least one round."""
        said, rate = self._said, noise_channel(self._probabilities, self._labels).rate
        found_by = said.found_by or ("",) * len(self._labels)
        return Cleaning(
            self._probabilities, said.posterior, said.suspicion, self.since, found_by, rate, tuple(self._log)
        )


def gain_of_removal(
    features: Floats,
    labels: Labels,
    folds: Labels,
    judge: Callable[..., Cleaning],
    *,
    certain: Flags,
    groups: Sequence[str] | None = None,
) -> Score:
    """How much more often the label given to an unseen image is right if suspects are removed first, paired.

    Each fold is predicted by two classifiers that never saw it: trained on all images of the other folds, and without
    the suspects that were found among those alone. They are trained as networks are, by steps down the gradient
    (logistic regression), and so suffer from wrong labels as networks do; the classifier that finds the suspects hardly
    does. The interval of the difference is from a bootstrap over groups, or over images, with GAIN_COVERAGE. Labels of
    unseen images are as noisy as those trained on. But noise that follows no pattern cannot be predicted, so it lowers
    both figures alike. If training on all images predicts less than always answering the largest class, as it may where
    labels are random, the gain is over that answer.

    judge: `clean` with all options but `certain`.
    """
    before, after = np.zeros(len(labels)), np.zeros(len(labels))
    for fold in progress(np.unique(folds), desc="does removal help", unit="fold", leave=False):
        own = folds == fold
        train = features[~own], labels[~own]
        inner = judge(*train, folds[~own], certain=certain[~own])
        for right, kept in ((before, np.ones(len(inner.since), bool)), (after, ~inner.suspect)):
            right[own] = _predict(*train, kept, features[own]) == labels[own]
    constant = (labels == np.bincount(labels).argmax()).astype(np.float64)
    before = max(before, constant, key=np.mean)
    units = [str(row) for row in range(len(labels))] if groups is None else list(groups)
    return bootstrap_difference(after, before, units, seed=0, coverage=GAIN_COVERAGE)


def _predict(features: Floats, labels: Labels, kept: Flags, others: Floats) -> Labels:
    """The classes (M,) of `others` by logistic regression on the rows that are kept; -1 without two classes."""
    if len(np.unique(labels[kept])) < 2:
        return np.full(len(others), -1)
    model = LogisticRegression(C=1 / (2 * PENALTY * kept.sum()), tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights do not matter
        model.fit(features[kept].astype(np.float32), labels[kept])
    found: Labels = model.predict(others.astype(np.float32))
    return found
