"""The report of a run of classes: computes what the page shows and fills class_report.html.j2, which holds the text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.cleaning.decisions import OUT, RULE
from noseprint.inference.class_evaluation import ANSWERS, ENSEMBLE, ClassEvaluation
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score
from noseprint.metrics.classification import FEW_BELOW, MANY_ABOVE, ClassificationScores, Confusion, most_confused
from noseprint.reporting import charts
from noseprint.reporting.class_run import ClassRun, Cleaned, Listed
from noseprint.reporting.photographs import thumbnail
from noseprint.reporting.score_table import filled, score_table
from noseprint.reporting.templates import render_template
from noseprint.version import __version__

_CONFUSIONS, _ERRORS, _SUSPECTS, _WEAKEST, _CLASS_ROWS = 8, 9, 12, 10, 25  # shown at most
_BESIDE = 2  # images of each class of a confusion
_HEADINGS = {
    "top_1": "Top-1",
    "top_5": "Top-5",
    "mean_per_class": "Mean per class",
    "many": "Many",
    "medium": "Medium",
    "few": "Few",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
}
_ON_TERMINAL = ("top_1", "top_5", "mean_per_class", "log_loss")
_ONLY_OF_DISTRIBUTIONS = ("top_5", "log_loss")


@dataclass(frozen=True)
class WrongAnswer:
    """An image of the class `label` that was taken for `answer`, and a training image of the answer or None."""

    path: Path
    name: str
    label: str
    answer: str
    probability: float
    example: Path | None


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes of which the second is answered for the first, and images of both."""

    pair: Confusion
    wrong: Sequence[Path]
    of_answer: Sequence[Path]


@dataclass(frozen=True)
class SuspectLabel:
    """A suspect label: its image, a training image of the proposed class or None, and what was decided."""

    path: Path
    row: Listed
    example: Path | None
    decided: str


def render_class_report(run: ClassRun) -> str:
    """The page as HTML. The same run gives the same text. Pictures add about 5 KB each, and there are at most 80."""
    examples = _Examples(run)
    return render_template(
        "class_report.html.j2",
        filters={"thumbnail": cache(thumbnail)},
        run=run,
        version=__version__,
        test=_test(run, run.evaluation, examples) if run.evaluation else None,
        cleaning=_cleaning(run, run.cleaned, examples) if run.cleaned else None,
        expected=_expected(run),
    )


def class_scores_json(run: ClassRun) -> dict[str, Any]:
    """The figures of the page as a JSON object."""
    found: dict[str, Any] = {"run": run.run, "data": run.data, "members": run.members}
    if evaluation := run.evaluation:
        found |= {
            "scored": run.scored,
            "images": len(evaluation.names),
            "groups": None if evaluation.groups is None else len(set(evaluation.groups)),
            "scores": {name: asdict(of) for name, of in evaluation.scores.items()},
            "answered_by": evaluation.whole,
            "reliability": {key: value.tolist() for key, value in vars(evaluation.curve).items()},
            "gains": {name: asdict(gain) for name, gain in evaluation.gains.items()},
            "over_best": evaluation.over_best and {evaluation.over_best[0]: asdict(evaluation.over_best[1])},
            "over_mean": evaluation.over_mean and asdict(evaluation.over_mean),
            "confused": [asdict(pair) for pair in most_confused(evaluation.labels, evaluation.given)],
        }
        if answers := found["scores"].get(ANSWERS):
            for key in _ONLY_OF_DISTRIBUTIONS:
                del answers[key]
    if cleaned := run.cleaned:
        found["cleaning"] = {
            "images": len(cleaned.listed),
            "suspects": sum(row.round > 0 for row in cleaned.listed),
            "summary": list(cleaned.summary),
            "sample": asdict(cleaned.sample),
            "by_rules": cleaned.count(by_people=False),
            "by_people": cleaned.count(by_people=True),
        }
    return found


