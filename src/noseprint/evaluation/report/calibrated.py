"""The section on thresholds and probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.evaluation.reliability import reliability_curve, reliability_scores
from noseprint.evaluation.report import charts
from noseprint.evaluation.report.evidence import members_of
from noseprint.evaluation.report.folders import Training, readable
from noseprint.evaluation.report.layout import Captioned, Grid
from noseprint.evaluation.scoring import Evaluation
from noseprint.matching.calibration import calibration_from_json, probability_at

Floats = npt.NDArray[np.float64]


def probabilities(evaluation: Evaluation, trainings: Mapping[str, Training]) -> dict[str, Floats]:
    """Each member's, and the ensemble's, log-odds calibrated on the hold-out, as probabilities of the test pairs.

    The prior is the share of same pairs in the test: what a calibration says is judged, not how many are the same. The
    ensemble's log-odds are the mean of the members'. {} unless every member carries a calibration.
    """
    labelled = evaluation.labelled
    if labelled.pairs is None:
        return {}
    odds: dict[str, Floats] = {}
    for name in members_of(evaluation):
        header = trainings[name].header if name in trainings else None
        stored = header.extra.get("calibration") if header else None
        calibration = readable(lambda text=stored: calibration_from_json(text)) if stored else None  # type: ignore[misc]
        if calibration is None:
            return {}
        odds[name] = calibration.log_odds(evaluation.similarity[name])
    if len(odds) > 1:
        odds["ensemble"] = np.mean(list(odds.values()), axis=0)
    prior = float(np.mean(labelled.same))
    return {name: probability_at(values, prior) for name, values in odds.items()}


def section(verifier: dict[str, Any] | None, found: dict[str, Floats], evaluation: Evaluation | None) -> dict[str, Any]:
    """Thresholds, reliability diagram and its figures."""
    told: dict[str, Any] = {"missing": "", "thresholds": None, "about": "", "charts": [], "figures": None}
    if verifier is None:
        told["missing"] = (
            "No thresholds yet: noseprint calibrate sets them by the hold-out, for noseprint verify to decide with."
        )
    if found and evaluation:
        labelled = evaluation.labelled
        rows = []
        for name, probability in found.items():
            of = reliability_scores(probability, labelled.same, *labelled.clusters)
            rows.append([name, str(of.brier), str(of.log_loss), str(of.calibration_error)])
        whose = "ensemble" if "ensemble" in found else next(iter(found))
        curve = reliability_curve(
            found[whose], labelled.same, identity_a=labelled.clusters[0], identity_b=labelled.clusters[1]
        )
        chart = charts.reliability({"test pairs": (curve.probability, curve.share, curve.low, curve.high)})
        share = 100 * float(np.mean(labelled.same))
        pictures: list[Captioned] = [
            (
                chart,
                "Of the pairs that were said to be the same with some probability, the share that is. On the dotted "
                "line the probabilities are right; below it they promise too much. Band: 95 %.",
            )
        ]
        told["charts"] = pictures
        told["figures"] = Grid((f"test pairs, {share:.0f} % the same", "Brier score", "log loss", "ECE"), rows)
    return told


def thresholds(verifier: dict[str, Any] | None) -> dict[str, float]:
    """The thresholds on the ensemble's similarity, by what they are called."""
    return {}
