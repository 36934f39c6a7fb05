"""The page: its sections in the order a reader wants them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noseprint import __version__
from noseprint.calibration.verifier import Verifier
from noseprint.inference.evaluation import Evaluation
from noseprint.inspection.check import SplitFigures
from noseprint.reporting import calibration_section, headline, score_sections, training_sections
from noseprint.reporting.evidence import gain_over_best, members_of
from noseprint.reporting.run_folders import Learnt, PseudoLabels, Training

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

_NO_PSEUDO = {
    False: "No pseudo-labels in this run: pseudo_produce makes them from unlabelled pairs (bash train.sh --only "
    "pseudo_produce).",
    True: "The networks were trained on other photographs than this data folder's: what pseudo-labels they learnt from "
    "is not shown.",
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
    elsewhere: bool
    """The trainings were on other photographs than the data folder's."""
    learnt: Learnt | None
    splits: list[SplitFigures]
    pseudo: PseudoLabels | None
    verifier: Verifier | None
    no_verifier: str
    """Why there is no `verifier`, and how to get one."""


def render(material: Material) -> str:
    """The page as HTML: the same material gives the same text."""
    found = material.evaluation
    probability = calibration_section.probabilities(found, material.trainings, material.verifier) if found else {}
    sections: dict[str, Any] = {
        "scores": score_sections.scores(found) if found else None,
        "members": score_sections.members(found) if found else None,
        "verification": score_sections.verification(found, calibration_section.lines(material.verifier, found))
        if found
        else None,
        "calibration": calibration_section.section(material.verifier, material.no_verifier, probability, found),
        "hard": score_sections.hard(found, probability) if found else None,
        "training": training_sections.training(material.trainings),
        "pseudo": training_sections.pseudo(material.pseudo),
        "data": training_sections.photographs(material.splits),
    }
    doubts = calibration_section.doubts(material.verifier, found)
    always = ("calibration", "training", "pseudo", "data")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    return environment.get_template("report.html.j2").render(
        title=f"noseprint: {material.name or 'the full campaign'} on {material.data}",
        made_of=_made_of(material),
        headline=(headline.headline(found) if found else []) + calibration_section.headline(material.verifier, found),
        no_scores=material.no_scores,
        verdict=headline.verdict(found, gain_over_best(found)) + doubts if found else [],
        no_pseudo=_NO_PSEUDO[material.elsewhere],
        elsewhere=material.elsewhere,
        contents=[(anchor, name) for anchor, name in _SECTIONS.items() if sections[anchor] or anchor in always],
        version=__version__,
        members_list=", ".join(members_of(found) if found else material.members),
        **sections,
    )


def _made_of(material: Material) -> str:
    number = len(material.members)
    who = f"An ensemble of {number} networks" if number > 1 else "One network"
    named = f"{who} ({', '.join(material.members)})"
    if material.elsewhere:
        return f"{named}, trained on other photographs than those of {material.data}."
    if not material.learnt:
        return f"{named}."
    learnt, pseudo = material.learnt, material.pseudo and material.pseudo.summary
    more = f" and {pseudo['images']:,} of {pseudo['identities']:,} pseudo-identities" if pseudo else ""
    held_out = f"; {learnt.held_out:,} more individuals were held out" if learnt.held_out else ""
    return (
        f"{named}, trained on {learnt.photographs:,} photographs of {learnt.individuals:,} individuals{more}{held_out}."
    )
