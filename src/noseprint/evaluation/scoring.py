"""Scores of each member and of their ensemble on a data folder that carries labels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.augment import A
from noseprint.data.tables import PairTable, RetrievalTable, read_labels, read_retrieval
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.evaluation.metrics import (
    bootstrap_auc,
    bootstrap_mean,
    identity_clusters,
    retrieval_metrics,
    roc_auc,
)
from noseprint.matching.embed import embed_images
from noseprint.matching.fuse import fuse
from noseprint.matching.options import Engine
from noseprint.matching.pairs import pair_similarities, read_similarities
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header

Embeddings = npt.NDArray[np.float32]
Interval = tuple[float, float]


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
    """Scores of one member or ensemble; None where the folder carries no labels for it."""

    auc: Score | None = None
    map: Score | None = None
    recall_at_1: Score | None = None

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
    """ROC AUC of the test pairs, mAP and Recall@1 of queries against the gallery, with intervals."""
    auc = mean_ap = recall = None
    if labelled.pairs:
        pairs = labelled.pairs
        index = {name: labelled.index[pairs.folder / name] for name in pairs.names()}
        similarity = pair_similarities(embeddings, index, pairs)
        interval = bootstrap_auc(similarity, labelled.same, *labelled.clusters, seed=seed)
        auc = Score(roc_auc(similarity, labelled.same), *interval)
    if labelled.retrieval:
        table = labelled.retrieval
        rows = np.array([labelled.index[path] for path in table.paths])
        is_query = np.array(table.is_query)
        found = retrieval_metrics(embeddings[rows], table.identities, queries=is_query, gallery=~is_query)
        identities = np.unique(np.array(table.identities), return_inverse=True)[1][found.query]
        mean_ap = Score(found.map, *bootstrap_mean(found.average_precision, identities, seed=seed))
        recall = Score(found.recall_at_1, *bootstrap_mean(found.hit, identities, seed=seed))
    return Scores(auc, mean_ap, recall)


def score_tables(members: Mapping[str, Path], data: Path, *, seed: int = 0) -> dict[str, Scores]:
    """ROC AUC of each member's similarity.csv (name -> file) and, under "ensemble", of their mean.

    For members whose network is not at hand, such as the checkpoints of 2022; a search needs `score_members`.
    """
    labelled = read_labelled(data)
    if labelled.pairs is None:
        raise NoseprintError(f"{data} has no test/labels.csv, and similarity.csv files answer for test pairs only")
    tables = {name: read_similarities(path) for name, path in members.items()}
    asked = {name: {name: table} for name, table in tables.items()}
    if len(tables) > 1:
        asked["ensemble"] = tables
    scores = {}
    for name, fused in asked.items():
        similarity = fuse(fused, labelled.pairs)
        interval = bootstrap_auc(similarity, labelled.same, *labelled.clusters, seed=seed)
        scores[name] = Scores(auc=Score(roc_auc(similarity, labelled.same), *interval))
    return scores


def score_members(
    members: Mapping[str, Path],
    data: Path,
    *,
    device: torch.device,
    frozen: bool,
    seed: int = 0,
    engine: Engine = "auto",
) -> dict[str, Scores]:
    """Scores of each member (name -> weights file) and, under "ensemble", of the mean of their cosines.

    frozen: also score each member's pretrained trunk before any training, as "<member> untrained".
    """
    labelled = read_labelled(data)
    scores: dict[str, Scores] = {}
    embeddings: dict[str, Embeddings] = {}
    if frozen:
        baselines: dict[tuple[str, int, str], Scores] = {}
        for name, weights in members.items():
            header = read_header(weights)
            key = (header.trunk, header.image_size, header.descriptors)
            if key not in baselines:
                network = SupConNet(header.trunk, descriptors=header.descriptors, image_size=header.image_size)
                embedded = embed_labelled(network, labelled, device=device, label=f"{name} untrained", engine=engine)
                baselines[key] = score(embedded, labelled, seed=seed)
            scores[f"{name} untrained"] = baselines[key]
    for name, weights in members.items():
        embeddings[name] = embed_labelled(load_network(weights), labelled, device=device, label=name, engine=engine)
        scores[name] = score(embeddings[name], labelled, seed=seed)
    if len(members) > 1:
        scores["ensemble"] = score(joined(embeddings), labelled, seed=seed)
    return scores
