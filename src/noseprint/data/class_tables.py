"""Images and their classes: read from a folder for each class, or from a table.

A data folder is train/CLASS/*, val/CLASS/*, test/CLASS/* or test/* without classes, and unlabelled/*. A table (see
`ClassColumns`) wins over the names of folders.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Self

from noseprint.data.class_columns import ClassColumns, ClassRows, find_levels, is_group, read_class_rows
from noseprint.data.class_folders import SPLIT_WORDS, UNPRINTABLE, ClassSplit, list_class_folder, some, split_folders
from noseprint.data.listing import is_hidden
from noseprint.data.names import SimilarFiles, alike_form, alike_groups, alike_text, count_text, is_missing
from noseprint.data.tables import Table
from noseprint.errors import DataError, Fault, NoseprintError, breaks_line, printable

TABLES = ("images.csv", "labels.csv", "train.csv")
"""The tables that are looked for in a data folder."""


@dataclass(frozen=True)
class ClassTable(Table):
    """Images with their classes, one in each row."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    """"" where no class is given: unlabelled images, and a test folder without classes."""
    splits: tuple[ClassSplit, ...]
    names: tuple[str, ...]
    """The path from the data folder on, with "/", such as train/cat/1.jpg: how tables and messages call the image."""
    groups: tuple[str, ...] | None = None
    """Images that belong together have one group; None if no column of groups was named."""
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> the coarser class of each row, the finest level first; "" where it is not known."""

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, keep: Iterable[bool]) -> Self:
        """The rows for which `keep` (N,) is true."""
        keep = tuple(keep)
        levels = {name: tuple(compress(level, keep)) for name, level in self.levels.items()}
        return replace(super().where(keep), levels=levels)

    def split(self, name: ClassSplit) -> Self:
        """The rows of one split."""
        return self.where(split == name for split in self.splits)

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels of the training images, sorted."""
        return tuple(sorted(set(filter(None, self.split("train").labels))))


def read_classes(
    data: Path,
    *,
    columns: ClassColumns = ClassColumns(),  # noqa: B008 - it cannot be changed
    missing_ok: bool = False,
    quiet: bool = False,
) -> ClassTable:
    """Read the images of a data folder and their classes. What is left out or not read is printed to standard error.

    A table without a column of splits takes the split from the first folder of each path, if that is the name of one,
    else train. Rows of another split, such as "flagged", are left out. Images that the table does not name are read
    from the folders val, test and unlabelled, if it has no row of that split. Labels of unlabelled images are dropped.
    missing_ok: accept rows whose image does not exist; the caller must report it later. quiet: print nothing.
    Raises DataError with every fault: two tables, a table whose columns are not clear, an image that is missing,
    outside the data folder or listed twice, a missing label, two folders of one split, an empty class folder, folders
    inside a class folder, a class without training images, names of classes that differ by case, blanks or punctuation
    only, fewer than two classes. Raises NoseprintError if there is neither a table nor train/, and for a column without
    a table.
    """
    faults, notes = list[Fault](), list[str]()
    folders = split_folders(data, faults)
    path = find_table(data, columns, faults)
    table = ClassTable((), (), (), ())
    if path is not None:
        table = _read_table(path, data, columns, missing_ok=missing_ok, faults=faults, notes=notes)
    elif columns.given() and not faults:
        option = f"--{next(iter(columns.given()))}-column"
        raise NoseprintError(f"{option} is for a table, and {data} has none: name one with --table FILE")
    elif "train" not in folders and not faults:
        raise NoseprintError(_nothing_found(data))
    if faults and not table.paths:
        raise DataError(faults)
    known = set(table.names)
    for split, folder in folders.items():
        if split in table.splits or (split == "train" and path is not None):
            continue
        rows = [row for row in list_class_folder(folder, split, faults) if row[1] not in known]
        table = _append(table, data, rows, split=split)
        if path is not None and rows:
            notes.append(f"it names no image of {split}: {len(rows)} are read from {folder.name}/")
    if table.classes or not faults:
        faults += _class_faults(table, path or data / "train")
    if faults:
        raise DataError(faults)
    # RANK as in noseprint.distributed, which loads torch: that takes seconds
    if not quiet and os.environ.get("RANK", "0") == "0":
        for note in notes:
            print(f"{printable(path or data)}: {printable(note)}", file=sys.stderr, flush=True)
    return table


