"""The page: computes what it shows and fills report.html.j2, which holds the text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from noseprint.calibration.reliability import reliability_curve, reliability_scores
from noseprint.calibration.verifier import Verifier
from noseprint.inference.evaluation import FMRS, Evaluation, Scores
from noseprint.inference.leaks import leave_out
from noseprint.inspection.check import SplitFigures
from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.metrics.verification import ERRORS_NEEDED, least_fmr, least_fmr_rounded_up, roc_curve
from noseprint.reporting import charts
from noseprint.reporting.evidence import (
    check_thresholds,
    fits,
    gain_over_best,
    hardest_pairs,
    member_gains,
    members_of,
    pair_probabilities,
    whole_of,
)
from noseprint.reporting.photographs import thumbnail
from noseprint.reporting.run_folder import (
    PseudoLabelSummary,
    Training,
    TrainingGain,
    TrainingSet,
)
from noseprint.reporting.templates import render_template
from noseprint.version import __version__

MEASURED = 2_000
"""The most photographs of a split that are measured."""
_FEW = 30  # individuals; with fewer an interval is itself only a rough guess
_COARSE = 0.1  # a hold-out that can only tell larger differences says little
_HARDEST, _ACCEPTED, _REFUSED = 6, 6, 4  # pairs shown of each kind
_COLUMNS = [field.name for field in fields(Scores) if field.name != "rank_10"]
_CURVES = {"loss": "Loss", "auc": "Hold-out ROC AUC", "map": "Hold-out mAP"}


@dataclass(frozen=True)
class ReportData:
    """What a report is made from. The page says what is missing (None or empty), and how to get it."""

    run: str
    """The name of the run, "" for the full campaign."""
    data: str
    """The name of the data folder."""
    members: Sequence[str]
    evaluation: Evaluation | None
    why_not_scored: str
    """Why there is no `evaluation`, and how to get one."""
    trainings: dict[str, Training]
    other_photographs: bool
    """The networks were trained on other photographs than those of the data folder."""
    training_set: TrainingSet | None
    splits: Sequence[SplitFigures]
    pseudo_labels: PseudoLabelSummary | None
    verifier: Verifier | None
    why_not_calibrated: str
    """Why there is no `verifier`, and how to get one."""


def render(report: ReportData) -> str:
    """The page as HTML. The same data gives the same text."""
    return render_template(
        "report.html.j2",
        filters={"duration": duration, "quantiles": _quantiles, "thumbnail": cache(thumbnail)},
        report=report,
        version=__version__,
        test=_test(report.evaluation, report) if report.evaluation else None,
        training=_training(report.trainings) if report.trainings else None,
        accepted=_evenly(report.pseudo_labels.accepted, _ACCEPTED) if report.pseudo_labels else [],
        refused=report.pseudo_labels.refused[:_REFUSED] if report.pseudo_labels else [],
        splits=[split for split in report.splits if split.short_sides],
        measured=MEASURED,
        fewest=MIN_IDENTITIES,
    )


def duration(seconds: float) -> str:
    """A time for people: 9.4 s, 3 min 20 s, 27 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _test(evaluation: Evaluation, report: ReportData) -> dict[str, Any]:
    """What the sections on the labelled test data show."""
    labelled, scores, name = evaluation.labelled, evaluation.scores, whole_of(evaluation)
    columns = [column for column in _COLUMNS if any(getattr(row, column) for row in scores.values())]
    individuals = {kind: counts["identities"] for kind, counts in labelled.counts().items()}
    if "map" not in columns:
        individuals.pop("search", None)
    headline = (scores[name].auc, scores[name].rank_1)
    unknown = [s for s in headline if s and (s.low, s.high) == (0.0, 1.0)]  # too few individuals for an interval
    gains = member_gains(evaluation)
    gain_columns = [column for column in ("auc", "map") if any(getattr(gain, column) for gain in gains.values())]
    return {
        "subject": "the ensemble" if name == "ensemble" else "the network",
        "scores": scores,
        "columns": columns,
        "whole": scores[name],
        "unseen": evaluation.without_learned.get(name, scores[name]),
        "unknown": unknown,
        "gallery": _gallery(evaluation),
        "individuals": individuals,
        "few": min(individuals.values()) < _FEW,
        "remarks": labelled.remarks,
        "other_photographs": evaluation.other_data,
        "flattered": list(_flattered(evaluation)),
        "scored": len(labelled.paths),
        "untrained": any(row.endswith(" untrained") for row in scores),
        "networks": bool(evaluation.embeddings),
        "score_charts": [
            charts.intervals(rows, name=f"scores-{column}", label=label)
            for column, label in (("auc", "ROC AUC of the test pairs"), ("map", "mAP of the search"))
            if (rows := {row: score for row, of in scores.items() if (score := getattr(of, column))})
        ],
        "over_best": gain_over_best(evaluation),
        "gains": gains,
        "gain_columns": gain_columns,
        "useless": {
            column: [member for member, gain in gains.items() if getattr(gain, column).value <= 0]
            for column in gain_columns
        },
        "pairs": _pairs(evaluation, report) if labelled.pairs else None,
        "search": labelled.counts().get("search") if "map" in columns else None,
    }


