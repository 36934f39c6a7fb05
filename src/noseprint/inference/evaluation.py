"""Scores of each member and of their ensemble on a data folder with labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.command_line import Engine
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import A
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.inference.fuse import fuse
from noseprint.inference.labelled_data import LabelledData, NothingToScoreError, read_labelled_data
from noseprint.inference.leaks import Leaks, find_leaks, leave_out
from noseprint.inference.similarity_table import read_similarities
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
from noseprint.models.network import EmbeddingNet, SupConNet
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import load_network, read_header
from noseprint.models.weights_header import WeightsHeader

Embeddings = npt.NDArray[np.float32]
Similarity = npt.NDArray[np.floating]
FMRS = {"tmr_at_1e_1": 1e-1, "tmr_at_1e_2": 1e-2, "tmr_at_1e_3": 1e-3}


@dataclass(frozen=True)
class Scores:
    """Scores of one member or ensemble; None if the data folder has no labels for a score, or too few.

    `auc` (area under the ROC curve), `eer` (equal error rate) and the true match rates (TMR) at false match rates of
    1e-1, 1e-2 and 1e-3 are scores of the test pairs. The others are scores of the search of queries in the gallery.
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


def embed_labelled_data(
    network: EmbeddingNet, labelled: LabelledData, *, device: torch.device, label: str, engine: Engine = "auto"
) -> Embeddings:
    """Embed the images of `labelled`: (N, D), in the order of its paths. `engine` is as in `embed_images`."""
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


def score_embeddings(embeddings: Embeddings, labelled: LabelledData, *, seed: int = 0) -> Scores:
    """Score the test pairs and the search of `labelled` with embeddings (N, D) of its images."""
    scores = score_pairs(labelled_similarities(embeddings, labelled), labelled, seed=seed)
    return replace(scores, **score_retrieval(embeddings, labelled, seed=seed))


def labelled_similarities(embeddings: Embeddings, labelled: LabelledData) -> Similarity:
    """Similarities (P,) of the test pairs of `labelled`, from embeddings (N, D) of its images."""
    pairs = labelled.pairs
    if pairs is None:
        return np.zeros(0, np.float32)
    index = {name: labelled.index[pairs.folder / name] for name in pairs.names()}
    return pair_similarities(embeddings, index, pairs)


def score_pairs(similarity: Similarity, labelled: LabelledData, *, seed: int = 0) -> Scores:
    """Score similarities (P,) of the test pairs of `labelled`."""
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
    named = zip(figures.items(), intervals, strict=True)
    return Scores(**{name: Score(float(figure(curve)[0]), *interval) for (name, figure), interval in named})


def score_retrieval(embeddings: Embeddings, labelled: LabelledData, *, seed: int = 0) -> dict[str, Score]:
    """Score the search of `labelled` with embeddings (N, D) of its images: the fields of `Scores` by name."""
    table = labelled.retrieval
    if table is None:
        return {}
    rows = np.array([labelled.index[path] for path in table.paths])
    metrics = retrieval_metrics(
        embeddings[rows],
        table.identities,
        queries=np.array(table.is_query),
        gallery=np.array(table.is_gallery),
        encounters=table.encounters,
    )
    by_query = {"map": metrics.average_precision, "precision_at_5": metrics.precision_at_5}
    by_query |= {f"rank_{k}": hit for k, hit in zip(RANKS, metrics.hit.T, strict=True)}
    identity = np.array(table.identities)[metrics.query]
    return {name: Score(float(np.mean(v)), *bootstrap_mean(v, identity, seed=seed)) for name, v in by_query.items()}