def hold_out(images: ClassTable, share: float) -> tuple[ClassTable, ClassTable]:
    """Split the training images into those to learn from and those held out: the rows of val, where there are any.

    Otherwise about the `share` of the images, or of their groups, is held out: those whose names have a small hash.
    So the choice depends neither on a seed nor on the labels, and other images change it little. A class of which
    nothing would be left is learned from whole, with all images of its groups.
    Raises NoseprintError for a share outside 0..0.5, and if nothing could be held out.
    """
    if not 0 <= share <= 0.5:
        raise NoseprintError(f"hold-out share {share} is outside 0..0.5: 0.1 holds out a tenth of the images")
    train, val = images.split("train"), images.split("val")
    if len(val):
        return train, val
    units = train.groups or train.names
    out = {unit for unit in units if _unit_interval(unit) < share}
    own: dict[str, set[str]] = {}
    for label, unit in zip(train.labels, units, strict=True):
        own.setdefault(label, set()).add(unit)
    whole = [of_class for of_class in own.values() if of_class <= out]
    out = out.difference(*whole)
    if share and not out:
        raise NoseprintError(
            f"of {len(train)} training images in {len(own)} classes none can be held out: add images, or a split val"
        )
    return train.where(unit not in out for unit in units), train.where(unit in out for unit in units)