def class_score_lines(run: ClassRun) -> Iterator[str]:
    """The figures as a short table, and what cleaning did, as lines of text."""
    if run.why_not_test:
        yield filled(run.why_not_test)
    if evaluation := run.evaluation:
        yield f"The {run.scored}: {len(evaluation.names)} images of {len(set(evaluation.labels))} classes"
        headings = {key: _HEADINGS[key] for key in _ON_TERMINAL}
        yield from score_table(headings, {name: _cells(name, of) for name, of in evaluation.scores.items()})
        ensemble = " The ensemble is the mean of the members' probabilities." if ENSEMBLE in evaluation.scores else ""
        yield f"In brackets: 95 % intervals, from a bootstrap over {_units(evaluation)}.{ensemble}"
        if evaluation.over_mean:
            yield f"Top-1 of the answers over that of the ensemble: {_signed(evaluation.over_mean)}"
        if evaluation.gains:
            gains = "; ".join(f"{name} {_signed(gain)}" for name, gain in evaluation.gains.items())
            yield filled(f"Top-1 that each member adds to the ensemble: {gains}")
    if cleaned := run.cleaned:
        rules, people = (cleaned.count(by_people=by_people) for by_people in (False, True))
        suspects = sum(row.round > 0 for row in cleaned.listed)
        yield filled(
            f"Cleaning: {suspects} of {len(cleaned.listed)} labels are suspect. Rules left out {rules['left_out']} "
            f"images and relabelled {rules['relabelled']}, people {people['left_out']} and {people['relabelled']}."
        )


def _test(run: ClassRun, evaluation: ClassEvaluation, examples: "_Examples") -> dict[str, Any]:
    """What the sections on the answers show."""
    scores = evaluation.scores
    rows = {name: _cells(name, of) for name, of in scores.items()}
    right = np.equal(evaluation.given, evaluation.labels)
    confused = most_confused(evaluation.labels, evaluation.given, most=_CONFUSIONS)
    curve = evaluation.curve
    return {
        "subject": "the ensemble" if ENSEMBLE in scores else "the network",
        "images": len(evaluation.names),
        "classes": len(set(evaluation.labels)),
        "whole": scores[evaluation.whole],
        "unknown": len(set(evaluation.groups or evaluation.names)) < MIN_IDENTITIES,
        "units": _units(evaluation),
        "groups": len(set(evaluation.groups)) if evaluation.groups else None,
        "rows": rows,
        "columns": [key for key in _HEADINGS if any(row.get(key) for row in rows.values())],
        "headings": _HEADINGS,
        "many": MANY_ABOVE,
        "few": FEW_BELOW,
        "answers": ANSWERS in scores,
        "confidence": float(evaluation.confidence.mean()),
        "right": float(right.mean()),
        "charts": [
            charts.intervals({name: getattr(of, key) for name, of in scores.items()}, name=f"scores-{key}", label=label)
            for key, label in (("top_1", "Top-1"), ("mean_per_class", "Mean per class"))
        ],
        "reliability": charts.reliability(curve, answers="answers", share="share of right answers"),
        "useless": [name for name, gain in evaluation.gains.items() if gain.value <= 0],
        "confusions": [_confused(evaluation, pair, examples) for pair in confused],
        "errors": [_wrong(evaluation, row, examples) for row in _surest(evaluation, ~right)[:_ERRORS]],
        "weakest": _weakest(run, evaluation, right),
    }


def _cleaning(run: ClassRun, cleaned: Cleaned, examples: "_Examples") -> dict[str, Any]:
    """What the section on the cleaning shows."""
    suspects = [row for row in cleaned.listed if row.round > 0]
    header, *rows = cleaned.classes or [[]]
    return {
        "suspects": len(suspects),
        "rules": cleaned.count(by_people=False),
        "people": cleaned.count(by_people=True),
        "summary": cleaned.summary,
        "out": len(run.table.split("train")) - len(cleaned.labels),
        "shown": [
            SuspectLabel(examples.path[row.image], row, examples.first(row.proposal), _decided(cleaned, row))
            for row in suspects[:_SUSPECTS]
            if row.image in examples.path
        ],
        "heads": [name.replace("_", " ") for name in header],
        "classes": rows[:_CLASS_ROWS],
        "more_classes": len(rows[_CLASS_ROWS:]),
    }


