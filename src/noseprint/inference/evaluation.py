"""Scores of each member and of their ensemble on a data folder that carries labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.command_line import Engine
from noseprint.data.transforms import A
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.inference.fuse import fuse
from noseprint.inference.labelled import Labelled, read_labelled
from noseprint.inference.leaks import Leaks, find_leaks, without
from noseprint.inference.pairs import read_similarities
from noseprint.metrics.bootstrap import Score, bootstrap_mean, bootstrap_pairs
from noseprint.metrics.retrieval import RANKS, retrieval_metrics
from noseprint.metrics.similarity import ensemble_embeddings, pair_similarities
from noseprint.metrics.verification import (
    AcceptedWeights,
    Weights,
    accepted_weights,
    check_scores,
    equal_error_rates,
    roc_aucs,
    tmrs_at_fmr,
    why_fmr_unsupported,
)
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header

Embeddings = npt.NDArray[np.float32]
Similarity = npt.NDArray[np.floating]
FMRS = {"tmr_at_1e_1": 1e-1, "tmr_at_1e_2": 1e-2, "tmr_at_1e_3": 1e-3}


@dataclass(frozen=True)
class Scores:
    """Scores of one member or ensemble; None where the folder carries no labels for it, or too few.

    Of the test pairs: `auc` (ROC), `eer`, the true match rates at a false match rate of 1e-1, 1e-2, 1e-3. Of the
    search of queries in the gallery: the others.
    """

    auc: Score | None = None
    eer: Score | None = None
    tmr_at_1e_1: Score | None = None
    tmr_at_1e_2: Score | None = None
    tmr_at_1e_3: Score | None = None
    map: Score | None = None
    rank_1: Score | None = None
    rank_5: Score | None = None
    rank_10: Score | None = None
    precision_at_5: Score | None = None


def embed_labelled(
    network: SupConNet, labelled: Labelled, *, device: torch.device, label: str, engine: Engine = "auto"
) -> Embeddings:
    """Embeddings (N, D) of the images of `labelled`, in the order of its paths; engine as in `embed_images`."""
    size = network.image_size
    return embed_images(
        network.to(device),
        labelled.paths,
        transform=A.Resize(size, size),
        device=device,
        workers=default_workers(device),
        label=label,
        engine=engine,
    )


def score(embeddings: Embeddings, labelled: Labelled, *, seed: int = 0) -> Scores:
    """Every score of embeddings (N, D) of the images of `labelled`."""
    scores = score_pairs(similarities(embeddings, labelled), labelled, seed=seed)
    return replace(scores, **score_search(embeddings, labelled, seed=seed))


def similarities(embeddings: Embeddings, labelled: Labelled) -> Similarity:
    """Similarities (P,) of the test pairs of `labelled`, by embeddings (N, D) of its images."""
    pairs = labelled.pairs
    if pairs is None:
        return np.zeros(0, np.float32)
    index = {name: labelled.index[pairs.folder / name] for name in pairs.names()}
    return pair_similarities(embeddings, index, pairs)


def score_pairs(similarity: Similarity, labelled: Labelled, *, seed: int = 0) -> Scores:
    """The scores of similarities (P,) of the test pairs of `labelled`."""
    if not labelled.pairs:
        return Scores()
    figures: dict[str, Callable[[AcceptedWeights], Weights]] = {"auc": roc_aucs, "eer": equal_error_rates}
    different = int(np.sum(~labelled.same))
    for name, fmr in FMRS.items():
        if not why_fmr_unsupported(different, fmr):
            figures[name] = partial(tmrs_at_fmr, fmr=fmr)
    values, same = check_scores(similarity, labelled.same)
    curve = accepted_weights(values, same, np.ones((1, len(same))))
    intervals = bootstrap_pairs(list(figures.values()), values, same, *labelled.clusters, seed=seed)
    found = zip(figures.items(), intervals, strict=True)
    return Scores(**{name: Score(float(figure(curve)[0]), *interval) for (name, figure), interval in found})


def score_search(embeddings: Embeddings, labelled: Labelled, *, seed: int = 0) -> dict[str, Score]:
    """The fields of `Scores` that tell of the search: embeddings (N, D) of the images of `labelled`."""
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


@dataclass
class Evaluation:
    """The scores of every member, and what they were counted from.

    By name: each member, "<member> untrained" where asked for, and "ensemble" where there are several members.
    """

    labelled: Labelled
    leaks: Leaks | None
    """None where nobody said what the networks learnt from."""
    scores: dict[str, Scores] = field(default_factory=dict)
    similarity: dict[str, Similarity] = field(default_factory=dict)
    """(P,) of the test pairs; empty arrays where there are none."""
    embeddings: dict[str, Embeddings] = field(default_factory=dict)
    """(N, D) of `labelled.paths` for each member; `ensemble_embeddings` gives the ensemble's. Empty where only
    similarities are at hand."""
    without_copies: dict[str, Scores] = field(default_factory=dict)
    """The scores without near copies of what was learnt from, and with no near copies compared; where there are any."""
    without_learnt: dict[str, Scores] = field(default_factory=dict)
    """The scores without the photographs that were themselves learnt from; where there are any. It is another, smaller
    search, in which networks before any training score differently, too."""
    other_data: bool = False
    """The networks were trained on other photographs than this data folder's, so what they learnt from is not known."""

    def add(self, name: str, similarity: Similarity, embeddings: Embeddings | None, *, seed: int) -> None:
        """Score similarities (P,) of the test pairs and, where they are at hand, embeddings (N, D)."""

        def scores(labelled: Labelled, keep: npt.NDArray[np.bool_]) -> Scores:
            found = score_pairs(similarity[keep], labelled, seed=seed)
            return found if embeddings is None else replace(found, **score_search(embeddings, labelled, seed=seed))

        self.similarity[name] = similarity
        self.scores[name] = scores(self.labelled, np.ones(len(similarity), bool))
        if not self.leaks:
            return
        if self.leaks.copies or self.leaks.compared:
            copies = {copy for copy, _ in self.leaks.copies}
            rest = without(self.labelled, photographs=copies, compared=self.leaks.compared)
            self.without_copies[name] = scores(*rest)
        if self.leaks.learnt:
            self.without_learnt[name] = scores(*without(self.labelled, photographs=self.leaks.learnt))

    def to_json(self) -> dict[str, object]:
        """The scores by name, and under "data" what they were counted from and what flatters them."""
        named = {"scores": self.scores, "without_copies": self.without_copies, "without_learnt": self.without_learnt}
        plain = {key: {name: asdict(of) for name, of in scores.items()} for key, scores in named.items()}
        data: dict[str, object] = {
            "refused": self.refused,
            "remarks": list(self.labelled.remarks),
            "other_data": self.other_data,
            "leaks": self.leaks and self.leaks.to_json(),
        }
        return {**plain.pop("scores"), "data": {**self.labelled.facts(), **data, **plain}}

    @property
    def refused(self) -> dict[str, str]:
        """Why a true match rate is not given, by its name in `Scores`."""
        different = int(np.sum(~self.labelled.same))
        asked = FMRS.items() if self.labelled.pairs else ()
        return {name: problem for name, fmr in asked if (problem := why_fmr_unsupported(different, fmr))}


