"""Scores of each member and of their ensemble on a data folder that carries labels."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.augment import A
from noseprint.data.tables import PairTable, RetrievalTable, read_labels, read_retrieval
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.evaluation.intervals import bootstrap_mean, bootstrap_pairs, identity_clusters
from noseprint.evaluation.metrics import (
    Accepted,
    Weights,
    accepted,
    areas,
    checked,
    equal_errors,
    tars_at,
    unsupported,
)
from noseprint.evaluation.retrieval import RANKS, retrieval_metrics
from noseprint.matching.embed import embed_images
from noseprint.matching.fuse import fuse
from noseprint.matching.options import Engine
from noseprint.matching.pairs import pair_similarities, read_similarities
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header

Embeddings = npt.NDArray[np.float32]
Similarity = npt.NDArray[np.floating]
FARS = {"tar_at_1e_1": 1e-1, "tar_at_1e_2": 1e-2, "tar_at_1e_3": 1e-3}


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval, from a bootstrap over identities."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Scores:
    """Scores of one member or ensemble; None where the folder carries no labels for it, or too few.

    Of the test pairs: `auc` (ROC), `eer`, the true accept rates at a false accept rate of 1e-1, 1e-2, 1e-3. Of the
    search of queries in the gallery: the others.
    """

    auc: Score | None = None
    eer: Score | None = None
    tar_at_1e_1: Score | None = None
    tar_at_1e_2: Score | None = None
    tar_at_1e_3: Score | None = None
    map: Score | None = None
    rank_1: Score | None = None
    rank_5: Score | None = None
    rank_10: Score | None = None
    precision_at_5: Score | None = None

    def to_json(self) -> dict[str, object]:
        """The figures as plain numbers."""
        return asdict(self)


@dataclass(frozen=True)
class Labelled:
    """What a data folder carries to score against: labelled test pairs, a search, or both; and their images."""

    pairs: PairTable | None
    same: npt.NDArray[np.bool_]
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    retrieval: RetrievalTable | None
    paths: tuple[Path, ...]
    index: dict[Path, int]


def read_labelled(data: Path) -> Labelled:
    """Read `data/test/labels.csv` and `data/retrieval.csv`. Raises NoseprintError where there is neither.

    The identities of the pairs' images, over which the bootstrap draws, come from retrieval.csv where it names them
    all, else from the pairs: images joined by same-pairs are one identity.
    """
    labels, retrieval = read_labels(data, "test"), read_retrieval(data)
    if labels is None and retrieval is None:
        raise NoseprintError(
            f"{data} carries no labels to score against: add test/labels.csv (imageA,imageB,label) "
            "or retrieval.csv (folder,role,identity,image)"
        )
    pairs, same = labels if labels else (None, ())
    paths: list[Path] = [pairs.folder / name for name in pairs.names()] if pairs else []
    paths += list(retrieval.paths) if retrieval else []
    paths = list(dict.fromkeys(paths))
    empty = np.zeros(0, np.intp)
    clusters = (empty, empty)
    if pairs:
        known = dict(zip(retrieval.paths, retrieval.identities, strict=True)) if retrieval else {}
        named = [[known.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
        if None in named[0] or None in named[1]:
            clusters = identity_clusters(pairs, np.array(same))
        else:
            number = {identity: i for i, identity in enumerate(dict.fromkeys(known.values()))}
            clusters = (np.array([number[i] for i in named[0] if i]), np.array([number[i] for i in named[1] if i]))
    return Labelled(
        pairs, np.array(same, bool), clusters, retrieval, tuple(paths), {path: row for row, path in enumerate(paths)}
    )


def embed_labelled(
    network: SupConNet, labelled: Labelled, *, device: torch.device, label: str, engine: Engine = "auto"
) -> Embeddings:
    """Embeddings (N, D) of the images of `labelled`, in the order of its paths; engine as in `embed_images`."""
    size = network.image_size
    return embed_images(
        network.to(device),
        labelled.paths,
        view=A.Resize(size, size),
        device=device,
        workers=default_workers(device),
        label=label,
        engine=engine,
    )


def joined(members: Mapping[str, Embeddings]) -> Embeddings:
    """The ensemble as one embedding (N, sum of D): its cosines are the means of the members' cosines."""
    return np.concatenate([e / np.float32(np.sqrt(len(members))) for e in members.values()], axis=1)


def score(embeddings: Embeddings, labelled: Labelled, *, seed: int = 0) -> Scores:
    """Every score of embeddings (N, D) of the images of `labelled`."""
    pairs = score_pairs(similarities(embeddings, labelled), labelled, seed=seed) if labelled.pairs else Scores()
    return replace(pairs, **_search_scores(embeddings, labelled, seed=seed)) if labelled.retrieval else pairs