@dataclass
class Evaluation:
    """The scores of every member, and the data behind them.

    Each dictionary has an entry for every member, for "<member> untrained" if that was requested, and for "ensemble"
    if there are several members.
    """

    labelled: LabelledData
    leaks: Leaks | None
    """None if nobody knows which photographs the networks learned from."""
    scores: dict[str, Scores] = field(default_factory=dict)
    similarity: dict[str, Similarity] = field(default_factory=dict)
    """(P,) for the test pairs; empty arrays if there are none."""
    embeddings: dict[str, Embeddings] = field(default_factory=dict)
    """(N, D) for `labelled.paths`, of the members only; `ensemble_embeddings` gives the ensemble's. No entries if only
    similarities are known."""
    without_copies: dict[str, Scores] = field(default_factory=dict)
    """Scores without near copies of photographs learned from, and without comparisons of near copies. No entries if
    there are no near copies."""
    without_learned: dict[str, Scores] = field(default_factory=dict)
    """Scores without the photographs learned from. No entries if there are none. The search is then smaller, so even an
    untrained network scores differently."""
    other_data: bool = False
    """The networks were trained on another data folder, so nobody knows which photographs they learned from."""

    def add(self, name: str, similarity: Similarity, embeddings: Embeddings | None, *, seed: int) -> None:
        """Score similarities (P,) of the test pairs and, if given, embeddings (N, D)."""

        def scores(labelled: LabelledData, keep: npt.NDArray[np.bool_]) -> Scores:
            pair_scores = score_pairs(similarity[keep], labelled, seed=seed)
            if embeddings is None:
                return pair_scores
            return replace(pair_scores, **score_retrieval(embeddings, labelled, seed=seed))

        self.similarity[name] = similarity
        self.scores[name] = scores(self.labelled, np.ones(len(similarity), bool))
        if not self.leaks:
            return
        if self.leaks.copies or self.leaks.compared:
            copies = {copy for copy, _ in self.leaks.copies}
            rest = leave_out(self.labelled, photographs=copies, compared=self.leaks.compared)
            self.without_copies[name] = scores(*rest)
        if self.leaks.learned:
            self.without_learned[name] = scores(*leave_out(self.labelled, photographs=self.leaks.learned))

    def to_json(self) -> dict[str, object]:
        """The scores by name; under "data" the counts behind them and the leaks that may inflate them."""
        named = {"scores": self.scores, "without_copies": self.without_copies, "without_learned": self.without_learned}
        plain = {key: {name: asdict(of) for name, of in scores.items()} for key, scores in named.items()}
        data: dict[str, object] = {
            "unsupported": self.unsupported,
            "remarks": list(self.labelled.remarks),
            "other_data": self.other_data,
            "leaks": self.leaks and self.leaks.to_json(),
        }
        return {**plain.pop("scores"), "data": {**self.labelled.counts(), **data, **plain}}

    @property
    def unsupported(self) -> dict[str, str]:
        """The true match rates that the test pairs are too few for: name in `Scores` -> reason."""
        different = int(np.sum(~self.labelled.same))
        rates = FMRS.items() if self.labelled.pairs else ()
        return {name: reason for name, fmr in rates if (reason := why_fmr_unsupported(different, fmr))}


def evaluate_tables(
    members: Mapping[str, Path], data: Path, *, seed: int = 0, learned: Sequence[Path] | None = None
) -> Evaluation:
    """Score each member's similarity.csv (name -> file) and, as "ensemble", their mean.

    For members without a network, such as the checkpoints of 2022. Only the test pairs are scored; a search needs
    `evaluate_members`. Pairs to which a member has no answer are left out, with a remark. `learned` is as there.
    """
    labelled = replace(read_labelled_data(data), retrieval=None)
    if labelled.pairs is None:
        raise NoseprintError(f"{data} has no test/labels.csv: without it, similarity.csv files cannot be scored")
    tables = {name: read_similarities(path) for name, path in members.items()}
    scored = {name: {name: table} for name, table in tables.items()}
    if len(tables) > 1:
        scored["ensemble"] = tables
    similarities = {name: fuse(fused_tables, labelled.pairs) for name, fused_tables in scored.items()}
    answered = ~np.isnan(np.sum(list(similarities.values()), axis=0))
    if not answered.all():
        pairs = zip(labelled.pairs.image_a, labelled.pairs.image_b, answered, strict=True)
        unanswered = [(labelled.pairs.folder / a, labelled.pairs.folder / b) for a, b, known in pairs if not known]
        remark = f"Not scored: {len(unanswered)} of {len(answered)} test pairs, to which a member has no answer."
        labelled = _require_any(leave_out(labelled, compared=unanswered)[0], remark)
    evaluation = Evaluation(labelled, None if learned is None else find_leaks(labelled, learned))
    for name, similarity in similarities.items():
        evaluation.add(name, similarity[answered], None, seed=seed)
    return evaluation