def _pairs(evaluation: Evaluation, report: ReportData) -> dict[str, Any]:
    """What the sections on the labelled test pairs show."""
    labelled, name, verifier = evaluation.labelled, whole_of(evaluation), report.verifier
    different = int((~labelled.same).sum())
    thresholds = {}
    if verifier and fits(verifier, evaluation):
        point = verifier.points[-1]
        thresholds = {"different below": point.different_below, "same from": point.threshold}
    curves = {
        member: roc_curve(evaluation.similarity[member], labelled.same)
        for member in dict.fromkeys((*members_of(evaluation), name))
    }
    calibrations = {member: of.calibration for member, of in report.trainings.items() if of.calibration}
    probability = pair_probabilities(evaluation, verifier, calibrations)
    scores = chart = None
    if probability is not None:
        a, b = labelled.clusters
        scores = reliability_scores(probability, labelled.same, a, b)
        chart = charts.reliability(reliability_curve(probability, labelled.same, identity_a=a, identity_b=b))
    return {
        "count": len(labelled.same),
        "different": different,
        "same_share": float(np.mean(labelled.same)),
        "least_fmr": least_fmr(different),
        "lowest_fmr": least_fmr_rounded_up(different),
        "errors_needed": ERRORS_NEEDED,
        "unsupported_fmrs": [FMRS[column] for column in evaluation.unsupported],
        "similarities": charts.similarities(evaluation.similarity[name], labelled.same, thresholds=thresholds),
        "thresholds": thresholds,
        "roc": charts.roc(curves, least_fmr=least_fmr(different)),
        "threshold_tests": check_thresholds(verifier, evaluation) if verifier else [],
        "hardest_different": hardest_pairs(evaluation, same=False, count=_HARDEST, probability=probability),
        "hardest_same": hardest_pairs(evaluation, same=True, count=_HARDEST, probability=probability),
        "reliability": scores,
        "reliability_chart": chart,
    }


def _training(trainings: Mapping[str, Training]) -> dict[str, Any]:
    """What the section on the trainings shows."""
    styles = charts.line_styles(list(trainings))
    curves = {figure: {name: of.curve(figure) for name, of in trainings.items()} for figure in _CURVES}
    curves = {figure: {name: curve for name, curve in of.items() if curve[0]} for figure, of in curves.items()}
    seconds = [of.seconds for of in trainings.values()]
    timed = [value for value in seconds if value is not None]
    return {
        "seconds": sum(timed) if len(timed) == len(seconds) else None,
        "styles": styles,
        "gain": _gain(trainings),
        "charts": {
            figure: charts.training_curves(of, name=f"training-{figure}", label=_CURVES[figure], styles=styles)
            for figure, of in curves.items()
            if of
        },
    }


def _gain(trainings: Mapping[str, Training]) -> dict[str, Any]:
    """What the report says about the gains of the trainings on the hold-out."""
    gains = {name: gain for name, of in trainings.items() if (gain := of.gain)}
    helped = len(gains) == len(trainings) and all(gain.low > 0 for gain in gains.values())
    return {
        "of": gains,
        "sizes": list(dict.fromkeys(_size(gain) for gain in gains.values())),
        "unknown": list(dict.fromkeys(_size(gain) for gain in gains.values() if gain.unknown)),
        "coarse": _coarse(gains),
        "no_room": {name: gain for name, gain in gains.items() if gain.no_room and not gain.unknown},
        "may_be_chance": [name for name, gain in gains.items() if gain.may_be_chance],
        "start_kept": [name for name, gain in gains.items() if gain.step == 0 and not gain.unknown],
        "nothing_held_out": [name for name, of in trainings.items() if of.holdout_share == 0],
        "weakest": min(gains.items(), key=lambda item: item[1].value) if helped else None,
    }


def _coarse(gains: Mapping[str, TrainingGain]) -> list[tuple[str, TrainingGain, int, int]]:
    """Each hold-out that can tell little: its size, its least certain gain, the number of such gains, and of all."""
    coarse = []
    for size in dict.fromkeys(_size(gain) for gain in gains.values()):
        here = [gain for gain in gains.values() if _size(gain) == size]
        wide = [gain for gain in here if gain.margin is not None and round(gain.margin, 3) >= _COARSE]
        if wide:
            coarse.append((size, max(wide, key=lambda gain: gain.margin or 0), len(wide), len(here)))
    return coarse


def _size(gain: TrainingGain) -> str:
    """How much is held out. The page speaks of individuals."""
    return gain.size.replace("identities", "individuals")


def _flattered(evaluation: Evaluation) -> Iterator[tuple[str, int, Scores]]:
    """What makes the scores too high: its kind, how often it occurs, and the whole's scores without it."""
    name, leaks = whole_of(evaluation), evaluation.leaks
    if leaks and leaks.learned:
        yield "trained", len(leaks.learned), evaluation.without_learned[name]
    if leaks and leaks.copies:
        yield "copies", len(leaks.copies), evaluation.without_copies[name]
    elif leaks and leaks.compared:
        yield "compared", len(leaks.compared), evaluation.without_copies[name]


def _gallery(evaluation: Evaluation) -> dict[str, Any] | None:
    """The photographs and individuals that the headline's search looks among, and whether a training saw them."""
    labelled, leaks = evaluation.labelled, evaluation.leaks
    table, seen = labelled.retrieval, "unknown"
    if table is None:
        return None
    if leaks and not evaluation.other_data:
        unseen = evaluation.without_learned.get(whole_of(evaluation))
        if not leaks.learned:
            seen = "none"
        elif unseen and unseen.rank_1:
            seen = "left out"
            table = leave_out(labelled, photographs=leaks.learned)[0].retrieval or table
        else:
            seen = "some"
    table = table.where(table.is_gallery)
    return {"photographs": len(table.paths), "individuals": len(set(table.identities)), "seen": seen}


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spaced from the first to the last."""
    rows = np.unique(np.linspace(0, len(items) - 1, count).round().astype(int)) if items else ()
    return [items[row] for row in rows]


def _quantiles(values: Sequence[float], *shares: float) -> str:
    return " / ".join(f"{value:,.0f}" for value in np.quantile(values, shares)) if values else "–"
