"""The CSV tables of a data folder and the images that they name: labelled images, pairs, pseudo-identities, searches.

Each table is checked once, row by row as it is read. The error lists every fault with its line.
"""

import os
import re
import sys
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, TypeVar

from noseprint.data.csv_rows import find_optional_column, read_rows
from noseprint.data.names import alike_form, is_missing
from noseprint.errors import DataError, Fault, NoseprintError

TRAIN_HEADER = ("dog ID", "nose print image")
PSEUDO_HEADER = TRAIN_HEADER
PAIR_HEADER = ("imageA", "imageB")
LABEL_HEADER = (*PAIR_HEADER, "label")
RETRIEVAL_HEADER = ("folder", "role", "identity", "image")
ENCOUNTERS = ("encounter", "date", "camera")
"""Names of an optional column, of which the first that a table has is read. Photographs of one identity that were taken
together share its value."""

Split = Literal["validation", "test"]
PAIR_TABLES: dict[Split, str] = {"validation": "valid_data.csv", "test": "test_data.csv"}

_NONE_KNOWN = "every identity is missing (such as unknown, NA or ?): write whom the photographs show"


@dataclass(frozen=True)
class Table:
    """Rows of images, one tuple for each column."""

    def where(self, keep: Iterable[bool]) -> Self:
        """The rows for which `keep` (N,) is true."""
        keep = tuple(keep)
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, column in columns.items():
            if isinstance(column, tuple):
                columns[name] = tuple(value for value, is_kept in zip(column, keep, strict=True) if is_kept)
        return replace(self, **columns)


@dataclass(frozen=True)
class ImageTable(Table):
    """Labelled images, one in each row. `encounters` is None if the table has none."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    encounters: tuple[str, ...] | None = None
    unknown: Mapping[Path, str] = field(default_factory=dict)
    """The images that are left out because their identity is missing, and what stands in its place."""
    encounter_column: str = field(default="", compare=False)
    """The name of the column that gave the encounters."""

    def __len__(self) -> int:
        return len(self.paths)

    def __add__(self, other: "ImageTable") -> "ImageTable":
        """The rows of both tables, to train on: the encounters are dropped."""
        return ImageTable(self.paths + other.paths, self.identities + other.identities)


@dataclass(frozen=True)
class PairTable(Table):
    """Pairs of images, as file names inside `folder`, in the order of the CSV."""

    folder: Path
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_a)

    def names(self) -> tuple[str, ...]:
        """Each distinct image once, in order of first appearance."""
        return tuple(dict.fromkeys(name for pair in zip(self.image_a, self.image_b, strict=True) for name in pair))

    def among(self, paths: Container[Path]) -> "PairTable":
        """The pairs whose images are both among `paths`."""
        known = {name for name in self.names() if self.folder / name in paths}
        return self.where(a in known and b in known for a, b in zip(self.image_a, self.image_b, strict=True))


@dataclass(frozen=True)
class RetrievalTable(Table):
    """Images with their identity and their role in a search: query, gallery or both. The rest as in `ImageTable`."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    is_query: tuple[bool, ...]
    encounters: tuple[str, ...] | None = None
    is_gallery: tuple[bool, ...] = ()
    """() stands for the images that are no queries."""
    unknown: Mapping[Path, str] = field(default_factory=dict)
    encounter_column: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Fill in `is_gallery`."""
        if not self.is_gallery:
            object.__setattr__(self, "is_gallery", tuple(not query for query in self.is_query))


_Labelled = TypeVar("_Labelled", ImageTable, RetrievalTable)


def table_paths(data: Path) -> list[Path]:
    """The path of every table that a data folder may hold, whether it exists or not, with an import's imported.csv."""
    names = ("train_data.csv", "valid_data.csv", "test_data.csv", "labels.csv", "retrieval.csv", "imported.csv")
    return [data / folder / name for folder in (".", "train", "validation", "test") for name in names]


def image_folder(data: Path, split: str) -> Path:
    """The image folder of a split: `<split>/images/`, or `test/test/`, as the published archive unpacks."""
    folder, published = data / split / "images", data / "test" / "test"
    if folder.is_dir():
        return folder
    if split == "test" and published.is_dir():
        return published
    problem = f"there is no such folder: put the {split} photographs there, or name another data folder with --data DIR"
    raise DataError([Fault(folder, None, problem)])