def evaluate_members(
    members: Mapping[str, Path],
    data: Path,
    *,
    device: torch.device,
    frozen: bool = False,
    seed: int = 0,
    engine: Engine = "auto",
    learned: Sequence[Path] | None = None,
    skip_bad: bool = False,
    skipped_csv: Path | None = None,
) -> Evaluation:
    """Score each member (name -> weights file) and, as "ensemble", the mean of their cosines.

    Args:
        members: Weights file of each member.
        data: Data folder with labels.
        device: Where the networks run.
        frozen: Also score each member's pretrained backbone before any training, as "<member> untrained".
        seed: Of the bootstrap.
        engine: As in `embed_images`.
        learned: The photographs that the networks learned from (see `learned_photographs`). If given, leaks are
            searched for.
        skip_bad: Score without the photographs that are missing or broken, with a remark.
        skipped_csv: Where to list those.

    """
    labelled = read_labelled_data(data, missing_ok=skip_bad)
    readable = readable_photographs(labelled.paths, skip_bad=skip_bad, skipped_csv=skipped_csv)
    if bad := [path for path in labelled.paths if path not in readable]:
        remark = f"Not scored: {len(bad)} of {len(labelled.paths)} photographs, which cannot be read, such as {bad[0]}."
        labelled = _require_any(leave_out(labelled, photographs=bad)[0], remark)
        paths = tuple(path for path in labelled.paths if path in readable)
        labelled = replace(labelled, paths=paths, index={path: row for row, path in enumerate(paths)})
    evaluation = Evaluation(labelled, None if learned is None else find_leaks(labelled, learned))
    embed = partial(embed_labelled_data, labelled=labelled, device=device, engine=engine)

    def add(name: str, embeddings: Embeddings) -> None:
        evaluation.add(name, labelled_similarities(embeddings, labelled), embeddings, seed=seed)

    untrained: dict[tuple[object, ...], Embeddings] = {}
    for name, weights in members.items() if frozen else ():
        header = read_header(weights)
        key = (header.backbone, header.image_size, header.descriptors, header.pooling, header.stride, header.others)
        if key not in untrained:
            untrained[key] = embed(_untrained_network(header), label=f"{name} untrained")
        add(f"{name} untrained", untrained[key])
    for name, weights in members.items():
        evaluation.embeddings[name] = embed(load_network(weights), label=name)
        add(name, evaluation.embeddings[name])
    if len(members) > 1:
        add("ensemble", ensemble_embeddings(evaluation.embeddings))
    return evaluation


def _untrained_network(header: WeightsHeader) -> EmbeddingNet:
    """The network before any training: its backbones with their public weights, and no projection."""
    size = header.image_size
    if header.kind == "embedding":
        return SupConNet(header.backbone, descriptors=header.descriptors, image_size=size)
    return ProjectionNet(
        header.backbone,
        dim=None,
        pooling=header.pooling,
        stride=header.stride,
        others=header.others,
        image_size=size,
    )


def _require_any(labelled: LabelledData, remark: str) -> LabelledData:
    """`labelled` with a remark on what was left out. Raises NothingToScoreError if too little is left."""
    if not (labelled.pairs or labelled.retrieval):
        raise NothingToScoreError(f"{remark} Too little is left to score: replace them")
    return replace(labelled, remarks=(*labelled.remarks, remark))
