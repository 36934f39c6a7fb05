"""The report's first lines: what was made, how good it is, and how sure that is, for a reader without the terms."""

from noseprint.inference.evaluation import Evaluation, Scores
from noseprint.inference.labelled_data import LabelledData
from noseprint.inference.leaks import leave_out
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score
from noseprint.metrics.verification import least_fmr_rounded_up
from noseprint.reporting.evidence import Gain, members_of

_FEW = 30  # identities below which an interval itself is a rough guess


def headline(evaluation: Evaluation) -> list[str]:
    """What the ensemble (or the only member) scores, a sentence a figure."""
    name = "ensemble" if "ensemble" in evaluation.scores else members_of(evaluation)[0]
    best, who = evaluation.scores[name], "the ensemble" if name == "ensemble" else "the network"
    unseen = evaluation.without_learned.get(name) or best
    told = []
    if any(_nothing_known(score) for score in (best.auc, best.rank_1)):
        told.append(
            f"There are too few individuals to tell how good {who} is ({_individuals(evaluation)}): it takes "
            f"{MIN_IDENTITIES} for an interval, and many more for a narrow one."
        )
    if best.auc and not _nothing_known(best.auc):
        told.append(
            f"Shown a pair of the same individual and a pair of two different ones, {who} finds the same pair more "
            f"alike in {_percent(best.auc, unseen.auc, 'of cases')}."
        )
    if best.eer and not _nothing_known(best.eer):
        told.append(
            "At the threshold where both errors are equally frequent, it errs on "
            f"{_percent(best.eer, unseen.eer, 'of the pairs')}."
        )
    if best.rank_1 and not _nothing_known(best.rank_1):
        told.append(
            f"Asked whose a photograph is, among {_gallery(evaluation, seen=unseen.rank_1 is None)}, its first answer "
            f"is right in {_percent(best.rank_1, unseen.rank_1, 'of the searches')}. A larger gallery scores lower."
        )
    return told


def verdict(evaluation: Evaluation, over_best: tuple[str, Gain] | None) -> list[str]:
    """How sure that is, and what the data cannot say."""
    told = []
    if over_best:
        name, gain = over_best
        score, what = (gain.map, "mAP") if gain.map else (gain.auc, "ROC AUC")
        if score:
            told.append(_better(name, score, what))
    labelled = evaluation.labelled
    few = " That is few: take the intervals themselves as rough." if min(_counts(evaluation).values()) < _FEW else ""
    told.append(
        "The intervals say how far the figures would move with other individuals of the same kind; they rest on "
        f"{_individuals(evaluation)}.{few} Photographs from elsewhere may score worse."
    )
    if labelled.pairs:
        different = int((~labelled.same).sum())
        lowest = least_fmr_rounded_up(different)
        told.append(
            f"{different:,} different pairs support no statement about false match rates below {100 * lowest:g} %."
            if lowest
            else f"{different:,} different pairs are too few for any statement about a false match rate."
        )
    return [*told, *labelled.remarks, *_flattered(evaluation)]


def percent(score: Score, of: str) -> str:
    """A share in words, with its interval."""
    return f"{100 * score.value:.1f} % {of} (95 % interval {100 * score.low:.1f} to {100 * score.high:.1f} %)"


def _flattered(evaluation: Evaluation) -> list[str]:
    """What of the scored photographs the networks knew, and the scores without it."""
    leaks = evaluation.leaks
    if leaks is None:
        return []
    told = []
    if evaluation.other_data:
        told.append(
            "May flatter: the networks were trained on other photographs than this data folder's. Whether what is "
            "scored here was among them is not known; if it was, these figures say nothing of new photographs."
        )
    name = "ensemble" if "ensemble" in evaluation.scores else members_of(evaluation)[0]
    scored = f"of the {len(evaluation.labelled.paths):,} scored photographs"
    if leaks.learned:
        what = f"{len(leaks.learned):,} {scored} were learnt from, as labelled or pseudo-labelled ones"
        told.append(f"May flatter: {what}. Without them: {_rest(evaluation.without_learned[name])}.")
    if leaks.copies:
        what = f"{len(leaks.copies):,} {scored} are near copies of ones learnt from"
        told.append(f"May flatter: {what}. Without near copies: {_rest(evaluation.without_copies[name])}.")
    elif leaks.compared:
        what = f"{len(leaks.compared):,} comparisons are of near copies with each other"
        told.append(f"May flatter: {what}. Without them: {_rest(evaluation.without_copies[name])}.")
    return told


def _rest(scores: Scores) -> str:
    figures = {"ROC AUC": scores.auc, "mAP": scores.map, "Rank-1": scores.rank_1}
    return ", ".join(f"{term} {score}" for term, score in figures.items() if score) or "too little to score"


def _better(name: str, gain: Score, what: str) -> str:
    interval = f"{what} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    if gain.low > 0:
        return f"The ensemble is better than its best member, {name}, beyond the interval: {interval}."
    if gain.high < 0:
        return f"The ensemble is worse than its best member, {name}, beyond the interval: {interval}. Use that member."
    return f"Whether the ensemble is better than its best member, {name}, this data cannot decide: {interval}."


def _counts(evaluation: Evaluation) -> dict[str, int]:
    """Individuals that the intervals of the pairs and of the search rest on."""
    return {
        kind: int(facts["identities"])
        for kind, facts in evaluation.labelled.counts().items()
        if kind == "pairs" or any(scores.map for scores in evaluation.scores.values())
    }


def _individuals(evaluation: Evaluation) -> str:
    counts = _counts(evaluation)
    where = {"pairs": "in the test pairs", "search": "in the search"}
    if len(set(counts.values())) == 1:
        return f"{counts.popitem()[1]:,} individuals"
    return " and ".join(f"{number:,} individuals {where[kind]}" for kind, number in counts.items())


def _gallery(evaluation: Evaluation, *, seen: bool) -> str:
    """Among how many an individual is looked for: those of the photographs that no training saw, unless `seen`."""
    labelled, leaks = evaluation.labelled, evaluation.leaks
    if leaks is None or evaluation.other_data:
        return _among(labelled)
    if seen:
        return f"{_among(labelled)}, of which some were learnt from"
    if leaks.learned:  # what `_percent` says is of the rest
        return _among(leave_out(labelled, photographs=leaks.learned)[0])
    return f"{_among(labelled)} that no training saw"


def _among(labelled: LabelledData) -> str:
    assert labelled.retrieval
    table = labelled.retrieval.where(not query for query in labelled.retrieval.is_query)
    return f"{len(set(table.identities)):,} individuals with {len(table.paths):,} photographs"


def _nothing_known(score: Score | None) -> bool:
    return score is not None and (score.low, score.high) == (0.0, 1.0)


def _percent(score: Score, unseen: Score | None, of: str) -> str:
    """The figure of what no training saw, and that of everything where it is another one."""
    if unseen == score:
        return percent(score, of)
    whole = f"{100 * score.value:.1f} %"
    if unseen is None:
        return f"{percent(score, of)}, those that were learnt from included"
    return f"{percent(unseen, of)} among photographs that no training saw; with those learnt from it is {whole}"
