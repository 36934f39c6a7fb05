"""What cleaning, training and predicting left of a run of classes. What is missing is None."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from noseprint.cleaning.decisions import OUT, RULE, Decision, governing, read_log, why_invalid
from noseprint.cleaning.sample import NoiseRate, noise_rate
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.csv_rows import read_header, read_rows
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.inference.class_evaluation import Answers, ClassEvaluation, Outputs, evaluate_classes, fit_temperatures
from noseprint.inference.classify import ClassifierOutputs, read_outputs
from noseprint.reporting.class_report_options import ReportOptions

Probability = Annotated[float, Field(ge=0, le=1)]
Scored = Literal["test", "hold-out"]
HOLDOUT, TEST = "holdout.safetensors", "test.safetensors"
_NO_MEMBERS = "No network has answered yet. train.sh trains the members; predict.sh answers with them."
_NO_LABELS = (
    "The test images have no labels, so nothing shows how many of the answers are right. The figures below are those "
    "of images that were held out from the training. To score the test, sort its images into test/CLASS/, or write "
    "their labels into the table."
)
_NO_TEST = (
    "There are no test images. The figures below are those of images that were held out from the training: they chose "
    "the weights, so they may be a little too high. A folder test/CLASS/ gives figures that are not."
)
_NOT_PREDICTED = (
    "The test images are not classified yet: run predict.sh. The figures below are those of images that were held out "
    "from the training."
)


@dataclass(frozen=True)
class Answer:
    """A row of prediction.csv. probability: that the label is right, in 0..1."""

    image: str
    label: str
    probability: Probability


@dataclass(frozen=True)
class Listed:
    """A row of suspects.csv. probability: that the label is right, in 0..1. round: 0 if the label is not suspect."""

    image: str
    label: str
    proposal: str
    probability: Probability
    rank: int
    round: int
    reason: str


@dataclass(frozen=True)
class _Labelled:
    image: str
    label: str


Row = TypeVar("Row", Answer, Listed, _Labelled)


@dataclass(frozen=True)
class Cleaned:
    """What clean.sh left of a run.

    listed: every training image, the most suspicious first. decisions: the line of the log behind each image that is
    left out or relabelled, or that a person keeps, by name. summary: the lines of summary.txt: how many labels may be
    wrong, and whether it helps to leave them out. sample: the estimate from a person's review of a random sample.
    labels: the label of each image that stays, by name. classes: the header and the rows of classes.csv; empty if there
    is none.
    """

    listed: Sequence[Listed]
    decisions: Mapping[str, Decision]
    summary: Sequence[str]
    sample: NoiseRate
    labels: Mapping[str, str]
    classes: Sequence[Sequence[str]]

    def count(self, *, by_people: bool) -> dict[str, int]:
        """How many images a rule, or a person, has left out, relabelled and kept."""
        lines = [line for line in self.decisions.values() if (line.who != RULE) == by_people]
        out = sum(line.decision in OUT for line in lines)
        relabelled = sum(line.decision == "relabel" for line in lines)
        return {"left_out": out, "relabelled": relabelled, "kept": len(lines) - out - relabelled}


@dataclass(frozen=True)
class ClassRun:
    """What the report is made from.

    run, data: the names of the run and of the data folder. table: of all images. training: the label of each image that
    stays in the training, those that are held out included, by name. members: of the ensemble. evaluation: of the
    images `scored`; None if no network has answered. why_not_test: why these are not the test; "" if they are. answers:
    of prediction.csv; None if there is none. cleaned: None if clean.sh has not run. uses_cleaned: whether the training
    used its labels.
    """

    run: str
    data: str
    table: ClassTable
    training: Mapping[str, str]
    members: tuple[str, ...]
    scored: Scored
    evaluation: ClassEvaluation | None
    why_not_test: str
    answers: Answers | None
    cleaned: Cleaned | None
    uses_cleaned: bool


def read_class_run(options: ReportOptions, *, family: Path, others: Sequence[str] = ()) -> ClassRun:
    """Read a run of a family of recipes and score its networks: on the test if it has labels, else on the hold-out.

    others: folders of more networks to score. A network that has not been trained is left out.
    Raises NoseprintError for files that do not belong together, and DataError for tables with faults.
    """
    table = read_classes(options.data, columns=options.columns, missing_ok=options.skip_bad)
    results = options.results(family)
    train, test = table.split("train"), table.split("test")
    cleaned = _read_cleaned(results, train)
    uses_cleaned = cleaned is not None and options.labels == "cleaned"
    training = cleaned.labels if cleaned and uses_cleaned else dict(zip(train.names, train.labels, strict=True))
    folders = {name: options.results(family / name) for name in (*options.member_names, *others)}
    found = {name: folder for name, folder in folders.items() if (folder / HOLDOUT).is_file()}
    members = tuple(name for name in options.member_names if name in found)
    answers = _read_answers(results / "prediction.csv")
    scored: Scored = "hold-out"
    why, evaluation = _NO_MEMBERS, None
    if members:
        # labels of the training come last: the hold-out is judged by the labels that cleaning left
        labels = dict(zip(table.names, table.labels, strict=True)) | dict(training)
        held_out = {name: read_outputs(folder / HOLDOUT) for name, folder in found.items()}
        tests = {name: folder / TEST for name, folder in found.items() if (folder / TEST).is_file()}
        why = _why_not_test(test, answered=all(name in tests for name in members))
        scored = "hold-out" if why else "test"
        outputs = held_out if why else {name: read_outputs(path) for name, path in tests.items()}
        outputs, of_outputs = _labelled(outputs, labels)
        held_out, of_holdout = _labelled(held_out, labels)
        group = dict(zip(table.names, table.groups, strict=True)) if table.groups else None
        evaluation = evaluate_classes(
            outputs,
            of_outputs,
            members=members,
            temperatures=fit_temperatures(held_out, of_holdout, members=members),
            answers=None if why else answers,
            groups=[group[name] for name in outputs[members[0]].names] if group else None,
            training_counts=Counter(training.values()),
        )
    return ClassRun(
        run=options.run,
        data=options.data.resolve().name,
        table=table,
        training=training,
        members=members,
        scored=scored,
        evaluation=evaluation,
        why_not_test=why,
        answers=answers,
        cleaned=cleaned,
        uses_cleaned=uses_cleaned,
    )


def _why_not_test(test: ClassTable, *, answered: bool) -> str:
    if not len(test):
        return _NO_TEST
    if not any(test.labels):
        return _NO_LABELS
    return "" if answered else _NOT_PREDICTED


def _labelled(outputs: Outputs, labels: Mapping[str, str]) -> tuple[dict[str, ClassifierOutputs], list[str]]:
    """The rows of images that have a label, and their labels."""
    found = {}
    for network, of in outputs.items():
        if unknown := [name for name in of.names if name not in labels]:
            raise NoseprintError(
                f"{network} has classified {unknown[0]}, which the data folder does not have: run predict.sh again"
            )
        rows = [row for row, name in enumerate(of.names) if labels[name]]
        names = tuple(of.names[row] for row in rows)
        found[network] = replace(of, names=names, logits=of.logits[rows], features=of.features[rows])
    return found, [labels[name] for name in next(iter(found.values())).names]


def _read_answers(path: Path) -> Answers | None:
    if not path.is_file():
        return None
    return {row.image: (row.label, row.probability) for row in _read_table(path, Answer, by="predict.sh")}


def _read_cleaned(results: Path, train: ClassTable) -> Cleaned | None:
    """What clean.sh left; None if it has not run."""
    if not all((results / name).is_file() for name in ("suspects.csv", "labels.csv")):
        return None
    listed = _read_table(results / "suspects.csv", Listed, by="clean.sh")
    labels = {row.image: row.label for row in _read_table(results / "labels.csv", _Labelled, by="clean.sh")}
    lines = read_log(results / "decisions.jsonl")
    summary = results / "summary.txt"
    return Cleaned(
        listed=listed,
        decisions=_decisions(train, labels, lines),
        summary=summary.read_text(encoding="utf-8").splitlines() if summary.is_file() else (),
        sample=noise_rate(lines),
        labels=labels,
        classes=_read_any(results / "classes.csv"),
    )


def _decisions(train: ClassTable, labels: Mapping[str, str], lines: Sequence[Decision]) -> dict[str, Decision]:
    """The line behind each image of the training that is left out or relabelled, or that a person keeps."""
    lines_of = {(line.image, line.label): line for line in governing(lines).values()}
    found = {}
    for name, given in zip(train.names, train.labels, strict=True):
        line = lines_of.get((name, given))
        now = labels.get(name)
        if line and (now is None if line.decision in OUT else now == (line.to or given)):
            found[name] = line
    return found


def _read_table(path: Path, kind: type[Row], *, by: str) -> list[Row]:
    """The rows of a CSV whose columns are the fields of `kind`. Raises DataError with every faulty row."""
    faults, adapter, found = list[Fault](), TypeAdapter(kind), list[Row]()
    header = [field.name for field in fields(kind)]
    for line, values in read_rows(path, header, faults=faults, may_be_empty=("proposal", "reason")):
        try:
            found.append(adapter.validate_python(dict(zip(header, values, strict=True))))
        except ValidationError as error:
            faults.append(Fault(path, line, f"{why_invalid(error)}: run {by} again"))
    if faults:
        raise DataError(faults)
    return found


def _read_any(path: Path) -> list[list[str]]:
    """The header and the rows of a CSV; nothing if there is no such file."""
    if not path.is_file():
        return []
    faults = list[Fault]()
    header = read_header(path, faults=faults)
    rows = [values for _, values in read_rows(path, header, faults=faults, may_be_empty=header)]
    if faults:
        raise DataError(faults)
    return [list(header), *rows]
