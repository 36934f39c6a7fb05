"""The section on thresholds and probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.evaluation.metrics import ERRORS_NEEDED
from noseprint.evaluation.reliability import ReliabilityScores, reliability_curve, reliability_scores
from noseprint.evaluation.report import charts
from noseprint.evaluation.report.evidence import members_of
from noseprint.evaluation.report.folders import Training, readable
from noseprint.evaluation.report.layout import Grid
from noseprint.evaluation.scoring import Evaluation, Score
from noseprint.evaluation.verifier import Verifier
from noseprint.matching.calibration import Calibration, calibration_from_json, family_of, probability_at

Floats = npt.NDArray[np.float64]
_GRID = ("", "Brier score", "log loss", "ECE")


def probabilities(
    evaluation: Evaluation, trainings: Mapping[str, Training], verifier: Verifier | None
) -> dict[str, Floats]:
    """What the calibrations of the hold-out say of the test pairs: by member, and under "ensemble".

    Those of the verifier, else those in the members' weights, whose mean log-odds are then the ensemble's. The prior is
    the share of same pairs in the test: judged is what a calibration says, not how many are the same. {} where a member
    has none.
    """
    labelled, names = evaluation.labelled, members_of(evaluation)
    if labelled.pairs is None:
        return {}
    known = _calibrations(trainings)
    if verifier and {member.name for member in verifier.members} == set(names):
        known = {member.name: member.calibration for member in verifier.members} | {"ensemble": verifier.calibration}
    if not set(names) <= set(known):
        return {}
    odds = {name: known[name].log_odds(evaluation.similarity[name]) for name in names}
    if "ensemble" in evaluation.similarity:
        whole = known.get("ensemble")
        mean = np.mean(list(odds.values()), axis=0)
        odds["ensemble"] = whole.log_odds(evaluation.similarity["ensemble"]) if whole else mean
    prior = float(np.mean(labelled.same))
    return {name: probability_at(values, prior) for name, values in odds.items()}


def section(
    verifier: Verifier | None, missing: str, found: Mapping[str, Floats], evaluation: Evaluation | None
) -> dict[str, Any]:
    """Thresholds, reliability diagram and its figures; `missing` says why there is no verifier."""
    told: dict[str, Any] = {"missing": missing, "about": "", "thresholds": None, "charts": [], "tables": []}
    if verifier:
        held = verifier.holdout
        told["about"] = (
            f"Set on {held.photographs:,} photographs of {held.identities} individuals that no training saw, compared "
            f"with each other and with {held.cohort:,} photographs of trained ones; noseprint verify decides by "
            "them. Between “different below” and “the same from” it says “cannot tell”."
        )
        told["thresholds"] = _thresholds(verifier, evaluation)
        told["missing"] = _warning(verifier, evaluation)
        rows = {member.name: member.reliability for member in verifier.members} | {"ensemble": verifier.reliability}
        curves = {member.name: family_of(member.calibration) for member in verifier.members}
        curves["ensemble"] = family_of(verifier.calibration)
        told["tables"].append(
            (
                "Probabilities on the hold-out, each individual's by curves fitted without it",
                Grid((*_GRID, "curve"), [(name, *_cells(of), curves[name]) for name, of in rows.items()]),
            )
        )
    if found and evaluation:
        labelled = evaluation.labelled
        share = f"{100 * float(np.mean(labelled.same)):.0f} %"
        rows = {name: reliability_scores(of, labelled.same, *labelled.clusters) for name, of in found.items()}
        told["tables"].append(
            (
                f"Probabilities on the test pairs, of which {share} are the same",
                Grid(_GRID, [(name, *_cells(of)) for name, of in rows.items()]),
            )
        )
        told["charts"].append(_diagram(found["ensemble" if "ensemble" in found else next(iter(found))], evaluation))
    return told


def lines(verifier: Verifier | None, evaluation: Evaluation | None) -> dict[str, float]:
    """The thresholds to draw among the ensemble's similarities: those of the lowest false-match rate."""
    if not (verifier and evaluation) or {member.name for member in verifier.members} != set(members_of(evaluation)):
        return {}
    low, high = verifier.points[-1].band
    return {"different below": low, "the same from": high}


def _warning(verifier: Verifier, evaluation: Evaluation | None) -> str:
    """That too many different test pairs are called the same: over twice the rate allowed, and 30 at the least."""
    for point in verifier.points:
        accepted = _accepted(verifier, evaluation, point.band[1])
        if accepted and accepted[0].sum() >= ERRORS_NEEDED and accepted[0].mean() > 2 * point.fmr:
            return (
                f"Where {100 * point.fmr:g} % of different pairs may be called the same, "
                f"{100 * accepted[0].mean():.1f} % of the test's are: the test is harder than the hold-out, or the "
                "hold-out too small. Do not rely on these thresholds for photographs like the test's: hold out more "
                "(--holdout), or hold out photographs like them."
            )
    return ""


def _accepted(
    verifier: Verifier, evaluation: Evaluation | None, threshold: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None:
    """Which different, which same test pairs reach a threshold; None where the verifier is of other members."""
    if evaluation is None or not evaluation.labelled.pairs or not lines(verifier, evaluation):
        return None
    reached = evaluation.similarity[list(evaluation.similarity)[-1]] >= threshold
    return reached[~evaluation.labelled.same], reached[evaluation.labelled.same]


def _thresholds(verifier: Verifier, evaluation: Evaluation | None) -> Grid:
    heads = ["false matches allowed", "different below", "the same from", "hold-out: false matches", "true matches"]
    rows = []
    for point in verifier.points:
        low, high = point.band
        row = [f"{100 * point.fmr:g} %", f"{low:.4f}", f"{high:.4f}", _percent(point.measured_fmr), _percent(point.tmr)]
        if accepted := _accepted(verifier, evaluation, high):
            row += [f"{100 * reached.mean():.1f} %" for reached in accepted]
        rows.append(row)
    if len(rows[0]) > len(heads):
        heads += ["test: different called the same", "same called the same"]
    return Grid(heads, rows)


def _diagram(probability: Floats, evaluation: Evaluation) -> Any:
    labelled = evaluation.labelled
    a, b = labelled.clusters
    curve = reliability_curve(probability, labelled.same, identity_a=a, identity_b=b)
    return (
        charts.reliability({"test pairs": (curve.probability, curve.share, curve.low, curve.high)}),
        "Of the pairs said to be the same with some probability, the share that is. On the dotted line the "
        "probabilities are right; below it they promise too much. Band: 95 %.",
    )


def _calibrations(trainings: Mapping[str, Training]) -> dict[str, Calibration]:
    stored = {name: one.header.extra.get("calibration") for name, one in trainings.items() if one.header}
    read = {name: readable(lambda text=text: calibration_from_json(text)) for name, text in stored.items() if text}  # type: ignore[misc]
    return {name: calibration for name, calibration in read.items() if calibration}


def _cells(found: ReliabilityScores) -> tuple[Score, Score, Score]:
    return found.brier, found.log_loss, found.calibration_error


def _percent(score: Score) -> str:
    return f"{100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}]"
