"""Which embedding of a given size is best: frozen, trained and joined backbones, under several projections.

Every candidate is one network. Features are computed once for each backbone; all else is linear and takes seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.instance_options import Take
from noseprint.data.instances import InstanceTable
from noseprint.errors import NoseprintError
from noseprint.inference.embedding_sources import Source, joined
from noseprint.inference.reduction import (
    Floats,
    Projection,
    compose,
    mixture,
    pca_projection,
    random_projection,
    side_by_side,
)
from noseprint.inference.whitening import choose_shrinkage, learned_whitening
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.instances import InstanceScores, by_domain, domain_mean, score_instances
from noseprint.metrics.similarity import Embeddings

PCA_SHARE = 1 / 4
"""Of the dimensions of a mixture."""


@dataclass(frozen=True)
class Candidate:
    """An embedding of the photographs of a table."""

    name: str
    sources: tuple[Source, ...]
    fit: Callable[[npt.NDArray[np.bool_]], Projection] | None
    """From a mask (N,) of rows of the table to the projection that is fitted to their joined features. None: no
    projection."""
    eligible: bool = True
    """Whether it may be chosen."""

    @property
    def size(self) -> int:
        """Side of its input in pixels."""
        return self.sources[0].size

    def embeddings(self, fitted_to: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """(N, D) in the order of the table, rows of length 1. fitted_to: (N,) the rows to fit the projection to."""
        rows = joined(self.sources)
        if self.fit is not None:
            weight, bias = (part.double().numpy() for part in self.fit(fitted_to))
            rows = rows @ weight.T + bias
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class Judged:
    """A candidate and its scores."""

    candidate: Candidate
    held_out: InstanceScores
    """Of the hold-out, which is searched among itself and the training photographs."""
    scores: InstanceScores
    """Of the test, or of the hold-out if there is none."""

    @property
    def value(self) -> float:
        """The mean over domains of the held-out average precision."""
        return domain_mean(self.held_out.average_precision, self.held_out.domains)


@dataclass(frozen=True)
class Choice:
    """All candidates, the one that is taken, and the frozen one that it is compared with."""

    judged: tuple[Judged, ...]
    taken: Judged
    frozen: Judged
    on_test: bool
    """Whether `Judged.scores` are of the test."""
    lost: Mapping[str, Score] = field(default_factory=dict)
    """The domains in which the taken one is worse than the frozen one beyond the interval, and by how much."""


def find_candidates(sources: Sequence[Source], table: InstanceTable, *, dim: int, seed: int = 0) -> Iterator[Candidate]:
    """Every backbone alone, all frozen ones together, all trained ones, and all; each under every projection.

    Backbones of different input sizes are not joined.
    """
    train = np.array(table.parts) == "train"
    identities, domains = np.array(table.identities), np.array(table.domains)
    for group in groups(sources):
        name, features = " + ".join(source.name for source in group), joined(group)
        columns = features.shape[1]
        yield Candidate(f"{name}: all {columns} dimensions", group, None, eligible=False)
        if columns <= dim:
            continue
        fixed = random_projection(columns, dim, seed=seed)
        yield Candidate(f"{name}: random projection", group, partial(_fixed, fixed), eligible=False)
        yield Candidate(f"{name}: PCA", group, partial(_pca, features, dim, whiten=False))
        yield Candidate(f"{name}: whitened PCA", group, partial(_pca, features, dim, whiten=True))
        shrinkage, _ = choose_shrinkage(features[train], identities[train].tolist(), domains[train].tolist(), dim)
        whitening = partial(_whitening, features, identities, dim, shrinkage=shrinkage)
        yield Candidate(f"{name}: learned whitening", group, whitening)
        heads = [source.head for source in group if source.head is not None]
        if len(group) == 1 and heads and len(heads[0][0]) <= dim:
            yield Candidate(f"{name}: head", group, partial(_fixed, heads[0]))
        elif len(group) == len(heads):
            yield Candidate(
                f"{name}: PCA of the heads", group, partial(_pca_of_heads, side_by_side(heads), features, dim)
            )


def _fixed(projection: Projection, rows: npt.NDArray[np.bool_]) -> Projection:
    return projection


def _pca_of_heads(heads: Projection, features: Floats, dim: int, rows: npt.NDArray[np.bool_]) -> Projection:
    weight, bias = (part.double().numpy() for part in heads)
    return compose(heads, pca_projection(features[rows] @ weight.T + bias, dim, whiten=False))


def _pca(features: Floats, dim: int, rows: npt.NDArray[np.bool_], *, whiten: bool) -> Projection:
    return pca_projection(features[rows], dim, whiten=whiten)


def _whitening(
    features: Floats, identities: npt.NDArray[np.str_], dim: int, rows: npt.NDArray[np.bool_], *, shrinkage: float
) -> Projection:
    return learned_whitening(features[rows], identities[rows].tolist(), dim, shrinkage=shrinkage)


def groups(sources: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Which sources are joined: each alone, and several of one input size."""
    found: list[tuple[Source, ...]] = [(source,) for source in sources]
    for size in sorted({source.size for source in sources}):
        of_size = [source for source in sources if source.size == size]
        for some in (
            [source for source in of_size if not source.is_trained],
            [source for source in of_size if source.is_trained],
            of_size,
        ):
            if len(some) > 1 and tuple(some) not in found:
                found.append(tuple(some))
    return found


