"""Fitting a calibration to pairs whose truth is known, and judging it by identities that it has not seen."""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from noseprint.calibration.curves import (
    Beta,
    Calibration,
    Flags,
    Floats,
    Isotonic,
    Labels,
    Platt,
    beta_features,
    probability_at,
)
from noseprint.errors import NoseprintError

FOLDS = 10


def fit_platt(similarity: npt.NDArray[np.floating], same: Flags) -> Platt:
    """Fit `Platt` to similarities (P,) of hold-out pairs, weighted as if half of them were the same.

    Platt, "Probabilistic outputs for support vector machines" (1999), with his targets (N+ + 1) / (N+ + 2) and
    1 / (N- + 2) in place of 1 and 0, which keep the slope finite where a similarity parts the two without a fault. The
    ridge (C = 100 on the standardised similarity) only settles the last digits. Where the slope would be negative it is
    0, so that a higher similarity is never less probable.

    Raises NoseprintError unless there are both same and different pairs, and all similarities are finite.
    """
    similarity, same = _checked(similarity, same)
    slope, intercept = _logistic(similarity[:, None], same)
    if slope[0] < 0:
        return Platt(0.0, _logistic(similarity[:, None][:, :0], same)[1])
    return Platt(float(slope[0]), intercept)


def fit_beta(similarity: npt.NDArray[np.floating], same: Flags) -> Beta:
    """Fit `Beta`, with targets, weights and errors as `fit_platt`; a term whose factor would be negative is left out.

    So do its authors, and both where neither may stay; then log-odds are the same everywhere.
    """
    similarity, same = _checked(similarity, same)
    features = beta_features(similarity)
    kept = [0, 1]
    while True:
        factors, c = _logistic(features[:, kept], same)
        if (factors >= 0).all():
            break
        del kept[int(np.argmin(factors))]
    ab = np.zeros(2)
    ab[kept] = factors
    return Beta(float(ab[0]), float(ab[1]), c)


def fit_isotonic(similarity: npt.NDArray[np.floating], same: Flags) -> Isotonic:
    """Fit `Isotonic`, with weights and errors as `fit_platt`, by scikit-learn's pooling of adjacent violators.

    Each block's share k / n of same pairs becomes (k + 1) / (n + 2), Laplace's rule, so that none is 0 or 1, and what
    no longer rises is pooled again. A block's knot is its mean similarity: lines between knots, in place of steps, make
    a higher similarity a higher probability (centred isotonic regression, Oron and Flournoy, Stat. Biopharm. Res. 9,
    2017).
    """
    similarity, same = _checked(similarity, same)
    order = np.argsort(similarity, kind="stable")
    values, group = np.unique(similarity[order], return_inverse=True)
    size = np.bincount(group)
    weights = _even(same[order])
    weight, hits = np.bincount(group, weights), np.bincount(group, weights * same[order])
    block = np.unique(isotonic_regression(hits / weight, sample_weight=weight), return_inverse=True)[1]
    pairs, good = np.bincount(block, weight), np.bincount(block, hits)
    share = isotonic_regression((good + 1) / (pairs + 2), sample_weight=pairs)
    share, pooled = np.unique(share, return_inverse=True)
    knot = pooled[block]
    at = np.bincount(knot, values * size) / np.bincount(knot, size)
    return Isotonic(tuple(at.tolist()), tuple((np.log(share) - np.log1p(-share)).tolist()))


FITS = (fit_platt, fit_beta, fit_isotonic)
"""From the one with the fewest parameters to the one with the most."""


def fit_calibration(
    similarity: npt.NDArray[np.floating], same: Flags, identity_a: Labels, identity_b: Labels
) -> Calibration:
    """Fit the family that predicts pairs of unseen identities best; `identity_a`, `identity_b` (P,) are the images'.

    Judged by the log loss, same and different pairs weighing alike, on the folds of `identity_folds`. The simplest
    family is taken whose mean loss exceeds the least by no more than one standard error of their difference over the
    folds (Breiman et al., "Classification and Regression Trees", 1984, 3.4.3): a hold-out is few identities, whose luck
    decides between near-equals, and the simpler curve is the safer one beyond the similarities seen. Platt's where
    there are fewer than two folds. Raises NoseprintError as `fit_platt`.
    """
    losses = np.array(
        [
            [_loss(fit(similarity[train], same[train]).log_odds(similarity[test]), same[test]) for fit in FITS]
            for train, test in identity_folds(same, identity_a, identity_b)
        ]
    )
    if len(losses) < 2:
        return fit_platt(similarity, same)
    excess = losses - losses[:, [losses.mean(axis=0).argmin()]]
    error = excess.std(axis=0, ddof=1) / math.sqrt(len(excess))
    return FITS[int(np.flatnonzero(excess.mean(axis=0) <= error)[0])](similarity, same)


