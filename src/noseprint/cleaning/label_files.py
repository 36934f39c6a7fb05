"""Files beside the log: what a person decided on a review page goes in, the cleaned table comes out."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from noseprint.cleaning.decisions import (
    RULE,
    Decision,
    Replay,
    append,
    describe,
    file_hashes,
    why_invalid,
)
from noseprint.data.class_columns import ClassColumns, ClassRows
from noseprint.data.class_tables import ClassTable, read_classes, relative_name
from noseprint.data.csv_rows import read_rows, write_csv
from noseprint.errors import DataError, Fault, NoseprintError, printable

_ADAPTER = TypeAdapter(Decision)
_NOT_IN_FILE = {"id", "who", "supersedes"}
DROPPED_HEADER = ("image", "label", "decision", "reason", "who", "when", "id")


@dataclass(frozen=True)
class Exported:
    """How many rows a cleaned table keeps, how many of these have a new label, and how many it leaves out."""

    kept: int
    relabelled: int
    dropped: int


def add_decisions(log: Path, file: Path, table: ClassTable, *, who: str) -> list[Decision]:
    """Append to the log what was decided on a review page, all of it or nothing; return the lines that are new.

    who: the name of the person who decided. A decision that the log has already is not added again.
    Raises DataError with every fault: a line that is no decision, an image that the table does not have, a label that
    no image has, another label given or another file than on the page. Raises NoseprintError for a name that is not
    possible, a file that is missing or holds no decisions, and as `append` does.
    """
    if who.strip() in ("", RULE):
        raise NoseprintError(f"--who {who!r}: give the name of the person who decided")
    if not file.is_file():
        raise NoseprintError(f"{file}: no such file; the review page downloads it (key e)")
    faults, decisions = list[Fault](), list[tuple[int, Decision]]()
    for number, text in enumerate(file.read_bytes().split(b"\n"), 1):
        if text.strip():
            try:
                decisions.append((number, _parse(text, who=who.strip())))
            except ValueError as error:
                reason = why_invalid(error) if isinstance(error, ValidationError) else str(error)
                faults.append(Fault(file, number, f"is no decision ({reason}): download the decisions again (key e)"))
    faults += _unfit(file, decisions, table)
    if faults:
        raise DataError(sorted(faults, key=lambda fault: fault.line or 0))
    if not decisions:
        raise NoseprintError(f"{file}: holds no decisions; decide on the review page, then download them (key e)")
    return append(log, [decision for _, decision in decisions])


def cleaned_table(data: Path, *, columns: ClassColumns = ClassColumns(), labels: Path | None) -> ClassTable:  # noqa: B008 - it cannot be changed
    """The images of a data folder; of the training images those that `labels` keeps, with its labels.

    labels: labels.csv, as `export_labels` writes it. None: all training images, with the labels of the data. The
    coarser levels of a cleaned table are those of the new labels.
    Raises DataError and NoseprintError as `read_classes` does, and NoseprintError if `labels` does not fit the data.
    """
    table = read_classes(data, columns=columns)
    if labels is None:
        return table
    faults = list[Fault]()
    new = {name: label for _, (name, label) in read_rows(labels, ("image", "label"), faults=faults)}
    training, classes = set(table.split("train").names), set(table.classes)
    gone = [name for name in new if name not in training]
    gone = gone or [label for label in new.values() if label not in classes]
    if faults or not new or gone:
        what = f"it names {gone[0]!r} and {len(gone) - 1} more" if gone else "it cannot be read"
        raise NoseprintError(
            f"{labels}: does not fit the training images of {data} ({what}): run clean.sh again, or use the labels of "
            "the data with --labels given"
        )
    kept = table.where(split != "train" or name in new for name, split in zip(table.names, table.splits, strict=True))
    relabelled = tuple(new.get(name, label) for name, label in zip(kept.names, kept.labels, strict=True))
    levels = {}
    for column, level in table.levels.items():
        of_class = dict(zip(table.labels, level, strict=True))
        levels[column] = tuple(of_class.get(label, "") for label in relabelled)
    return replace(kept, labels=relabelled, levels=levels)


def training_images(data: Path, *, columns: ClassColumns = ClassColumns(), labels: Path | None) -> ClassTable:  # noqa: B008
    """The rows of train and val in `cleaned_table`."""
    table = cleaned_table(data, columns=columns, labels=labels)
    return table.where(split in ("train", "val") for split in table.splits)


def export_labels(
    out: Path, table: ClassTable, replayed: Replay, *, rows_of_table: ClassRows | None = None, data: Path = Path()
) -> Exported:
    """Write the rows that are kept to the CSV `out`, and the others to dropped.csv beside it.

    replayed: what `replay` returned for the table. Rows without a label are left out of both. The columns of `out` are
    image and label. With rows_of_table, the rows of the table that `table` was read from in the folder `data`, they are
    the columns of that table, and the rows that `table` does not have, such as those of other splits, stay as they are.
    """
    rows = list(zip(table.names, table.labels, replayed.labels, replayed.kept, replayed.decisions, strict=True))
    kept = [(name, label) for name, given, label, keep, _ in rows if keep and given]
    dropped = [
        (name, given, line.decision, describe(line), line.who, line.when, line.id)
        for name, given, _, keep, line in rows
        if not keep and line is not None
    ]
    if rows_of_table is None:
        write_csv(out, ("image", "label"), kept)
    else:
        write_csv(out, rows_of_table.names, _with_labels(rows_of_table, dict(kept), set(table.names), data))
    write_csv(out.with_name("dropped.csv"), DROPPED_HEADER, dropped)
    return Exported(len(kept), sum(keep and label != given for _, given, label, keep, _ in rows), len(dropped))


def _with_labels(
    table: ClassRows, labels: Mapping[str, str], judged: Collection[str], data: Path
) -> Iterator[list[str]]:
    """The rows of a table without those that are judged, but not kept, and with the labels of those that are."""
    for _, fields in table.rows:
        name, row = relative_name(fields[table.at["image"]], data), list(fields)
        if name in labels:
            row[table.at["label"]] = labels[name]
        if name in labels or name not in judged:
            yield row


def _parse(text: bytes, *, who: str) -> Decision:
    """A line of the file. Raises ValueError, of which pydantic's ValidationError is one."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004
    if fields.get("decision") == "undo":
        raise ValueError("a page exports no undo")
    if wrong := sorted(_NOT_IN_FILE & set(fields)):
        raise ValueError(f"{wrong[0]} is not a field of a page's file")
    if not fields.get("when"):
        raise ValueError("there is no time")
    return _ADAPTER.validate_json(json.dumps(fields | {"who": who}))


def _unfit(file: Path, decisions: Sequence[tuple[int, Decision]], table: ClassTable) -> list[Fault]:
    """What does not fit the table, with the lines of the file."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.names):
        rows.setdefault(name, []).append(row)
    classes = set(table.labels) - {""}
    hashes = file_hashes(table.paths[row] for _, line in decisions for row in rows.get(line.image, ()))
    faults = []

    def fault(number: int, problem: str) -> None:
        faults.append(Fault(file, number, printable(problem)))

    for number, line in decisions:
        if line.to and line.to not in classes:
            fault(number, f"there is no class {line.to!r} in the data: relabel to one of its classes")
        if line.image not in rows:
            fault(number, f"the data folder has no image {line.image!r}: name the folder that the page was made from")
            continue
        at = rows[line.image]
        if line.label not in [table.labels[row] for row in at]:
            now = table.labels[at[0]]
            fault(number, f"{line.image!r} has the label {now!r} now, and on the page {line.label!r}: make a new page")
        if line.sha256 not in [hashes[table.paths[row]] for row in at]:
            state = "is another file now than on the page" if hashes[table.paths[at[0]]] else "cannot be read"
            fault(number, f"{line.image!r} {state}: restore it, or make a new page")
    return faults
