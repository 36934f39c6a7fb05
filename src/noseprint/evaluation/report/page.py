"""The page: its sections in the order a reader wants them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noseprint import __version__
from noseprint.evaluation.report import calibrated, made, results, words
from noseprint.evaluation.report.evidence import gain_over_best, members_of
from noseprint.evaluation.report.folders import PseudoLabels, Training
from noseprint.evaluation.scoring import Evaluation
from noseprint.evaluation.verifier import Verifier
from noseprint.inspection.check import SplitFigures

_SECTIONS = {
    "scores": "Scores",
    "members": "Members",
    "verification": "Same or different",
    "calibration": "Thresholds, probabilities",
    "hard": "Hardest pairs",
    "training": "Training",
    "pseudo": "Pseudo-labels",
    "data": "Photographs",
}


@dataclass(frozen=True)
class Material:
    """All that a report is made of; what is None or empty is told to be missing."""

    name: str
    """Of the run, "" for the full campaign."""
    data: str
    """The data folder's name."""
    members: Sequence[str]
    evaluation: Evaluation | None
    no_scores: str
    """Why there is no `evaluation`, and how to get one."""
    trainings: dict[str, Training]
    splits: list[SplitFigures]
    pseudo: PseudoLabels | None
    verifier: Verifier | None
    no_verifier: str
    """Why there is no `verifier`, and how to get one."""


def render(material: Material) -> str:
    """The page as HTML: the same material gives the same text."""
    found = material.evaluation
    probability = calibrated.probabilities(found, material.trainings, material.verifier) if found else {}
    sections: dict[str, Any] = {
        "scores": results.scores(found) if found else None,
        "members": results.members(found) if found else None,
        "verification": results.verification(found, calibrated.lines(material.verifier, found)) if found else None,
        "calibration": calibrated.section(material.verifier, material.no_verifier, probability, found),
        "hard": results.hard(found, probability) if found else None,
        "training": made.training(material.trainings),
        "pseudo": made.pseudo(material.pseudo),
        "data": made.photographs(material.splits),
    }
    always = ("calibration", "training", "pseudo", "data")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    return environment.get_template("report.html.j2").render(
        title=f"noseprint: {material.name or 'the full campaign'} on {material.data}",
        made_of=_made_of(material),
        headline=words.headline(found) if found else [],
        no_scores=material.no_scores,
        verdict=words.verdict(found, gain_over_best(found)) if found else [],
        contents=[(anchor, name) for anchor, name in _SECTIONS.items() if sections[anchor] or anchor in always],
        version=__version__,
        members_list=", ".join(members_of(found) if found else material.members),
        **sections,
    )


def _made_of(material: Material) -> str:
    number = len(material.members)
    who = f"An ensemble of {number} networks" if number > 1 else "One network"
    train = next((split for split in material.splits if split.name == "train" and split.per_identity), None)
    if not (train and train.per_identity and material.trainings):
        return f"{who}: {', '.join(material.members)}."
    pseudo = f" and {material.pseudo.summary['identities']:,} pseudo-identities" if material.pseudo else ""
    return (
        f"{who} ({', '.join(material.members)}), trained on {train.images:,} photographs of "
        f"{len(train.per_identity):,} individuals{pseudo}."
    )