def judge(candidate: Candidate, table: InstanceTable) -> Judged:
    """Score a candidate on the hold-out and on the test.

    For the hold-out, the projection is fitted to the part train. For the test, it is fitted to train and val, as in the
    weights that are written.
    """
    parts = np.array(table.parts)
    query, index = np.array(table.is_query), np.array(table.is_index)

    def of(rows: Embeddings, queries: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> InstanceScores:
        return score_instances(rows, identities=table.identities, domains=table.domains, queries=queries, index=among)

    rows = candidate.embeddings(parts == "train")
    held_out = of(rows, (parts == "val") & query, ((parts == "val") & index) | (parts == "train"))
    test = parts == "test"
    if not test.any():
        return Judged(candidate, held_out, held_out)
    return Judged(candidate, held_out, of(candidate.embeddings(~test), test & query, test & index))


def choose(judged: Sequence[Judged], table: InstanceTable, *, dim: int, take: Take) -> Choice:
    """Take the candidate that is best on the hold-out; of equal ones, the one with fewer backbones, then the first.

    The mixture is of the best frozen backbone under PCA and the best other candidate with the same input size.
    Raises NoseprintError if no backbone has more than `dim` features.
    """

    def rank(one: Judged) -> tuple[float, int]:
        return one.value, -len(one.candidate.sources)

    plain = [one for one in judged if is_frozen_pca(one.candidate)]
    if not plain:
        raise NoseprintError(f"no backbone has more than {dim} features, so there is nothing to reduce: lower --dim")
    frozen = max(plain, key=lambda one: one.value)
    eligible = [one for one in judged if one.candidate.eligible]
    like_frozen = [one for one in eligible if one is not frozen and one.candidate.size == frozen.candidate.size]
    mixed = judge(mix(max(like_frozen, key=rank).candidate, frozen.candidate, dim=dim), table)
    taken = {"best": max(eligible, key=rank), "frozen": frozen, "mixture": mixed}[take]
    differences = by_domain(taken.scores.average_precision, taken.scores, than=frozen.scores.average_precision)
    lost = {name: score for name, score in differences.items() if score.high < 0}
    return Choice((*judged, mixed), taken, frozen, "test" in table.parts, lost)


def is_frozen_pca(candidate: Candidate) -> bool:
    """Whether a candidate is what one has without any training: one frozen backbone and PCA."""
    return len(candidate.sources) == 1 and not candidate.sources[0].is_trained and candidate.name.endswith(": PCA")


def mix(best: Candidate, frozen: Candidate, *, dim: int) -> Candidate:
    """The mixture of a candidate with the frozen one, for images of one size: PCA_SHARE of it from the latter."""
    (backbone,) = frozen.sources
    sources = best.sources if backbone in best.sources else (*best.sources, backbone)
    rest = max(1, round(PCA_SHARE * dim))

    def fit(rows: npt.NDArray[np.bool_]) -> Projection:
        parts = (_padded(best, sources, rows), _padded(frozen, sources, rows))
        return mixture(*parts, dims=(dim - rest, rest), features=joined(sources)[rows])

    return Candidate(f"mixture of {best.name} and {frozen.name}", sources, fit)


def _padded(candidate: Candidate, sources: Sequence[Source], rows: npt.NDArray[np.bool_]) -> Projection:
    """The projection of a candidate on the joined features of more sources: zero for the others."""
    assert candidate.fit is not None
    weight, bias = candidate.fit(rows)
    blocks = torch.split(weight, [source.features.shape[1] for source in candidate.sources], dim=1)
    own = dict(zip((source.name for source in candidate.sources), blocks, strict=True))
    widths = {source.name: source.features.shape[1] for source in sources}
    return torch.cat([own.get(name, torch.zeros(len(weight), width)) for name, width in widths.items()], dim=1), bias