def score_tables(
    members: Mapping[str, Path], data: Path, *, seed: int = 0, learnt: Sequence[Path] | None = None
) -> Evaluation:
    """Scores of each member's similarity.csv (name -> file) and, under "ensemble", of their mean.

    For members whose network is not at hand, such as the checkpoints of 2022; a search needs `score_members`, as which
    otherwise.
    """
    labelled = replace(read_labelled(data), retrieval=None)
    if labelled.pairs is None:
        raise NoseprintError(f"{data} has no test/labels.csv, and similarity.csv files answer for test pairs only")
    tables = {name: read_similarities(path) for name, path in members.items()}
    asked = {name: {name: table} for name, table in tables.items()}
    if len(tables) > 1:
        asked["ensemble"] = tables
    found = Evaluation(labelled, None if learnt is None else find_leaks(labelled, learnt))
    for name, together in asked.items():
        found.add(name, fuse(together, labelled.pairs), None, seed=seed)
    return found


def score_members(
    members: Mapping[str, Path],
    data: Path,
    *,
    device: torch.device,
    frozen: bool = False,
    seed: int = 0,
    engine: Engine = "auto",
    learnt: Sequence[Path] | None = None,
) -> Evaluation:
    """Scores of each member (name -> weights file) and, under "ensemble", of the mean of their cosines.

    frozen: also score each member's pretrained backbone before any training, as "<member> untrained".
    learnt: the photographs that the networks learnt from (`learnt_from`); with them leaks are looked for.
    """
    labelled = read_labelled(data)
    found = Evaluation(labelled, None if learnt is None else find_leaks(labelled, learnt))
    embed = partial(embed_labelled, labelled=labelled, device=device, engine=engine)

    def add(name: str, embeddings: Embeddings) -> None:
        found.add(name, similarities(embeddings, labelled), embeddings, seed=seed)

    untrained: dict[tuple[str, int, str], Embeddings] = {}
    for name, weights in members.items() if frozen else ():
        header = read_header(weights)
        key = (header.backbone, header.image_size, header.descriptors)
        if key not in untrained:
            network = SupConNet(header.backbone, descriptors=header.descriptors, image_size=header.image_size)
            untrained[key] = embed(network, label=f"{name} untrained")
        add(f"{name} untrained", untrained[key])
    for name, weights in members.items():
        found.embeddings[name] = embed(load_network(weights), label=name)
        add(name, found.embeddings[name])
    if len(members) > 1:
        add("ensemble", ensemble_embeddings(found.embeddings))
    return found
