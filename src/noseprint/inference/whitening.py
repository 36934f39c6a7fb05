"""Learned whitening: a projection in which the photographs of one identity differ equally in all directions.

It needs identities, but no training: a projection of kept features takes seconds.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noseprint.data.holdout import ordered_by_hash
from noseprint.errors import NoseprintError
from noseprint.inference.reduction import Floats, Projection, principal_directions, with_fixed_signs
from noseprint.metrics.instances import domain_mean, score_instances

SHRINKAGES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""What `choose_shrinkage` tries."""
FOLDS = 5
MOST_DIRECTIONS = 512
"""Features are first reduced by PCA to this many dimensions: the rest is noise for few photographs, and takes time."""
_Matrix = npt.NDArray[np.float64]


def learned_whitening(features: Floats, identities: Sequence[str], dim: int, *, shrinkage: float) -> Projection:
    """Whiten by the scatter within identities, then keep the `dim` directions of greatest variance (PCA).

    Directions in which photographs of one identity differ count for less, those in which identities differ for more.
    (Mikolajczyk and Matas 2007, "Improving descriptors for fast tree matching by optimal linear projection"; "learned
    whitening" of Radenovic et al., arXiv 1711.02512, section 4.) Each identity counts the same, however many images it
    has. The scatter S of few images is shrunk to (1 - shrinkage) S + shrinkage tr(S) / F I (Ledoit and Wolf 2004); with
    shrinkage 1 this is a PCA of the features.

    features: (N, F), such as `ProjectionNet.features`. identities: (N,). Those with one image say nothing about S.
    Returns the projection W (f - mean), (dim, F) and (dim,). The greatest entry of each row of W is positive.
    Raises NoseprintError if no identity has two images, or for more dimensions than features or images - 1.
    """
    if not 0 < shrinkage <= 1:
        raise NoseprintError(f"shrinkage {shrinkage}: must be above 0, and at most 1")
    basis = _Basis(features, identities, dim)
    weight = basis.whitening(shrinkage, dim) @ basis.directions.T
    return with_fixed_signs(weight, basis.mean)


def choose_shrinkage(
    features: Floats, identities: Sequence[str], domains: Sequence[str], dim: int
) -> tuple[float, dict[float, float]]:
    """The shrinkage whose projection finds unseen identities best, and the score of each one that was tried.

    The identities of each domain are divided into folds. The photographs of a fold are searched for among all others,
    with the projection that the other folds give; if these have few photographs, to fewer dimensions. The score is the
    mean over domains of the average precision. Of equal scores the greatest shrinkage wins.
    Raises NoseprintError as `learned_whitening` does.
    """
    whose, domain = np.asarray(identities), np.asarray(domains)
    fold_of = {
        identity: number % FOLDS
        for name in np.unique(domain)
        for number, identity in enumerate(ordered_by_hash(np.unique(whose[domain == name]).tolist(), seed=0))
    }
    fold = np.array([fold_of[identity] for identity in whose])
    everything = np.ones(len(whose), bool)
    found: dict[float, list[tuple[_Matrix, npt.NDArray[np.str_]]]] = {one: [] for one in SHRINKAGES}
    for number in np.unique(fold):
        own = fold == number
        if not (_has_pair(whose[own]) and _has_pair(whose[~own])):
            continue
        fewer = min(dim, int((~own).sum()) - 1, features.shape[1])
        basis = _Basis(features[~own], whose[~own].tolist(), fewer)
        principal = (features - basis.mean) @ basis.directions
        for shrinkage in SHRINKAGES:
            rows = principal @ basis.whitening(shrinkage, fewer).T
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            scores = score_instances(
                rows.astype(np.float32), identities=whose, domains=domain, queries=own, index=everything
            )
            found[shrinkage].append((scores.average_precision, scores.domains))
    if not found[SHRINKAGES[0]]:
        raise NoseprintError("learned whitening needs identities with two photographs or more: there is none")
    each = {
        shrinkage: domain_mean(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        for shrinkage, parts in found.items()
    }
    return max(reversed(SHRINKAGES), key=lambda one: each[one]), each


class _Basis:
    """What is the same for every shrinkage: the PCA of the features, and the scatter within identities there."""

    def __init__(self, features: Floats, identities: Sequence[str], dim: int) -> None:
        rows, columns = features.shape
        if not 1 <= dim <= min(columns, rows - 1):
            raise NoseprintError(
                f"{dim} dimensions need as many features and {dim + 1} training photographs, but there are {columns} "
                f"features and {rows} photographs: lower --dim, or add photographs"
            )
        if not _has_pair(np.asarray(identities)):
            raise NoseprintError("learned whitening needs identities with two photographs or more: there is none")
        x = np.asarray(features, np.float64)
        self.mean = x.mean(0)
        kept = min(columns, rows - 1, max(dim, MOST_DIRECTIONS))
        self.directions, _ = principal_directions(x - self.mean, kept)
        x = (x - self.mean) @ self.directions
        self._covariance = x.T @ x / len(x)
        _, identity, images = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
        means = np.zeros((len(images), kept))
        np.add.at(means, identity, x)
        apart = (x - (means / images[:, None])[identity]) / np.sqrt(images)[identity][:, None]
        self._values, self._axes = np.linalg.eigh(apart.T @ apart / (images > 1).sum())
        self._values, self._target = np.maximum(self._values, 0), self._values.sum() / columns

    def whitening(self, shrinkage: float, dim: int) -> _Matrix:
        """The first `dim` rows of W, (dim, K), for features in the K `directions`; the greatest variance first."""
        values = (1 - shrinkage) * self._values + shrinkage * self._target
        whiten = (self._axes / np.sqrt(values)) @ self._axes.T
        _, directions = np.linalg.eigh(whiten @ self._covariance @ whiten)
        return np.asarray(directions[:, ::-1][:, :dim].T @ whiten)


def _has_pair(identities: npt.NDArray[np.str_]) -> bool:
    return len(np.unique(identities)) < len(identities)
