"""Fitting calibration curves to labelled pairs, and judging them on identities that they have not seen."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from noseprint.calibration.curves import Beta, Calibration, Floats, Isotonic, Platt, beta_features, probability_at
from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Flags

FOLDS = 10
Similarities = npt.NDArray[np.floating]
Names = npt.NDArray[np.str_]


def fit_platt(similarity: Similarities, same: Flags) -> Platt:
    """Fit `Platt` to pairs (P,), weighted as if half of them were the same.

    Platt, "Probabilistic outputs for support vector machines" (1999). His targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2)
    instead of 1 and 0 keep the slope finite if a similarity separates the pairs perfectly. The ridge (C = 100 on the
    standardised similarity) only settles the last digits. A negative slope becomes 0, so that a higher similarity never
    has a lower probability.

    Raises NoseprintError unless there are same and different pairs and all similarities are finite.
    """
    similarity, same = _check_pairs(similarity, same)
    slope, intercept = _logistic(similarity[:, None], same)
    if slope[0] < 0:
        return Platt(0.0, _logistic(similarity[:, None][:, :0], same)[1])
    return Platt(float(slope[0]), intercept)


def fit_beta(similarity: Similarities, same: Flags) -> Beta:
    """Fit `Beta`, with the targets, weights and errors of `fit_platt`.

    As in the paper, a term with a negative factor is dropped and the rest is fitted again. If both are dropped, the
    log-odds are constant.
    """
    similarity, same = _check_pairs(similarity, same)
    features = beta_features(similarity)
    terms = [0, 1]
    while True:
        factors, c = _logistic(features[:, terms], same)
        if (factors >= 0).all():
            break
        del terms[int(np.argmin(factors))]
    ab = np.zeros(2)
    ab[terms] = factors
    return Beta(float(ab[0]), float(ab[1]), c)


def fit_isotonic(similarity: Similarities, same: Flags) -> Isotonic:
    """Fit `Isotonic`, with the weights and errors of `fit_platt`, by scikit-learn's pool-adjacent-violators.

    Each block's share k / n of same pairs becomes (k + 1) / (n + 2) by Laplace's rule, so that no probability is 0 or
    1; blocks that no longer increase are pooled again. A block's knot lies at its mean similarity. Lines between knots
    instead of steps give a higher similarity a higher probability (centred isotonic regression, Oron and Flournoy,
    Stat. Biopharm. Res. 9, 2017).
    """
    similarity, same = _check_pairs(similarity, same)
    order = np.argsort(similarity, kind="stable")
    values, group = np.unique(similarity[order], return_inverse=True)
    size = np.bincount(group)
    weights = _balanced_weights(same[order])
    weight, hits = np.bincount(group, weights), np.bincount(group, weights * same[order])
    block = np.unique(isotonic_regression(hits / weight, sample_weight=weight), return_inverse=True)[1]
    pairs, good = np.bincount(block, weight), np.bincount(block, hits)
    share = isotonic_regression((good + 1) / (pairs + 2), sample_weight=pairs)
    share, pooled = np.unique(share, return_inverse=True)
    knot = pooled[block]
    at = np.bincount(knot, values * size) / np.bincount(knot, size)
    return Isotonic(tuple(at.tolist()), tuple((np.log(share) - np.log1p(-share)).tolist()))


FITS = (fit_platt, fit_beta, fit_isotonic)
"""From the fewest parameters to the most."""


def fit_calibration(similarity: Similarities, same: Flags, identity_a: Names, identity_b: Names) -> Calibration:
    """Fit the family that predicts pairs of unseen identities best.

    Families are compared by the log loss on the folds of `identity_folds`; same and different pairs have equal weight.
    The simplest family is chosen whose mean loss exceeds the lowest by at most one standard error of their difference
    over the folds (Breiman et al., "Classification and Regression Trees", 1984, 3.4.3). A hold-out has few identities,
    so chance decides between nearly equal families, and a simpler curve is safer beyond the similarities seen. With
    fewer than two folds, Platt's curve is chosen.

    similarity, same: (P,) of pairs of images. identity_a, identity_b: (P,) identities of each pair's two images.
    Raises NoseprintError as `fit_platt` does.
    """
    losses = np.array(
        [
            [_log_loss(fit(similarity[train], same[train]).log_odds(similarity[test]), same[test]) for fit in FITS]
            for train, test in identity_folds(same, identity_a, identity_b)
        ]
    )
    if len(losses) < 2:
        return fit_platt(similarity, same)
    excess = losses - losses[:, [losses.mean(axis=0).argmin()]]
    error = excess.std(axis=0, ddof=1) / math.sqrt(len(excess))
    return FITS[int(np.flatnonzero(excess.mean(axis=0) <= error)[0])](similarity, same)


def cross_fit_probabilities(similarity: Similarities, same: Flags, identity_a: Names, identity_b: Names) -> Floats:
    """The probability (P,) of each pair, by calibrations that were chosen and fitted without its fold's identities.

    Arguments are those of `fit_calibration`. A pair that is in two folds gets the mean of its two log-odds.
    Raises NoseprintError if a pair is in no fold.
    """
    total, times = np.zeros(len(same)), np.zeros(len(same))
    for train, test in identity_folds(same, identity_a, identity_b):
        fitted = fit_calibration(similarity[train], same[train], identity_a[train], identity_b[train])
        total[test] += fitted.log_odds(similarity[test])
        times[test] += 1
    if not times.all():
        raise NoseprintError(
            f"{len(np.unique(identity_a[same]))} identities with same pairs are too few to judge a "
            "calibration, or one of them has nearly all pairs: hold out more identities"
        )
    return probability_at(total / times)


def identity_folds(same: Flags, identity_a: Names, identity_b: Names) -> Iterator[tuple[Flags, Flags]]:
    """Split the identities into up to FOLDS folds; yield masks (P,) of the pairs to fit on and the pairs to judge on.

    A fold's calibration is judged on the pairs with an identity of the fold and fitted on the others. A fold is skipped
    if either part lacks same or different pairs.
    """
    names, number = np.unique(np.concatenate([identity_a, identity_b]), return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(names)) % FOLDS
    a, b = fold_of[number[: len(same)]], fold_of[number[len(same) :]]
    for fold in range(min(FOLDS, len(names))):
        test = (a == fold) | (b == fold)
        if all(0 < same[side].sum() < side.sum() for side in (test, ~test)):
            yield ~test, test


def _logistic(features: Floats, same: Flags) -> tuple[Floats, float]:
    """Logistic regression on Platt's soft targets: factors (F,) of the features (P, F), and the intercept."""
    positives, negatives = int(same.sum()), int((~same).sum())
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weight = _balanced_weights(same)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    if features.shape[1] == 0 or not scale.any():
        return np.zeros(features.shape[1]), float(np.log(weight @ target) - np.log(weight @ (1 - target)))
    standard = (features - centre) / np.where(scale > 0, scale, 1)
    # A soft target t is one sample of each class, with weights t and 1 - t.
    model = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000, solver="newton-cholesky")
    model.fit(
        np.concatenate([standard, standard]),
        np.repeat([True, False], len(same)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    factors = model.coef_[0] / np.where(scale > 0, scale, 1)
    return factors, float(model.intercept_[0] - factors @ centre)


def _balanced_weights(same: Flags) -> Floats:
    """Weights (P,) with mean 1 that give same and different pairs equal total weight."""
    share = same.mean()
    return np.asarray(np.where(same, 0.5 / share, 0.5 / (1 - share)))


def _log_loss(log_odds: Floats, same: Flags) -> float:
    """Log loss in nats; same and different pairs have equal total weight."""
    return float(np.mean(_balanced_weights(same) * np.logaddexp(0, np.where(same, -log_odds, log_odds))))


def _check_pairs(similarity: Similarities, same: Flags) -> tuple[Floats, Flags]:
    values, same = np.asarray(similarity, dtype=np.float64), np.asarray(same, dtype=bool)
    if not np.isfinite(values).all():
        raise NoseprintError(
            "calibration needs finite similarities: a network's embeddings are not finite; train it again"
        )
    positives, negatives = int(same.sum()), int((~same).sum())
    if positives == 0 or negatives == 0:
        raise NoseprintError(
            f"calibration needs same and different pairs, but there are {positives} and {negatives}: "
            "hold out more identities"
        )
    return values, same