class _Examples:
    """Photographs of a data folder, and those of each class that is trained on, the most trusted labels first."""

    def __init__(self, run: ClassRun) -> None:
        self.path = dict(zip(run.table.names, run.table.paths, strict=True))
        order = [row.image for row in reversed(run.cleaned.listed)] if run.cleaned else run.training
        self._of_class: dict[str, list[Path]] = {}
        for name in order:
            if name in run.training:
                self._of_class.setdefault(run.training[name], []).append(self.path[name])

    def of_class(self, label: str, most: int = 1) -> list[Path]:
        """The next images of a class, other ones in each call while there are any."""
        images = self._of_class.get(label, [])
        found = images[:most]
        self._of_class[label] = images[most:] + found
        return found

    def first(self, label: str) -> Path | None:
        return next(iter(self.of_class(label)), None)


def _cells(name: str, scores: ClassificationScores) -> dict[str, Score]:
    """The scores by column, without those that a table of answers does not have."""
    found = {key: value for key, value in vars(scores).items() if isinstance(value, Score)} | scores.by_frequency
    return {key: value for key, value in found.items() if name != ANSWERS or key not in _ONLY_OF_DISTRIBUTIONS}


def _surest(evaluation: ClassEvaluation, which: npt.NDArray[np.bool_]) -> list[int]:
    """The rows of the images `which` (N,), the highest confidence first."""
    rows = np.flatnonzero(which)
    return [int(row) for row in rows[np.argsort(-evaluation.confidence[rows], kind="stable")]]


def _confused(evaluation: ClassEvaluation, pair: Confusion, examples: _Examples) -> ConfusedPair:
    which = np.equal(evaluation.labels, pair.label) & np.equal(evaluation.given, pair.answer)
    wrong = [examples.path[evaluation.names[row]] for row in _surest(evaluation, which)[:_BESIDE]]
    return ConfusedPair(pair, wrong, examples.of_class(pair.answer, _BESIDE))


def _wrong(evaluation: ClassEvaluation, row: int, examples: _Examples) -> WrongAnswer:
    name, answer = evaluation.names[row], evaluation.given[row]
    probability = float(evaluation.confidence[row])
    return WrongAnswer(examples.path[name], name, evaluation.labels[row], answer, probability, examples.first(answer))


def _weakest(
    run: ClassRun, evaluation: ClassEvaluation, right: npt.NDArray[np.bool_]
) -> list[tuple[str, int, int, float]]:
    """The classes with the lowest top-1: name, images, training images, top-1."""
    images, trained = Counter(evaluation.labels), Counter(run.training.values())
    hits = Counter(label for label, hit in zip(evaluation.labels, right, strict=True) if hit)
    rows = [(label, number, trained[label], hits[label] / number) for label, number in images.items()]
    return sorted(rows, key=lambda row: (row[3], -row[1], row[0]))[:_WEAKEST]


def _decided(cleaned: Cleaned, row: Listed) -> str:
    """What became of a suspect label."""
    line = cleaned.decisions.get(row.image)
    if line is None:
        return "Still in the training" if row.image in cleaned.labels else "Not in the training"
    what = "Left out" if line.decision in OUT else f"Now {line.to}," if line.to else "Kept"
    return f"{what} by {f'rule {line.rule}' if line.who == RULE else line.who}"


def _expected(run: ClassRun) -> dict[str, Any] | None:
    """The answers without a known class: how many, and the share of them that should be right."""
    if not run.answers or run.scored == "test":
        return None
    return {"answers": len(run.answers), "share": float(np.mean([p for _, p in run.answers.values()]))}


def _units(evaluation: ClassEvaluation) -> str:
    return "images" if evaluation.groups is None else f"{len(set(evaluation.groups))} groups of images"


def _signed(score: Score) -> str:
    return f"{score.value:+.4f} [{score.low:+.4f}, {score.high:+.4f}]"
