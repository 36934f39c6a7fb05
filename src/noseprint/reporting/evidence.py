"""What the test labels show beyond the scores: gains of members, hardest pairs, thresholds and probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.calibration.curves import Calibration, probability_at
from noseprint.calibration.operating_points import OperatingPoint
from noseprint.calibration.verifier import Verifier
from noseprint.inference.evaluation import Embeddings, Evaluation, Similarity
from noseprint.inference.labelled_data import LabelledData
from noseprint.metrics.bootstrap import (
    MIN_IDENTITIES,
    Score,
    bootstrap_mean,
    percentile_interval,
    resampled_pair_weights,
)
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.metrics.verification import (
    ERRORS_NEEDED,
    accepted_weights,
    check_scores,
    roc_auc,
    roc_aucs,
    why_fmr_unsupported,
)
from noseprint.reporting.photographs import PhotographPair

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """How much higher the ensemble scores than some of its members, with paired intervals; None if not scored."""

    auc: Score | None = None
    map: Score | None = None


@dataclass(frozen=True)
class ThresholdTest:
    """What a threshold of the verifier does on the test pairs."""

    point: OperatingPoint
    fmr: Score
    """Share of the different pairs that are called the same (false match rate)."""
    tmr: Score
    """Share of the same pairs that are called the same (true match rate)."""
    called_different: Score
    """Share of the same pairs that are called different. On the hold-out it is at most the promised rate."""
    false_matches: int
    different: int
    same: int

    @property
    def broken(self) -> bool:
        """The promised rate lies below the interval, or there are 30 false matches and twice the promised rate."""
        many = self.false_matches >= ERRORS_NEEDED and self.fmr.value > 2 * self.point.fmr
        return many or self.fmr.low > self.point.fmr

    @property
    def above(self) -> bool:
        """The measured rate is above the promised one, but not clearly (see `broken`)."""
        return not self.broken and self.fmr.value > self.point.fmr

    @property
    def rejects_many(self) -> bool:
        """Clearly more same pairs are called different than on the hold-out."""
        return self.called_different.low > self.point.fmr

    @property
    def unsupported(self) -> bool:
        """There are too few false matches to measure the rate, and too few pairs to say that the promise is kept."""
        return self.false_matches < ERRORS_NEEDED and why_fmr_unsupported(self.different, self.point.fmr) is not None


def members_of(evaluation: Evaluation) -> list[str]:
    """The names of the members: without the ensemble and without untrained backbones."""
    return [name for name in evaluation.scores if name != "ensemble" and not name.endswith(" untrained")]


def whole_of(evaluation: Evaluation) -> str:
    """The name under which the whole is scored: "ensemble", or the only member."""
    return "ensemble" if "ensemble" in evaluation.scores else members_of(evaluation)[0]


def member_gains(evaluation: Evaluation, *, seed: int = 0) -> dict[str, Gain]:
    """For each member, the ensemble minus the ensemble without it; {} for a single member."""
    names = members_of(evaluation)
    if len(names) < 2:
        return {}
    precision = _ensemble_precision(evaluation)
    return {
        name: _gain_over([other for other in names if other != name], evaluation, precision, seed=seed)
        for name in names
    }


def gain_over_best(evaluation: Evaluation, *, seed: int = 0) -> tuple[str, Gain] | None:
    """The member with the highest mAP (without a search: ROC AUC) and the ensemble's gain; None for a single member."""
    names = members_of(evaluation)
    if len(names) < 2:
        return None
    scores = {name: evaluation.scores[name].map or evaluation.scores[name].auc for name in names}
    best = max(names, key=lambda name: score.value if (score := scores[name]) else 0.0)
    return best, _gain_over([best], evaluation, _ensemble_precision(evaluation), seed=seed)


def hardest_pairs(
    evaluation: Evaluation, *, same: bool, count: int, probability: Floats | None = None
) -> list[PhotographPair]:
    """The `count` least similar same pairs, or most similar different pairs; two photographs are shown once only.

    probability: the probability (P,) that each test pair is the same.
    """
    labelled, similarity = evaluation.labelled, evaluation.similarity[whole_of(evaluation)]
    pairs = labelled.pairs
    if pairs is None:
        return []
    rows = np.flatnonzero(labelled.same == same)
    rows = rows[np.argsort(similarity[rows] if same else -similarity[rows], kind="stable")]
    hardest: dict[frozenset[str], PhotographPair] = {}
    for row in rows:
        a, b = pairs.image_a[row], pairs.image_b[row]
        chance = None if probability is None else float(probability[row])
        pair = PhotographPair(pairs.folder / a, pairs.folder / b, float(similarity[row]), chance)
        hardest.setdefault(frozenset((a, b)), pair)
        if len(hardest) == count:
            break
    return list(hardest.values())


def fits(verifier: Verifier, evaluation: Evaluation) -> bool:
    """Whether the verifier was made for the evaluated members."""
    return {member.name for member in verifier.members} == set(members_of(evaluation))


