"""What the labels say beyond the scores: what each member adds, how alike members are, and where they err."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.inference.evaluation import Embeddings, Evaluation
from noseprint.inference.labelled_data import LabelledData
from noseprint.metrics.bootstrap import (
    MIN_IDENTITIES,
    Score,
    bootstrap_mean,
    percentile_interval,
    resampled_pair_weights,
)
from noseprint.metrics.retrieval import RetrievalScores, retrieval_metrics
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.metrics.verification import accepted_weights, check_scores, roc_auc, roc_aucs

Similarities = Mapping[str, npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Gain:
    """How much higher one network or ensemble scores than another, with paired intervals; None where not scored."""

    auc: Score | None = None
    map: Score | None = None


@dataclass(frozen=True)
class HardPair:
    """Two photographs that the ensemble finds hard."""

    image_a: Path
    image_b: Path
    similarity: float
    probability: float | None = None


def member_gains(evaluation: Evaluation, *, seed: int = 0) -> dict[str, Gain]:
    """The ensemble minus the ensemble without each member: {} for one member."""
    labelled, names = evaluation.labelled, members_of(evaluation)
    if len(names) < 2:
        return {}
    whole = (
        _search(ensemble_embeddings(evaluation.embeddings), labelled)
        if labelled.retrieval and evaluation.embeddings
        else None
    )
    gains = {}
    for name in names:
        rest = [other for other in names if other != name]
        auc = mean_ap = None
        if labelled.pairs:
            without = np.mean([evaluation.similarity[other] for other in rest], axis=0)
            auc = _auc_gain(evaluation.similarity["ensemble"], without, labelled, seed=seed)
        if whole:
            mean_ap = _map_gain(
                whole, ensemble_embeddings({other: evaluation.embeddings[other] for other in rest}), labelled, seed
            )
        gains[name] = Gain(auc, mean_ap)
    return gains


def gain_over_best(evaluation: Evaluation, *, seed: int = 0) -> tuple[str, Gain] | None:
    """The member with the best score (mAP, where there is a search, else ROC AUC) and what the ensemble gains on it."""
    labelled, names = evaluation.labelled, members_of(evaluation)
    if len(names) < 2:
        return None
    scores = {name: evaluation.scores[name].map or evaluation.scores[name].auc for name in names}
    best = max(names, key=lambda name: score.value if (score := scores[name]) else 0.0)
    auc = mean_ap = None
    if labelled.pairs:
        auc = _auc_gain(evaluation.similarity["ensemble"], evaluation.similarity[best], labelled, seed=seed)
    if labelled.retrieval and evaluation.embeddings:
        whole = _search(ensemble_embeddings(evaluation.embeddings), labelled)
        mean_ap = _map_gain(whole, evaluation.embeddings[best], labelled, seed)
    return best, Gain(auc, mean_ap)


def members_of(evaluation: Evaluation) -> list[str]:
    """The members' names: neither the ensemble nor untrained backbones."""
    return [name for name in evaluation.scores if name != "ensemble" and not name.endswith(" untrained")]


def correlations(similarity: Similarities) -> npt.NDArray[np.float64]:
    """Pearson correlation (M, M) of the members' similarities of the same pairs; nan for one that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(np.stack(list(similarity.values()))))


def hardest(
    similarity: npt.NDArray[np.floating],
    labelled: LabelledData,
    *,
    same: bool,
    count: int,
    probability: npt.NDArray[np.floating] | None = None,
) -> list[HardPair]:
    """The `count` least similar same pairs, or the most similar different ones; of each two photographs one pair."""
    pairs = labelled.pairs
    if pairs is None:
        return []
    rows = np.flatnonzero(labelled.same == same)
    rows = rows[np.argsort(similarity[rows] if same else -similarity[rows], kind="stable")]
    found: dict[frozenset[str], HardPair] = {}
    for row in rows:
        a, b = pairs.image_a[row], pairs.image_b[row]
        likely = None if probability is None else float(probability[row])
        found.setdefault(
            frozenset((a, b)), HardPair(pairs.folder / a, pairs.folder / b, float(similarity[row]), likely)
        )
        if len(found) == count:
            break
    return list(found.values())


def _auc_gain(
    similarity: npt.NDArray[np.floating], others: npt.NDArray[np.floating], labelled: LabelledData, *, seed: int
) -> Score:
    """Both are counted in each replicate: what makes a replicate easy for both cancels."""
    (ours, same), (theirs, _) = check_scores(similarity, labelled.same), check_scores(others, labelled.same)
    gain = roc_auc(similarity, same) - roc_auc(others, same)
    if len(np.union1d(*labelled.clusters)) < MIN_IDENTITIES:
        return Score(gain, -1, 1)
    differences = [
        roc_aucs(accepted_weights(ours, same, weights)) - roc_aucs(accepted_weights(theirs, same, weights))
        for weights in resampled_pair_weights(*labelled.clusters, seed=seed)
    ]
    return Score(gain, *percentile_interval(np.concatenate(differences)))


def share_accepted(accepted: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], labelled: LabelledData) -> Score:
    """The share of the test pairs `among` (P,) that are `accepted` (P,)."""
    rate = float(np.mean(accepted[among]))
    if len(np.union1d(*labelled.clusters)) < MIN_IDENTITIES:
        return Score(rate, 0, 1)
    blocks = [weight[:, among] for weight in resampled_pair_weights(*labelled.clusters, seed=0)]
    with np.errstate(invalid="ignore"):
        rates = [weight @ accepted[among] / weight.sum(axis=1) for weight in blocks]
    return Score(rate, *percentile_interval(np.concatenate(rates)))


def _map_gain(whole: RetrievalScores, others: Embeddings, labelled: LabelledData, seed: int) -> Score:
    table = labelled.retrieval
    assert table is not None
    gain = whole.average_precision - _search(others, labelled).average_precision
    identity = np.array(table.identities)[whole.query]
    bounds = (-1.0, 1.0) if len(set(identity)) < MIN_IDENTITIES else bootstrap_mean(gain, identity, seed=seed)
    return Score(float(np.mean(gain)), *bounds)


def _search(embeddings: Embeddings, labelled: LabelledData) -> RetrievalScores:
    table = labelled.retrieval
    assert table is not None
    rows = np.array([labelled.index[path] for path in table.paths])
    is_query = np.array(table.is_query)
    return retrieval_metrics(
        embeddings[rows], table.identities, queries=is_query, gallery=~is_query, encounters=table.encounters
    )
