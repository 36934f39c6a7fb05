"""The section on thresholds and probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.calibration.curves import Calibration, calibration_from_json, probability_at
from noseprint.calibration.operating_points import OperatingPoint
from noseprint.calibration.reliability import ReliabilityScores, reliability_curve, reliability_scores
from noseprint.calibration.verifier import Verifier
from noseprint.inference.evaluation import Evaluation
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.verification import ERRORS_NEEDED, least_fmr, why_fmr_unsupported
from noseprint.reporting import charts
from noseprint.reporting.evidence import members_of, share_accepted
from noseprint.reporting.headline import percent
from noseprint.reporting.layout import Grid
from noseprint.reporting.run_folders import Training, readable

Floats = npt.NDArray[np.float64]
_GRID = ("", "Brier score", "log loss", "calibration error")


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
    told: dict[str, Any] = {
        "missing": missing,
        "about": "",
        "unsupported": "",
        "whose": "",
        "thresholds": None,
        "charts": [],
        "tables": [],
    }
    if verifier:
        held = verifier.holdout
        told["about"] = (
            f"Set on {held.photographs:,} photographs of {held.identities} individuals that no training saw, compared "
            f"with each other and with {held.cohort:,} photographs of trained ones; noseprint verify decides by "
            "them. Between “different below” and “the same from” it says “cannot tell”."
        )
        tests, alone = _tested(verifier, evaluation), len(verifier.members) == 1
        told["whose"] = verifier.members[0].name if alone else "the ensemble"
        told["thresholds"] = _thresholds(verifier, tests)
        told["unsupported"] = _unsupported(tests)
        if any(test.broken for test in tests):
            told["missing"] = (
                "On the test pairs more different ones are called the same than promised. Do not rely on these "
                "thresholds for photographs like the test's: hold out more (--holdout), or hold out photographs like "
                "them."
            )
        rows = {member.name: member.reliability for member in verifier.members}
        curves = {member.name: member.calibration.family for member in verifier.members}
        if not alone:
            rows["ensemble"], curves["ensemble"] = verifier.reliability, verifier.calibration.family
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
    """The thresholds to draw among the ensemble's similarities: those of the lowest false match rate."""
    if not (verifier and evaluation) or {member.name for member in verifier.members} != set(members_of(evaluation)):
        return {}
    point = verifier.points[-1]
    return {"different below": point.different_below, "the same from": point.threshold}


def headline(verifier: Verifier | None, evaluation: Evaluation | None) -> list[str]:
    """What `noseprint verify` does at its lowest false match rate: on the test pairs, else on the hold-out."""
    if verifier is None:
        return []
    point, tests = verifier.points[-1], _tested(verifier, evaluation)
    told = (
        "Asked whether two photographs show the same individual, noseprint verify promises a false match rate of at "
        f"most {_rate(point)}. It then recognises"
    )
    if not tests:
        return [f"{told} {percent(point.tmr, 'of the same pairs of the hold-out')}."]
    test = tests[-1]
    different = f"of the {test.different:,} different pairs"
    false = percent(test.false, different) if test.errors else f"none {different}"
    same = percent(test.true, f"of the test's {test.same:,} same pairs")
    return [f"{told} {same}, and calls {false} the same."]


def doubts(verifier: Verifier | None, evaluation: Evaluation | None) -> list[str]:
    """What speaks against the thresholds: a hold-out of few, promises that the test pairs do not bear out."""
    if verifier is None:
        return []
    told = [f"The thresholds below are {verifier.caution}."] if verifier.caution else []
    tests = _tested(verifier, evaluation)
    if broken := [_more(test) for test in tests if test.broken]:
        told.append(
            "The thresholds do not keep their promise on the test. Share of different pairs called the same: "
            f"{', '.join(broken)}. The test is harder than the hold-out, or the hold-out too small."
        )
    if above := [_more(test) for test in tests if not test.broken and test.false.value > test.point.fmr]:
        told.append(
            "More different pairs of the test are called the same than the thresholds promise, though the promise lies "
            f"within the interval: {', '.join(above)}."
        )
    return told


def _more(test: "_Test") -> str:
    few = f" ({test.errors} pairs, too few for an exact rate)" if test.unsupported else ""
    return f"{_percent(test.false)} where {_rate(test.point)} is promised{few}"


@dataclass(frozen=True)
class _Test:
    """What a pair of thresholds does on the test pairs: shares of the different and same ones that are called same."""

    point: OperatingPoint
    false: Score
    true: Score
    errors: int
    different: int
    same: int

    @property
    def broken(self) -> bool:
        """More false matches than promised, beyond the interval; or 30 at the least, and over twice as many."""
        many = self.errors >= ERRORS_NEEDED and self.false.value > 2 * self.point.fmr
        return many or self.false.low > self.point.fmr

    @property
    def unsupported(self) -> bool:
        """Neither enough errors to state the rate of false matches, nor enough pairs to say that it is kept."""
        return self.errors < ERRORS_NEEDED and why_fmr_unsupported(self.different, self.point.fmr) is not None


def _tested(verifier: Verifier, evaluation: Evaluation | None) -> list[_Test]:
    """Each of the verifier's points on the test pairs; [] where there are none, or it is of other members."""
    if evaluation is None or not evaluation.labelled.pairs or not lines(verifier, evaluation):
        return []
    labelled = evaluation.labelled
    similarity, different = evaluation.similarity[list(evaluation.similarity)[-1]], ~labelled.same
    tests = []
    for point in verifier.points:
        reached = similarity >= point.threshold
        false, true = (share_accepted(reached, among, labelled) for among in (different, labelled.same))
        counts = int(reached[different].sum()), int(different.sum()), int(labelled.same.sum())
        tests.append(_Test(point, false, true, *counts))
    return tests


def _thresholds(verifier: Verifier, tests: list[_Test]) -> Grid:
    heads = ["false match rate promised"]
    rates = ["different called the same", "same called the same"]
    heads += [f"test: {rate}" for rate in rates] if tests else []
    heads += ["the same from", "different below", *(f"hold-out: {rate}" for rate in rates)]
    rows = []
    for number, point in enumerate(verifier.points):
        row = [_rate(point)]
        if tests:
            test = tests[number]
            row += [_cell(test.false) + (", too few pairs" if test.unsupported else ""), _cell(test.true)]
        row += [f"{point.threshold:.4f}", f"{point.different_below:.4f}", _cell(point.measured_fmr), _cell(point.tmr)]
        rows.append(row)
    return Grid(heads, rows)


def _unsupported(tests: list[_Test]) -> str:
    """A note on the test's rates that its pairs cannot support, or nothing."""
    rates = " and ".join(_rate(test.point) for test in tests if test.unsupported)
    if not rates:
        return ""
    different = tests[0].different
    return (
        f"Too few pairs: where {rates} is promised, under {ERRORS_NEEDED} of the test's {different:,} different pairs "
        "are called the same, so that the share of them is rough (rule of 30); these pairs support none below "
        f"{100 * least_fmr(different):.2g} %."
    )


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


def _rate(point: OperatingPoint) -> str:
    return f"{100 * point.fmr:g} %"


def _cell(score: Score) -> str:
    return f"{100 * score.value:.1f} %\n{100 * score.low:.1f}–{100 * score.high:.1f}"


def _percent(score: Score) -> str:
    return f"{100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}]"