def check_thresholds(verifier: Verifier, evaluation: Evaluation) -> list[ThresholdTest]:
    """Try each threshold of the verifier on the test pairs; [] without pairs or for a verifier of other members."""
    labelled = evaluation.labelled
    if not labelled.pairs or not fits(verifier, evaluation):
        return []
    similarity, different = evaluation.similarity[whole_of(evaluation)], ~labelled.same
    tests = []
    for point in verifier.points:
        reached = similarity >= point.threshold
        fmr, tmr = (_share_reached(reached, among, labelled) for among in (different, labelled.same))
        called_different = _share_reached(similarity < point.different_below, labelled.same, labelled)
        counts = int(reached[different].sum()), int(different.sum()), int(labelled.same.sum())
        tests.append(ThresholdTest(point, fmr, tmr, called_different, *counts))
    return tests


def pair_probabilities(
    evaluation: Evaluation, verifier: Verifier | None, calibrations: Mapping[str, Calibration]
) -> Floats | None:
    """The probability (P,) that each test pair is the same, by calibration on the hold-out; None if there is none.

    The verifier's calibration is used; without a verifier that fits, the mean log-odds by the `calibrations` of all
    members. The prior is the share of same pairs in the test, which is not what a calibration is judged by.
    """
    labelled, names = evaluation.labelled, members_of(evaluation)
    if labelled.pairs is None:
        return None
    if verifier and fits(verifier, evaluation):
        log_odds = verifier.calibration.log_odds(evaluation.similarity[whole_of(evaluation)])
    elif set(names) <= set(calibrations):
        log_odds = np.mean([calibrations[name].log_odds(evaluation.similarity[name]) for name in names], axis=0)
    else:
        return None
    return probability_at(log_odds, float(np.mean(labelled.same)))


def _gain_over(names: list[str], evaluation: Evaluation, precision: Floats | None, *, seed: int) -> Gain:
    """The ensemble minus the ensemble of `names`; precision: average precision (Q,) of the whole ensemble's search."""
    labelled = evaluation.labelled
    auc = mean_precision = None
    if labelled.pairs:
        rest = np.mean([evaluation.similarity[name] for name in names], axis=0)
        auc = _auc_gain(evaluation.similarity["ensemble"], rest, labelled, seed=seed)
    if precision is not None:
        rest_embeddings = ensemble_embeddings({name: evaluation.embeddings[name] for name in names})
        rest_precision, identity = _search(rest_embeddings, labelled)
        gain = precision - rest_precision
        bounds = (-1.0, 1.0) if len(set(identity)) < MIN_IDENTITIES else bootstrap_mean(gain, identity, seed=seed)
        mean_precision = Score(float(np.mean(gain)), *bounds)
    return Gain(auc, mean_precision)


def _auc_gain(whole: Similarity, rest: Similarity, labelled: LabelledData, *, seed: int) -> Score:
    """The difference of the ROC AUCs. Both use the same replicates, so what makes a replicate easy cancels out."""
    (ours, same), (theirs, _) = check_scores(whole, labelled.same), check_scores(rest, labelled.same)
    gain = roc_auc(whole, same) - roc_auc(rest, same)
    if len(np.union1d(*labelled.clusters)) < MIN_IDENTITIES:
        return Score(gain, -1, 1)
    differences = [
        roc_aucs(accepted_weights(ours, same, weights)) - roc_aucs(accepted_weights(theirs, same, weights))
        for weights in resampled_pair_weights(*labelled.clusters, seed=seed)
    ]
    return Score(gain, *percentile_interval(np.concatenate(differences)))


def _ensemble_precision(evaluation: Evaluation) -> Floats | None:
    if not (evaluation.labelled.retrieval and evaluation.embeddings):
        return None
    return _search(ensemble_embeddings(evaluation.embeddings), evaluation.labelled)[0]


def _search(embeddings: Embeddings, labelled: LabelledData) -> tuple[Floats, npt.NDArray[np.str_]]:
    """Average precision (Q,) and identity (Q,) of each query that has a match."""
    table = labelled.retrieval
    assert table is not None
    rows = np.array([labelled.index[path] for path in table.paths])
    scores = retrieval_metrics(
        embeddings[rows],
        table.identities,
        queries=np.array(table.is_query),
        gallery=np.array(table.is_gallery),
        encounters=table.encounters,
    )
    return scores.average_precision, np.array(table.identities)[scores.query]


def _share_reached(reached: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], labelled: LabelledData) -> Score:
    """The share of the test pairs `among` (P,) that `reached` (P,) a threshold."""
    rate = float(np.mean(reached[among]))
    if len(np.union1d(*labelled.clusters)) < MIN_IDENTITIES:
        return Score(rate, 0, 1)
    blocks = [weight[:, among] for weight in resampled_pair_weights(*labelled.clusters, seed=0)]
    with np.errstate(invalid="ignore"):
        rates = [weight @ reached[among] / weight.sum(axis=1) for weight in blocks]
    return Score(rate, *percentile_interval(np.concatenate(rates)))