def read_train(data: Path, *, missing_ok: bool = False) -> ImageTable:
    """Read `data/train/train_data.csv`. Its images lie in `data/train/images/`; an identity is any text.

    Rows whose identity is missing (`is_missing`: unknown, NA, ?) are left out and stand in `unknown`; the caller must
    report them. A column named in ENCOUNTERS may say which photographs of an identity were taken together (any text).
    Where its field is empty or missing, the photograph is an encounter of its own. missing_ok: accept rows whose
    photograph does not exist; the caller must report it later.
    Raises DataError with every fault: a missing table or image, a wrong header, an empty field, a name that leads out
    of the folder, an image listed twice.
    """
    return _read_image_table(data / "train" / "train_data.csv", image_folder(data, "train"), missing_ok=missing_ok)


def read_pseudo(path: Path, data: Path, *, missing_ok: bool = False) -> ImageTable:
    """Read the pseudo-identities that `pseudo_produce` wrote. Their images are the validation images of `data`.

    The table may be empty. Otherwise it is read as by `read_train`.
    """
    if not path.is_file():
        raise NoseprintError(
            f"{path} is missing: run pseudo_produce/train.py and pseudo_produce/pseudo.py first, "
            "or pass --no-pseudo to train on the labelled images alone"
        )
    return _read_image_table(path, image_folder(data, "validation"), missing_ok=missing_ok, may_be_empty=True)


def read_pairs(data: Path, split: Split, *, missing_ok: bool = False) -> PairTable:
    """Read the pairs of a split: `data/validation/valid_data.csv` or `data/test/test_data.csv`.

    A pair may be listed twice, or compare an image with itself: each row is a question of its own.
    missing_ok: as for `read_train`.
    Raises DataError with every fault; a missing image or a bad name is reported once.
    """
    folder = image_folder(data, split)
    return _read_pair_table(data / split / PAIR_TABLES[split], folder, missing_ok=missing_ok)


def read_pair_names(path: Path) -> PairTable:
    """Read a table of pairs without looking for its images; `folder` is the folder of the table."""
    return _read_pair_table(path, path.parent, check_names=False)


def read_labels(data: Path, split: Split, *, missing_ok: bool = False) -> tuple[PairTable, tuple[bool, ...]] | None:
    """Read `data/<split>/labels.csv` (imageA,imageB,label with 1 = same), or None if there is none.

    missing_ok: as for `read_train`.
    Raises DataError with every fault, such as a pair with two labels or an image labelled as different from itself.
    """
    path = data / split / "labels.csv"
    if not path.is_file():
        return None
    faults: list[Fault] = []
    folder = image_folder(data, split)
    names = _ImageNames(folder, table=path, faults=faults, missing_ok=missing_ok)
    image_a, image_b, same, lines = list[str](), list[str](), list[bool](), array("q")
    first_row: dict[tuple[str, str], int] = {}  # of each pair, whichever way round
    for line, (*pair, label) in read_rows(path, LABEL_HEADER, faults=faults):
        a, b = (names.check(name, line) for name in pair)
        image_a.append(a)
        image_b.append(b)
        same.append(label == "1")
        lines.append(line)
        if label not in ("0", "1"):
            faults.append(Fault(path, line, f"label {label!r} is neither 0 nor 1"))
            continue
        if a == b and label == "0":
            faults.append(Fault(path, line, f"{a!r} is labelled as different from itself: make the label 1"))
        first = first_row.setdefault((a, b) if a < b else (b, a), len(same) - 1)
        if same[first] != same[-1]:
            faults.append(Fault(path, line, f"label {label} contradicts line {lines[first]}: delete one of the two"))
    if not faults and len(set(same)) < 2:
        faults.append(Fault(path, None, "a score needs pairs of both labels, 0 and 1"))
    _raise_if_any(faults)
    return PairTable(folder, tuple(image_a), tuple(image_b)), tuple(same)