def cross_fitted(similarity: npt.NDArray[np.floating], same: Flags, identity_a: Labels, identity_b: Labels) -> Floats:
    """The probability (P,) of each pair by calibrations fitted (and chosen) without the identities of its fold.

    A pair of two folds is given the mean of its two log-odds. Raises NoseprintError where a pair is in no fold.
    """
    total, times = np.zeros(len(same)), np.zeros(len(same))
    for train, test in identity_folds(same, identity_a, identity_b):
        fitted = fit_calibration(similarity[train], same[train], identity_a[train], identity_b[train])
        total[test] += fitted.log_odds(similarity[test])
        times[test] += 1
    if not times.all():
        raise NoseprintError(
            f"{len(np.unique(np.asarray(identity_a)[same]))} identities with same pairs are too few to judge a "
            "calibration by, or one of them has nearly all pairs: hold out more"
        )
    return probability_at(total / times)


def identity_folds(same: Flags, identity_a: Labels, identity_b: Labels) -> Iterator[tuple[Flags, Flags]]:
    """Masks (P,) of the pairs to fit on and to judge by, for up to FOLDS parts of the identities.

    Judged by are the pairs with an identity of the part, fitted on those with none. Parts that leave either without
    both kinds of pairs are passed over.
    """
    names, number = np.unique(np.concatenate([identity_a, identity_b]), return_inverse=True)
    part = np.random.default_rng(0).permutation(len(names)) % FOLDS
    a, b = part[number[: len(same)]], part[number[len(same) :]]
    for fold in range(min(FOLDS, len(names))):
        test = (a == fold) | (b == fold)
        if all(0 < same[side].sum() < side.sum() for side in (test, ~test)):
            yield ~test, test


def _logistic(features: Floats, same: Flags) -> tuple[Floats, float]:
    """Factors (F,) of features (P, F) and intercept of the log-odds, by logistic regression on Platt's soft targets."""
    positives, negatives = int(same.sum()), int((~same).sum())
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weight = _even(same)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    if features.shape[1] == 0 or not scale.any():
        return np.zeros(features.shape[1]), float(np.log(weight @ target) - np.log(weight @ (1 - target)))
    standard = (features - centre) / np.where(scale > 0, scale, 1)
    # A soft target t is one sample of each kind, weighing t and 1 - t.
    model = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000, solver="newton-cholesky")
    model.fit(
        np.concatenate([standard, standard]),
        np.repeat([True, False], len(same)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    factors = model.coef_[0] / np.where(scale > 0, scale, 1)
    return factors, float(model.intercept_[0] - factors @ centre)


def _even(same: Flags) -> Floats:
    """Weights (P,) of mean 1 by which same and different pairs count alike; 1 each where they are as many."""
    share = same.mean()
    return np.asarray(np.where(same, 0.5 / share, 0.5 / (1 - share)))


def _loss(log_odds: Floats, same: Flags) -> float:
    """Log loss in nats, same and different pairs weighing alike."""
    return float(np.mean(_even(same) * np.logaddexp(0, np.where(same, -log_odds, log_odds))))


def _checked(similarity: npt.NDArray[np.floating], same: Flags) -> tuple[Floats, Flags]:
    values, same = np.asarray(similarity, dtype=np.float64), np.asarray(same, dtype=bool)
    if not np.isfinite(values).all():
        raise NoseprintError("calibration needs finite similarities: a network gives embeddings that are no numbers")
    positives, negatives = int(same.sum()), int((~same).sum())
    if positives == 0 or negatives == 0:
        raise NoseprintError(
            f"calibration needs same and different pairs, there are {positives} and {negatives}: "
            "hold out more identities"
        )
    return values, same