def similarities(embeddings: Embeddings, labelled: Labelled) -> Similarity:
    """Similarities (P,) of the test pairs of `labelled`, by embeddings (N, D) of its images."""
    pairs = labelled.pairs
    if pairs is None:
        return np.zeros(0, np.float32)
    index = {name: labelled.index[pairs.folder / name] for name in pairs.names()}
    return pair_similarities(embeddings, index, pairs)


def score_pairs(similarity: Similarity, labelled: Labelled, *, seed: int = 0) -> Scores:
    """The scores of similarities (P,) of the test pairs of `labelled`."""
    figures: dict[str, Callable[[Accepted], Weights]] = {"auc": areas, "eer": equal_errors}
    different = int(np.sum(~labelled.same))
    for name, far in FARS.items():
        if not unsupported(different, far):
            figures[name] = partial(tars_at, far=far)
    values, same = checked(similarity, labelled.same)
    curve = accepted(values, same, np.ones((1, len(same))))
    intervals = bootstrap_pairs(list(figures.values()), values, same, *labelled.clusters, seed=seed)
    found = zip(figures.items(), intervals, strict=True)
    return Scores(**{name: Score(float(figure(curve)[0]), *interval) for (name, figure), interval in found})


def _search_scores(embeddings: Embeddings, labelled: Labelled, *, seed: int) -> dict[str, Score]:
    table = labelled.retrieval
    if table is None:
        return {}
    rows = np.array([labelled.index[path] for path in table.paths])
    is_query = np.array(table.is_query)
    found = retrieval_metrics(
        embeddings[rows], table.identities, queries=is_query, gallery=~is_query, encounters=table.encounters
    )
    values = {"map": found.average_precision, "precision_at_5": found.precision_at_5}
    values |= {f"rank_{k}": hit for k, hit in zip(RANKS, found.hit.T, strict=True)}
    identity = np.array(table.identities)[found.query]
    return {name: Score(float(np.mean(of)), *bootstrap_mean(of, identity, seed=seed)) for name, of in values.items()}


@dataclass(frozen=True)
class Evaluation:
    """The scores of every member, and what they were counted from.

    By name: each member, "<member> untrained" where asked for, and "ensemble" where there are several members.
    """

    labelled: Labelled
    scores: dict[str, Scores]
    similarity: dict[str, Similarity]
    """(P,) of the test pairs; empty arrays where there are none."""
    embeddings: dict[str, Embeddings]
    """(N, D) of `labelled.paths`, of the members only; `joined` gives the ensemble's. None where only similarities
    are at hand."""


def score_tables(members: Mapping[str, Path], data: Path, *, seed: int = 0) -> Evaluation:
    """Scores of each member's similarity.csv (name -> file) and, under "ensemble", of their mean.

    For members whose network is not at hand, such as the checkpoints of 2022; a search needs `score_members`.
    """
    labelled = read_labelled(data)
    if labelled.pairs is None:
        raise NoseprintError(f"{data} has no test/labels.csv, and similarity.csv files answer for test pairs only")
    tables = {name: read_similarities(path) for name, path in members.items()}
    asked = {name: {name: table} for name, table in tables.items()}
    if len(tables) > 1:
        asked["ensemble"] = tables
    similarity: dict[str, Similarity] = {name: fuse(fused, labelled.pairs) for name, fused in asked.items()}
    scores = {name: score_pairs(values, labelled, seed=seed) for name, values in similarity.items()}
    return Evaluation(labelled, scores, similarity, {})


def score_members(
    members: Mapping[str, Path],
    data: Path,
    *,
    device: torch.device,
    frozen: bool = False,
    seed: int = 0,
    engine: Engine = "auto",
) -> Evaluation:
    """Scores of each member (name -> weights file) and, under "ensemble", of the mean of their cosines.

    frozen: also score each member's pretrained trunk before any training, as "<member> untrained".
    """
    labelled = read_labelled(data)
    found = Evaluation(labelled, {}, {}, {})

    def add(name: str, embeddings: Embeddings) -> None:
        found.scores[name] = score(embeddings, labelled, seed=seed)
        found.similarity[name] = similarities(embeddings, labelled)

    untrained: dict[tuple[str, int, str], str] = {}
    for name, weights in members.items() if frozen else ():
        header = read_header(weights)
        first = untrained.setdefault((header.trunk, header.image_size, header.descriptors), f"{name} untrained")
        if first == f"{name} untrained":
            network = SupConNet(header.trunk, descriptors=header.descriptors, image_size=header.image_size)
            add(first, embed_labelled(network, labelled, device=device, label=first, engine=engine))
        else:
            found.scores[f"{name} untrained"] = found.scores[first]
            found.similarity[f"{name} untrained"] = found.similarity[first]
    for name, weights in members.items():
        found.embeddings[name] = embed_labelled(
            load_network(weights), labelled, device=device, label=name, engine=engine
        )
        add(name, found.embeddings[name])
    if len(members) > 1:
        add("ensemble", joined(found.embeddings))
    return found