def read_retrieval(data: Path, *, missing_ok: bool = False) -> RetrievalTable | None:
    """Read `data/retrieval.csv` (folder,role,identity,image[, one of ENCOUNTERS]), or None if there is none.

    role: query, gallery, or both, for a leave-one-out search, in which no image finds itself. Missing identities and
    encounters are treated as by `read_train`. missing_ok: as for `read_train`. Raises DataError with every fault.
    """
    path = data / "retrieval.csv"
    if not path.is_file():
        return None
    faults: list[Fault] = []
    names_in: dict[str, _ImageNames] = {}
    first: dict[tuple[str, str], tuple[int, str]] = {}
    paths, identities, roles, encounters = list[Path](), list[str](), list[str](), list[str]()
    rows = read_rows(path, RETRIEVAL_HEADER, faults=faults, optional=ENCOUNTERS)
    for line, (folder, role, identity, image, *encounter) in rows:
        if role not in ("query", "gallery", "both"):
            faults.append(Fault(path, line, f"the role must be query, gallery or both, not {role!r}"))
        if folder not in ("train", "validation", "test"):
            faults.append(Fault(path, line, f"folder {folder!r} is none of train, validation, test"))
            continue
        if folder not in names_in:
            where = image_folder(data, folder)
            names_in[folder] = _ImageNames(where, table=path, faults=faults, missing_ok=missing_ok)
        name = names_in[folder].check(image, line)
        first_line, first_role = first.setdefault((folder, name), (line, role))
        if first_line != line:
            advice = "delete one row" if role == first_role else "delete one row, and give the other the role both"
            faults.append(Fault(path, line, f"{folder}/{image} is already listed on line {first_line}: {advice}"))
        paths.append(names_in[folder].folder / name)
        identities.append(sys.intern(identity))
        roles.append(role)
        encounters += map(sys.intern, encounter)
    table = RetrievalTable(
        tuple(paths),
        tuple(identities),
        tuple(role != "gallery" for role in roles),
        _fill_encounters(encounters),
        tuple(role != "query" for role in roles),
        encounter_column=find_optional_column(path, RETRIEVAL_HEADER, ENCOUNTERS) if encounters else "",
    )
    known = _without_unknown(table)
    if not faults and known.unknown and not known.paths:
        faults.append(Fault(path, None, _NONE_KNOWN))
    elif not faults and not (any(known.is_query) and any(known.is_gallery)):
        faults.append(Fault(path, None, "a search needs both query and gallery rows (or rows of the role both)"))
    _raise_if_any(faults)
    return known


