"""What the columns of a table of classes mean: named by the user, or recognised by their names."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from noseprint.data.csv_rows import read_header, read_rows
from noseprint.data.names import column_words, positions
from noseprint.errors import Fault

_PATTERNS = {  # of column names as `column_words` writes them
    "image": r"(image|img|photo|photograph|picture|file)( ?(file|path|name|file ?name))?|path|file ?(name|path)|"
    r"(relative|full) path",
    "label": "(label|class|category|species)( name)?",
    "split": "split|subset|part|partition",
}
LABEL_NAME = re.compile(_PATTERNS["label"])
"""Matches the names of columns of classes, as `column_words` writes them."""
_GROUP = re.compile("(group|sender|photographer|user|contributor|owner|author|observer|uploader)( (id|name))?")


@dataclass(frozen=True)
class ClassColumns:
    """Which table to read and which columns: None looks for a table, and recognises the columns by their names."""

    table: Path | None = None
    """--table. None: images.csv, labels.csv or train.csv in the data folder."""
    image: str | None = None
    """--image-column: paths from the data folder on."""
    label: str | None = None
    """--label-column."""
    split: str | None = None
    """--split-column: train, val, test or unlabelled."""
    group: str | None = None
    """--group-column: images that belong together, such as those of one photographer. Never guessed, as it changes the
    folds."""

    def given(self) -> Mapping[str, str]:
        """Kind -> the name that the user gave, for the columns that the user named."""
        names = {kind: getattr(self, kind) for kind in ("image", "label", "split", "group")}
        return {kind: name for kind, name in names.items() if name is not None}


@dataclass(frozen=True)
class ClassRows:
    """The rows of a table as they stand in it, with the positions of the columns that mean something."""

    names: Sequence[str]
    at: Mapping[str, int]
    """Kind (image, label, split, group) -> position of its column. image and label are always there."""
    rows: Sequence[tuple[int, Sequence[str]]]
    """(line, fields)."""

    def field(self, kind: str) -> list[str]:
        """A column by its kind, one text for each row; "" in each if the table has no such column."""
        return [fields[self.at[kind]] if kind in self.at else "" for _, fields in self.rows]

    def others(self) -> list[int]:
        """The positions of the columns of no known kind, without those that are probably of groups."""
        used = {column_words(self.names[at]) for at in self.at.values()} | {""}
        return [at for at, name in enumerate(self.names) if column_words(name) not in used and not is_group(name)]


def is_group(name: str) -> bool:
    """Whether a column is probably one of groups, by its name."""
    return _GROUP.fullmatch(column_words(name)) is not None


def read_class_rows(path: Path, columns: ClassColumns, *, faults: list[Fault]) -> ClassRows | None:
    """Read a table of classes; None if its columns are not clear. What is wrong is appended to `faults`."""
    names = read_header(path, faults=faults)
    if not names:
        return None
    columns_faults = list[Fault]()
    at = {
        kind: found
        for kind in ("image", "label", "split", "group")
        if (found := _find(path, names, kind, columns.given().get(kind), faults=columns_faults)) is not None
    }
    faults += columns_faults
    if columns_faults:
        return None
    empty = [name for name in names if name != names[at["image"]]]
    return ClassRows(names, at, list(read_rows(path, names, faults=faults, may_be_empty=empty)))


def _find(path: Path, names: Sequence[str], kind: str, given: str | None, *, faults: list[Fault]) -> int | None:
    """The position of the column of a kind; None if there is none, or if it is not clear which: then with a fault."""
    option = f"--{kind}-column"
    shown = ", ".join(map(repr, names))
    if given is not None:
        found = positions(given, names)
        problem = f"there is no column {given!r}: name one with {option}; the columns are {shown}"
    else:
        pattern = _PATTERNS.get(kind, "")
        found = [at for at, name in enumerate(names) if pattern and re.fullmatch(pattern, column_words(name))]
        problem = f"which column is the {kind}? Name one with {option}; the columns are {shown}"
    if len(found) > 1 and not _are_equal(path, found):
        could_be = " or ".join(repr(names[at]) for at in found)
        if len({names[at] for at in found}) < len(found):
            problem = (
                f"{len(found)} columns are named {names[found[0]]!r}, and they differ: rename or delete the others"
            )
        else:
            problem = f"the {kind} may be in the column {could_be}: name one of them with {option}"
        found = []
    elif given is None and not found and kind in ("split", "group"):
        return None
    if found:
        return found[0]
    faults.append(Fault(path, 1, problem))
    return None


def _are_equal(path: Path, columns: Sequence[int]) -> bool:
    """Whether the columns hold the same in each row."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        next(rows, None)
        return all(len({fields[at].strip() for at in columns if at < len(fields)}) <= 1 for fields in rows)


def find_levels(rows: ClassRows, labels: Sequence[str], *, labelled: Sequence[bool]) -> dict[str, tuple[str, ...]]:
    """The coarser levels of a table, by the names of their columns, the finest first; one text for each row.

    A level has one value for each class, and fewer values than there are classes, but more than one. Only the rows for
    which `labelled` is true count.
    """
    levels = dict[str, tuple[str, ...]]()
    classes = set(compress(labels, labelled))
    for at in rows.others():
        column = tuple(fields[at] for _, fields in rows.rows)
        pairs = set(compress(zip(labels, column, strict=True), labelled))
        values = {value for _, value in pairs}
        if len(pairs) == len(classes) > len(values) > 1 and "" not in values:
            levels[rows.names[at]] = column
    return dict(sorted(levels.items(), key=lambda level: -len(set(level[1]))))