def _unit_interval(name: str) -> float:
    """A number in 0..1 that is the same for a name everywhere, and evenly spread over names."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8]) / 2**64


def _nothing_found(data: Path) -> str:
    if not data.is_dir():
        return f"{data}: no such folder; name the data folder with --data DIR"
    here = sorted(entry.name for entry in data.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    moved = f" If the folders here ({some(here)}) are the classes, move them into {data / 'train'}." if here else ""
    return (
        f"{data} has neither a folder train/ with a folder for each class in it, nor a table "
        f"({', '.join(TABLES)}).{moved} Name another folder with --data DIR, or a table with --table FILE"
    )


def _append(table: ClassTable, data: Path, rows: Sequence[tuple[str, str]], *, split: ClassSplit) -> ClassTable:
    """Add images of one split, by (label, name)."""
    labels, names = tuple(label for label, _ in rows), tuple(name for _, name in rows)
    levels = {}
    for name, level in table.levels.items():
        of_class = dict(zip(table.labels, level, strict=True))
        levels[name] = (*level, *(of_class.get(label, "") if label else "" for label in labels))
    return ClassTable(
        (*table.paths, *(data / name for name in names)),
        table.labels + labels,
        (*table.splits, *(split for _ in rows)),
        table.names + names,
        None if table.groups is None else table.groups + names,
        levels,
    )


def _class_faults(table: ClassTable, source: Path) -> Iterator[Fault]:
    """What is wrong with the classes as a whole."""
    classes = table.classes
    if not classes:
        yield Fault(source, None, "there are no training images: give some the split train")
        return
    if len(classes) < 2:
        yield Fault(
            source, None, f"every training image is of the class {classes[0]!r}: two classes are needed; add another"
        )
    if groups := alike_groups(filter(None, table.labels)):
        problem = f"names of classes differ by case, blanks or punctuation only: {alike_text(groups)}"
        yield Fault(source, None, f"{problem}. Give one class one name, and two classes clearly different ones")
    alike = set(map(alike_form, classes))
    for split in ("val", "test"):
        labels = table.split(split).labels
        for label in sorted(set(filter(None, labels))):
            if alike_form(label) not in alike:
                problem = f"class {label!r} has no training image and {labels.count(label)} in {split}"
                advice = "its images can never be predicted right; add training images of it, or remove these"
                yield Fault(source, None, f"{problem}: {advice}")


# -- tables ------------------------------------------------------------------------------------------------------------


def find_table(data: Path, columns: ClassColumns, faults: list[Fault]) -> Path | None:
    """The table that is named, or the one in the data folder; None if there is none, or, with a fault, several."""
    if columns.table is not None:
        return columns.table
    found = [data / name for name in TABLES if (data / name).is_file()]
    if len(found) > 1:
        tables = " and ".join(path.name for path in found)
        faults.append(Fault(data, None, f"{tables} may both be the table: name one of them with --table FILE"))
        return None
    return found[0] if found else None


def _read_table(
    path: Path, data: Path, columns: ClassColumns, *, missing_ok: bool, faults: list[Fault], notes: list[str]
) -> ClassTable:
    found = read_class_rows(path, columns, faults=faults)
    if found is None:
        return ClassTable((), (), (), ())
    names = [relative_name(text, data) for text in found.field("image")]
    split_texts = found.field("split")
    if "split" not in found.at:
        firsts = [name.partition("/")[0] for name in names]
        split_texts = [first if first.casefold() in SPLIT_WORDS else "train" for first in firsts]
    splits = [SPLIT_WORDS.get(text.casefold()) for text in split_texts]
    labels = ["" if split == "unlabelled" else label for label, split in zip(found.field("label"), splits, strict=True)]
    kept = [split is not None for split in splits]
    faults += _row_faults(path, data, found, names=names, labels=labels, splits=splits, missing_ok=missing_ok)
    levels = find_levels(
        found, labels, labelled=[bool(label) and keep for label, keep in zip(labels, kept, strict=True)]
    )
    groups = None
    if "group" in found.at:
        texts = zip(found.field("group"), names, strict=True)
        groups = tuple(name if is_missing(text) else text for text, name in texts)  # a group of its own
    notes += _notes(found, splits=split_texts, kept=kept, names=names, labels=labels, levels=levels)
    return ClassTable(
        tuple(data / name for name in names),
        tuple(map(sys.intern, labels)),
        tuple(split or "train" for split in splits),
        tuple(names),
        groups,
        levels,
    ).where(kept)


def relative_name(text: str, data: Path) -> str:
    """A path of a table as seen from the data folder, with "/"; "../..." if it leads out."""
    if "\\" in text and not os.path.isfile(data / text):  # noqa: PTH113 - False, and no error, for any text
        text = text.replace("\\", "/")
    if text.startswith("/"):
        text = os.path.relpath(text, Path(os.path.abspath(data)))  # noqa: PTH100 - links stay as they are
    return os.path.normpath(text) if text else ""


def _row_faults(
    path: Path,
    data: Path,
    found: ClassRows,
    *,
    names: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[ClassSplit | None],
    missing_ok: bool,
) -> Iterator[Fault]:
    first: dict[str, int] = {}
    similar = SimilarFiles()
    lines = [line for line, _ in found.rows]
    for row, (name, label, split) in enumerate(zip(names, labels, splits, strict=True)):
        if split is None:
            continue
        if not label and split in ("train", "val"):
            yield Fault(path, lines[row], f"{name!r} has no label: write one, or make its split unlabelled")
        before = first.setdefault(name, row)
        if before != row:
            how = f"is already listed on line {lines[before]}"
            if labels[before] != label:
                how += f" with the label {labels[before]!r}, and here with {label!r}"
            yield Fault(path, lines[row], f"image {name!r} {how}: delete one row")
        elif problem := find_name_problem(name, label, data, similar, missing_ok=missing_ok):
            yield Fault(path, lines[row], problem)


def find_name_problem(
    name: str, label: str, data: Path, similar: SimilarFiles, *, missing_ok: bool = False
) -> str | None:
    """What is wrong with the path of an image from the folder `data` on, or with its label; None if nothing is."""
    if breaks_line(name) or breaks_line(label):
        return f"{printable(name)!r}: {UNPRINTABLE}"
    if name == ".." or name.startswith("../"):
        return f"image {name!r} is outside the data folder {data}: put it there, or name another folder with --data DIR"
    if missing_ok or os.path.isfile(data / name):  # noqa: PTH113 - False, and no error, for a text that no file can be named
        return None
    if os.path.exists(data / name):  # noqa: PTH110
        return f"{name!r} in {data} is not a file: write the path of an image"
    if (other := similar.find(data / name)) and other.is_file():
        return f"there is no image {data / name}, but {other}: write the path as it is on the disk"
    return f"there is no image {data / name}: add it, delete the row, or name another folder with --data DIR"


def _notes(
    found: ClassRows,
    *,
    splits: Sequence[str],
    kept: Sequence[bool],
    names: Sequence[str],
    labels: Sequence[str],
    levels: Mapping[str, object],
) -> Iterator[str]:
    """What the user should know about a table that can be read."""
    if left_out := [split for split, keep in zip(splits, kept, strict=True) if not keep]:
        words = ", ".join(dict.fromkeys(SPLIT_WORDS.values()))
        yield f"{len(left_out)} rows are left out, whose split is none of {words}: {count_text(left_out)}"
    unread = [found.names[at] for at in found.others() if found.names[at] not in levels]
    if unread:
        yield f"columns that are not read: {', '.join(unread)}"
    if "group" not in found.at and (hints := [name for name in found.names if is_group(name)]):
        advice = f"to keep images of one {hints[0]} in one fold, pass --group-column {hints[0]}"
        yield f"the column {hints[0]} is not read; {advice}"
    in_class = re.compile(f"({'|'.join(SPLIT_WORDS)})/([^/]+)/[^/]+", re.IGNORECASE)
    classes = set(map(alike_form, labels))
    differ = [
        name
        for name, label, keep in zip(names, labels, kept, strict=True)
        if keep
        and label
        and (match := in_class.fullmatch(name))
        and (of_folder := alike_form(match[2])) in classes
        and of_folder != alike_form(label)
    ]
    if differ:
        yield f"{len(differ)} images have another label than their folder ({some(differ)}); the table's label is taken"
