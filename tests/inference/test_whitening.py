"""Learned whitening against a dense computation, and how its shrinkage is chosen."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA

from noseprint.errors import NoseprintError
from noseprint.inference import whitening
from noseprint.inference.whitening import SHRINKAGES, choose_shrinkage, learned_whitening
from noseprint.metrics.instances import score_instances

IDENTITIES, EACH, FEATURES = 24, 5, 12


def made(*, nuisance: float = 0.0, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Features of identities that differ in directions 0 to 5. Photographs of one differ in direction 6 by nuisance."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((IDENTITIES, FEATURES))
    centres[:, :6] = rng.normal(size=(IDENTITIES, 6))
    rows = centres.repeat(EACH, 0) + rng.normal(0, 0.3, (IDENTITIES * EACH, FEATURES)) + 2
    rows[:, 6] += nuisance * rng.normal(size=len(rows))
    return rows.astype(np.float32), [f"it{number}" for number in range(IDENTITIES) for _ in range(EACH)]


def cosines(projection, features: np.ndarray) -> np.ndarray:
    weight, bias = (part.double().numpy() for part in projection)
    rows = features @ weight.T + bias
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def naive(features: np.ndarray, identities: list[str], *, dim: int, shrinkage: float) -> np.ndarray:
    """The cosines after whitening by the whole matrices: (N, N)."""
    x = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    whose, scatters = np.array(identities), []
    for name in dict.fromkeys(identities):
        own = x[whose == name]
        if len(own) > 1:
            scatters.append((own - own.mean(0)).T @ (own - own.mean(0)) / len(own))
    scatter = np.mean(scatters, axis=0)
    size = len(scatter)
    shrunk = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / size * np.eye(size)
    white = x @ np.linalg.inv(np.real(sqrtm(shrunk)))
    _, _, directions = np.linalg.svd(white, full_matrices=False)
    rows = white @ directions[:dim].T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("dim", [4, FEATURES])
def test_it_is_that_of_the_dense_matrices(shrinkage, dim):
    features, identities = made(nuisance=1)
    identities[-3:] = ["alone", "pair", "pair"]  # one with a single photograph, and one with two
    found = cosines(learned_whitening(features, identities, dim, shrinkage=shrinkage), features)
    np.testing.assert_allclose(found, naive(features, identities, dim=dim, shrinkage=shrinkage), atol=1e-4)


def test_fewer_photographs_than_features_give_the_same_as_the_dense_matrices():
    rng = np.random.default_rng(1)
    features, identities = rng.normal(size=(20, 40)).astype(np.float32), [str(row // 4) for row in range(20)]
    found = cosines(learned_whitening(features, identities, 6, shrinkage=0.3), features)
    np.testing.assert_allclose(found, naive(features, identities, dim=6, shrinkage=0.3), atol=1e-4)


def test_directions_beyond_the_most_are_noise(monkeypatch):
    """With fewer directions than features it is the whitening of the features after a PCA."""
    monkeypatch.setattr(whitening, "MOST_DIRECTIONS", 8)
    features, identities = made(nuisance=1)
    found = cosines(learned_whitening(features, identities, 4, shrinkage=1e-9), features)
    reduced = PCA(8).fit_transform(features.astype(np.float64))
    np.testing.assert_allclose(found, naive(reduced, identities, dim=4, shrinkage=1e-9), atol=1e-4)


def test_with_shrinkage_1_it_is_a_pca():
    features, identities = made(nuisance=1)
    rows = PCA(5).fit_transform(features.astype(np.float64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = cosines(learned_whitening(features, identities, 5, shrinkage=1.0), features)
    np.testing.assert_allclose(found, rows @ rows.T, atol=1e-4)


def test_each_identity_counts_the_same():
    """An identity whose photographs are listed three times does not change what is a nuisance within identities."""
    features, identities = made(nuisance=1)
    base = whitening._Basis(features, identities, 4)
    more = np.concatenate([features, np.tile(features[:EACH], (2, 1))])
    again = whitening._Basis(more, [*identities, *identities[:EACH] * 2], 4)
    scatters = [(one.directions @ one._axes * one._values) @ (one.directions @ one._axes).T for one in (base, again)]
    np.testing.assert_allclose(*scatters, atol=1e-6)


def test_the_same_features_give_the_same_signs():
    features, identities = made()
    weight, _ = learned_whitening(features, identities, 4, shrinkage=0.3)
    greatest = weight[np.arange(4), weight.abs().argmax(dim=1)]
    assert (greatest > 0).all()


def scored(features, identities, projection) -> float:
    weight, bias = (part.numpy() for part in projection)
    rows = features @ weight.T + bias
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    everything = np.ones(len(rows), bool)
    found = score_instances(
        rows, identities=identities, domains=["all"] * len(rows), queries=everything, index=everything
    )
    return found.average_precision.mean()


def test_a_nuisance_within_identities_is_found_and_taken_out():
    features, identities = made(nuisance=6)
    shrinkage, scores = choose_shrinkage(features, identities, ["all"] * len(identities), 6)
    assert scores.keys() == set(SHRINKAGES)
    assert scores[shrinkage] == max(scores.values()) > scores[1.0] + 0.1
    unseen, theirs = made(nuisance=6, seed=1)
    plain, chosen = (
        scored(unseen, theirs, learned_whitening(features, identities, 6, shrinkage=one)) for one in (1.0, shrinkage)
    )
    assert chosen > plain + 0.1


def test_unseen_identities_choose(monkeypatch):
    """The photographs that are searched for never fit the projection."""
    fitted, searched = [], []
    right, score = whitening._Basis.__init__, whitening.score_instances

    def record(self, features, identities, dim):
        fitted.append(set(identities))
        right(self, features, identities, dim)

    def search(rows, *, identities, queries, **more):
        searched.append(set(identities[queries]))
        return score(rows, identities=identities, queries=queries, **more)

    monkeypatch.setattr(whitening._Basis, "__init__", record)
    monkeypatch.setattr(whitening, "score_instances", search)
    features, identities = made()
    choose_shrinkage(features, identities, ["a", "b"] * (len(identities) // 2), 4)
    searched = searched[:: len(SHRINKAGES)]
    assert len(fitted) == len(searched) == whitening.FOLDS
    assert not any(one & two for one, two in zip(fitted, searched, strict=True))
    assert set().union(*searched) == set(identities)


def test_of_equal_scores_the_greatest_shrinkage_wins():
    rows = np.eye(FEATURES)[np.arange(IDENTITIES) % FEATURES].repeat(EACH, 0)  # pairs of equal identities: all tie
    rows = (rows + np.random.default_rng(0).normal(0, 1e-4, rows.shape)).astype(np.float32)
    identities = [f"it{row // EACH % FEATURES}" for row in range(len(rows))]
    shrinkage, scores = choose_shrinkage(rows, identities, ["all"] * len(rows), 11)
    assert set(scores.values()) == {1.0}
    assert shrinkage == 1.0


def test_what_cannot_be_whitened_is_refused():
    features, identities = made()
    each_its_own = [str(number) for number in range(len(identities))]
    for shrinkage in (0.0, 1.1, float("nan")):
        with pytest.raises(NoseprintError, match=r"shrinkage .*: must be above 0, and at most 1"):
            learned_whitening(features, identities, 4, shrinkage=shrinkage)
    with pytest.raises(NoseprintError, match=r"13 dimensions .* 12 features and 120 photographs: lower --dim"):
        learned_whitening(features, identities, 13, shrinkage=0.5)
    with pytest.raises(NoseprintError, match=r"5 dimensions .* and 5 photographs: lower --dim"):
        learned_whitening(features[:5], identities[:5], 5, shrinkage=0.5)
    with pytest.raises(NoseprintError, match="two photographs or more: there is none"):
        learned_whitening(features, each_its_own, 4, shrinkage=0.5)
    with pytest.raises(NoseprintError, match="two photographs or more: there is none"):
        choose_shrinkage(features, each_its_own, ["all"] * len(identities), 4)


def test_folds_of_few_photographs_try_fewer_dimensions():
    features, identities = made()
    shrinkage, each = choose_shrinkage(features[:20], identities[:20], ["all"] * 20, 12)
    assert shrinkage in SHRINKAGES
    assert 0 < min(each.values()) <= max(each.values()) <= 1