def contradicting_rows(pairs: PairTable, same: Iterable[bool], identities: Mapping[Path, str]) -> list[int]:
    """The rows of `pairs` whose label (`same`, one for each row) contradicts the `identities` of their images."""
    known = [[identities.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
    rows = enumerate(zip(*known, same, strict=True))
    return [row for row, (one, other, is_same) in rows if one and other and (one == other) != is_same]


def _read_image_table(path: Path, folder: Path, *, missing_ok: bool, may_be_empty: bool = False) -> ImageTable:
    faults: list[Fault] = []
    names = _ImageNames(folder, table=path, faults=faults, missing_ok=missing_ok)
    row_of: dict[str, int] = {}  # the images, in order
    identities, encounters, lines = list[str](), list[str](), array("q")
    rows = read_rows(path, TRAIN_HEADER, faults=faults, optional=ENCOUNTERS)
    for line, (identity, image, *encounter) in rows:
        if (first := row_of.setdefault(image, len(row_of))) < len(identities):
            whose = "the same identity" if identities[first] == identity else f"identity {identities[first]!r}"
            listed = f"is already listed on line {lines[first]}, under {whose}"
            faults.append(Fault(path, line, f"image {image!r} {listed}: delete one row"))
            continue
        if problem := names.problem(image):
            faults.append(Fault(path, line, problem))
        identities.append(sys.intern(identity))
        encounters += map(sys.intern, encounter)
        lines.append(line)
    if not (faults or identities or may_be_empty):
        faults.append(Fault(path, None, "there are no images below the header"))
    if not faults and identities and not may_be_empty and all(map(is_missing, identities)):
        faults.append(Fault(path, None, _NONE_KNOWN))
    _raise_if_any(faults)
    return _without_unknown(
        ImageTable(
            tuple(folder / image for image in row_of),
            tuple(identities),
            _fill_encounters(encounters),
            encounter_column=find_optional_column(path, TRAIN_HEADER, ENCOUNTERS) if encounters else "",
        )
    )


def _read_pair_table(path: Path, folder: Path, *, check_names: bool = True, missing_ok: bool = False) -> PairTable:
    faults: list[Fault] = []
    names = _ImageNames(folder, table=path, faults=faults, missing_ok=missing_ok) if check_names else None
    image_a, image_b = list[str](), list[str]()
    for line, (a, b) in read_rows(path, PAIR_HEADER, faults=faults):
        image_a.append(names.check(a, line) if names else sys.intern(a))
        image_b.append(names.check(b, line) if names else sys.intern(b))
    if not (faults or image_a):
        faults.append(Fault(path, None, "there are no pairs below the header"))
    _raise_if_any(faults)
    return PairTable(folder, tuple(image_a), tuple(image_b))


def _fill_encounters(encounters: Sequence[str]) -> tuple[str, ...] | None:
    """Give each row without an encounter one of its own; it begins with a NUL, which no field of a table may hold."""
    if all(map(is_missing, encounters)):
        return None
    return tuple(f"\0{row}" if is_missing(text) else text for row, text in enumerate(encounters))


def _without_unknown(table: _Labelled) -> _Labelled:
    """The rows whose identity is known; the others are in `unknown`."""
    known = [not is_missing(identity) for identity in table.identities]
    if all(known):
        return table
    rows = zip(table.paths, table.identities, known, strict=True)
    return replace(table.where(known), unknown={path: identity for path, identity, is_known in rows if not is_known})


def _raise_if_any(faults: Sequence[Fault]) -> None:
    if faults:
        raise DataError(faults)


# -- the image names of a table ----------------------------------------------------------------------------------------


class _ImageNames:
    """Checks the image names of `table` against `folder`, which is listed once, and appends what is wrong to `faults`.

    The folder itself may be a link; a photograph in it must not be a link to outside.
    missing_ok: accept a plain file name that does not exist.
    """

    def __init__(self, folder: Path, *, table: Path, faults: list[Fault], missing_ok: bool = False) -> None:
        self.folder, self._table, self._faults, self._missing_ok = folder, table, faults, missing_ok
        with os.scandir(folder) as entries:
            self._is_file = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        self._real_folder = os.path.realpath(folder)
        self._checked: dict[str, str] = {}

    def check(self, name: str, line: int) -> str:
        """Check `name` at its first mention, on `line`; return one object for equal names."""
        if name not in self._checked and (problem := self.problem(name)):
            self._faults.append(Fault(self._table, line, problem))
        return self._checked.setdefault(name, name)

    def problem(self, name: str) -> str | None:
        """What is wrong with `name` and how to fix it; None if it names a photograph in the folder."""
        if self._is_file.get(name):
            return None
        if "/" in name or "\\" in name or name in (".", ".."):
            last = re.split(r"[/\\]", name)[-1]
            advice = f"put the photograph into {self.folder} and write its name alone"
            if self._is_file.get(last):
                advice = f"write {last!r} alone, which lies in {self.folder}"
            return f"{name!r} is not a plain file name: {advice}"
        if name in self._is_file:  # a link, a folder or a pipe
            target = os.path.realpath(self.folder / name)
            if os.path.commonpath([self._real_folder, target]) != self._real_folder:
                return f"{name!r} is a link that leaves {self.folder}: put the photograph itself there"
            if Path(target).is_file():
                return None
            if Path(target).exists():
                return f"{name!r} in {self.folder} is not a file: put the photograph there"
        if self._missing_ok:
            return None
        similar = self._similar_files.get(alike_form(name), name)
        if similar == name:
            return f"image {name!r} is missing from {self.folder}: add it or delete the row"
        return (
            f"image {name!r} is missing from {self.folder}, which holds {similar!r}: they differ in case, space or how "
            "accents are stored (Unicode NFC or NFD), in hyphens or leading zeros; rename the file to the name in the "
            "table"
        )

    @cached_property
    def _similar_files(self) -> dict[str, str]:
        return {alike_form(name): name for name, is_file in self._is_file.items() if is_file}
