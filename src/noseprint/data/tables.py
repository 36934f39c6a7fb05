"""The CSV tables of the challenge: labelled images, pairs of images, pseudo-identities.

Every table is checked once, here, row by row as it streams past; the error carries all faults, each with its line.
"""

import csv
import sys
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from noseprint.data.listing import ImageListing
from noseprint.data.rows import further_column, read_rows
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import atomic_write

TRAIN_HEADER = ("dog ID", "nose print image")
PAIR_HEADER = ("imageA", "imageB")
LABEL_HEADER = (*PAIR_HEADER, "label")
ENCOUNTERS = ("encounter", "date", "camera")
"""An optional column, the first of these that a table has: what photographs of one identity taken together share."""
RETRIEVAL_HEADER = ("folder", "role", "identity", "image")
PSEUDO_HEADER = TRAIN_HEADER

T = TypeVar("T")
Split = Literal["validation", "test"]
PAIR_TABLES: dict[Split, str] = {"validation": "valid_data.csv", "test": "test_data.csv"}


@dataclass(frozen=True)
class ImageTable:
    """Labelled images, one row an image; `encounters` is None where the table does not tell them."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    encounters: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __add__(self, other: "ImageTable") -> "ImageTable":
        """The rows of both, for training on: encounters are not carried along."""
        return ImageTable(self.paths + other.paths, self.identities + other.identities)

    def where(self, keep: Iterable[bool]) -> "ImageTable":
        """The rows for which `keep` (as long as the table) is true."""
        kept = tuple(keep)
        encounters = self.encounters and _where(self.encounters, kept)
        return ImageTable(_where(self.paths, kept), _where(self.identities, kept), encounters)


@dataclass(frozen=True)
class PairTable:
    """Pairs of image names inside `folder`, in the order of the CSV."""

    folder: Path
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_a)

    def names(self) -> tuple[str, ...]:
        """Each distinct image once, in order of first appearance."""
        return tuple(dict.fromkeys(name for pair in zip(self.image_a, self.image_b, strict=True) for name in pair))

    def among(self, paths: Container[Path]) -> "PairTable":
        """The pairs of which both images are among `paths`."""
        known = {name for name in self.names() if self.folder / name in paths}
        return self.where(a in known and b in known for a, b in zip(self.image_a, self.image_b, strict=True))

    def where(self, keep: Iterable[bool]) -> "PairTable":
        """The rows for which `keep` (as long as the table) is true."""
        kept = tuple(keep)
        return PairTable(self.folder, _where(self.image_a, kept), _where(self.image_b, kept))


def tables_of(data: Path) -> list[Path]:
    """Where the tables of a data folder lie, those that are missing too, and the imported.csv of an import."""
    names = ("train_data.csv", "valid_data.csv", "test_data.csv", "labels.csv", "retrieval.csv", "imported.csv")
    return [data / folder / name for folder in (".", "train", "validation", "test") for name in names]


def read_train(data: Path, *, missing_ok: bool = False) -> ImageTable:
    """Read `data/train/train_data.csv`; images lie in `data/train/images/`. An identity is any text.

    A further column of ENCOUNTERS (any text) may tell which photographs of one identity were taken together; of one
    whose field is empty it is not known: an encounter of its own.

    missing_ok: a photograph that is not there is no fault; whoever opens it must say so.
    Raises DataError with every fault: a missing table or image, a wrong header, an empty field, a name that leaves the
    folder, an image listed twice.
    """
    return _read_labelled(data / "train" / "train_data.csv", image_folder(data, "train"), missing_ok=missing_ok)


def read_pseudo(path: Path, data: Path, *, missing_ok: bool = False) -> ImageTable:
    """Read the pseudo-identities that `pseudo_produce` wrote; their images are the validation images of `data`.

    There may be none. Otherwise as `read_train`.
    """
    if not path.is_file():
        raise NoseprintError(
            f"{path} is missing: run pseudo_produce/train.py and pseudo_produce/pseudo.py first, "
            "or pass --no-pseudo to train on the labelled images alone"
        )
    return _read_labelled(path, image_folder(data, "validation"), missing_ok=missing_ok, may_be_empty=True)


def read_pairs(data: Path, split: Split, *, missing_ok: bool = False) -> PairTable:
    """Read the pairs of a split: `data/validation/valid_data.csv` or `data/test/test_data.csv`.

    A pair may stand there twice, or be of an image with itself: each row is a question of its own.
    missing_ok: as for `read_train`.
    Raises DataError with every fault, a missing or wrongly named image once.
    """
    folder = image_folder(data, split)
    return _read_pairs(
        data / split / PAIR_TABLES[split], folder=folder, listing=ImageListing(folder, missing_ok=missing_ok)
    )


def read_pair_names(path: Path) -> PairTable:
    """Read a table of pairs whose images are not needed: its folder is where the table lies."""
    return _read_pairs(path, folder=path.parent, listing=None)


def read_labels(data: Path, split: Split) -> tuple[PairTable, tuple[bool, ...]] | None:
    """Read `data/<split>/labels.csv` (imageA,imageB,label with 1 = same), or None where there is none.

    Raises DataError with every fault, such as two labels of one pair or an image that differs from itself.
    """
    path = data / split / "labels.csv"
    if not path.is_file():
        return None
    faults: list[Fault] = []
    folder = image_folder(data, split)
    names = _Names(path, ImageListing(folder), faults)
    image_a, image_b, same = list[str](), list[str](), list[bool]()
    said: dict[tuple[str, str], int] = {}  # the pair, in order -> the line that labels it first, below 0 for label 0
    for line, (a, b, label) in read_rows(path, LABEL_HEADER, faults=faults):
        image_a.append(names.known(line, a))
        image_b.append(names.known(line, b))
        same.append(label == "1")
        if label not in ("0", "1"):
            faults.append(Fault(path, line, f"label {label!r} is neither 0 nor 1"))
            continue
        if a == b and label == "0":
            faults.append(Fault(path, line, f"{a!r} is labelled as different from itself: make it 1"))
        pair = (image_a[-1], image_b[-1]) if a < b else (image_b[-1], image_a[-1])
        first = said.setdefault(pair, line if same[-1] else -line)
        if (first > 0) != same[-1]:
            faults.append(Fault(path, line, f"label {label} contradicts line {abs(first)}: keep one of the two"))
    if not faults and len(set(same)) < 2:
        faults.append(Fault(path, None, "a score needs pairs of both labels, 0 and 1"))
    _require_none(faults)
    return PairTable(folder, tuple(image_a), tuple(image_b)), tuple(same)


@dataclass(frozen=True)
class RetrievalTable:
    """Images with their identity and their role in a search: "query" or "gallery"; encounters as in `ImageTable`."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    is_query: tuple[bool, ...]
    encounters: tuple[str, ...] | None = None

    def where(self, keep: Iterable[bool]) -> "RetrievalTable":
        """The rows for which `keep` (as long as the table) is true."""
        kept = tuple(keep)
        encounters = self.encounters and _where(self.encounters, kept)
        roles = _where(self.is_query, kept)
        return RetrievalTable(_where(self.paths, kept), _where(self.identities, kept), roles, encounters)


def read_retrieval(data: Path) -> RetrievalTable | None:
    """Read `data/retrieval.csv` (folder,role,identity,image[, one of ENCOUNTERS]), or None where there is none.

    Of an image whose encounter is left empty it is not known: an encounter of its own.
    """
    path = data / "retrieval.csv"
    if not path.is_file():
        return None
    faults: list[Fault] = []
    names: dict[str, tuple[Path, _Names]] = {}
    first_line: dict[tuple[str, str], int] = {}
    paths, identities, is_query, encounters = list[Path](), list[str](), list[bool](), list[str]()
    rows = read_rows(path, RETRIEVAL_HEADER, faults=faults, optional=ENCOUNTERS)
    for line, (folder, role, identity, image, *encounter) in rows:
        if role not in ("query", "gallery"):
            faults.append(Fault(path, line, f"role {role!r} is neither query nor gallery"))
        if folder not in ("train", "validation", "test"):
            faults.append(Fault(path, line, f"folder {folder!r} is none of train, validation, test"))
            continue
        if folder not in names:
            images = image_folder(data, folder)
            names[folder] = images, _Names(path, ImageListing(images), faults)
        images, checked = names[folder]
        name = checked.known(line, image)
        if (first := first_line.setdefault((folder, name), line)) != line:
            faults.append(Fault(path, line, f"{folder}/{image} stands on line {first} already: keep one"))
        paths.append(images / name)
        identities.append(sys.intern(identity))
        is_query.append(role == "query")
        encounters += map(sys.intern, encounter)
    if not faults and len(set(is_query)) < 2:
        faults.append(Fault(path, None, "a search needs both query and gallery rows"))
    _require_none(faults)
    return RetrievalTable(tuple(paths), tuple(identities), tuple(is_query), _encounters(encounters))


def contradictions(pairs: PairTable, same: Iterable[bool], identities: Mapping[Path, str]) -> list[int]:
    """The rows of `pairs` that `same` (as long) calls the same though their `identities` are two, or the reverse."""
    known = [[identities.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
    rows = enumerate(zip(*known, same, strict=True))
    return [row for row, (one, other, is_same) in rows if one and other and (one == other) != is_same]


def encounter_column(path: Path, header: Sequence[str]) -> str:
    """What the column that tells encounters is called in a table that was read, which begins with `header`."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = [name.strip() for name in next(csv.reader(file))]
    return " ".join(found[at] for at in further_column(found, header, ENCOUNTERS))


def image_folder(data: Path, split: str) -> Path:
    """The image folder of a split: `<split>/images/`, or `test/test/` as the published archive unpacks."""
    candidates = [data / split / "images"] + ([data / "test" / "test"] if split == "test" else [])
    for folder in candidates:
        if folder.is_dir():
            return folder
    problem = f"put the {split} photographs there, or name another data folder with --data DIR"
    raise DataError([Fault(folder, None, f"no such image folder: {problem}") for folder in candidates[:1]])


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV aside and rename it into place."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read_labelled(path: Path, folder: Path, *, missing_ok: bool, may_be_empty: bool = False) -> ImageTable:
    faults: list[Fault] = []
    listing = ImageListing(folder, missing_ok=missing_ok)
    row_of: dict[str, int] = {}  # the images, in order
    identities, encounters, lines = list[str](), list[str](), array("q")
    rows = read_rows(path, TRAIN_HEADER, faults=faults, optional=ENCOUNTERS)
    for line, (identity, image, *encounter) in rows:
        if (first := row_of.setdefault(image, len(row_of))) < len(identities):
            whose = "the same identity" if identities[first] == identity else f"identity {identities[first]!r}"
            faults.append(
                Fault(path, line, f"image {image!r} stands on line {lines[first]} already, under {whose}: keep one")
            )
            continue
        if problem := listing.problem(image):
            faults.append(Fault(path, line, problem))
        identities.append(sys.intern(identity))
        encounters += map(sys.intern, encounter)
        lines.append(line)
    if not (faults or identities or may_be_empty):
        faults.append(Fault(path, None, "no images below the header"))
    _require_none(faults)
    return ImageTable(tuple(folder / image for image in row_of), tuple(identities), _encounters(encounters))


def _read_pairs(path: Path, *, folder: Path, listing: ImageListing | None) -> PairTable:
    faults: list[Fault] = []
    names = _Names(path, listing, faults)
    image_a, image_b = list[str](), list[str]()
    for line, (a, b) in read_rows(path, PAIR_HEADER, faults=faults):
        image_a.append(names.known(line, a))
        image_b.append(names.known(line, b))
    if not (faults or image_a):
        faults.append(Fault(path, None, "no pairs below the header"))
    _require_none(faults)
    return PairTable(folder, tuple(image_a), tuple(image_b))


class _Names:
    """Image names of a table: each checked once, at its first mention, and equal names made one object."""

    def __init__(self, table: Path, listing: ImageListing | None, faults: list[Fault]) -> None:
        self._table, self._listing, self._faults = table, listing, faults
        self._known: dict[str, str] = {}

    def known(self, line: int, name: str) -> str:
        """The one object for `name`; what is wrong with it becomes a fault of the line that first names it."""
        if (known := self._known.get(name)) is not None:
            return known
        if self._listing and (problem := self._listing.problem(name)):
            self._faults.append(Fault(self._table, line, problem))
        self._known[name] = name
        return name


def _encounters(told: Sequence[str]) -> tuple[str, ...] | None:
    """The encounter of each row: where none is told one of its own, which holds a NUL, as no field of a table may."""
    return tuple(text or f"\0{row}" for row, text in enumerate(told)) if any(told) else None


def _where(column: Sequence[T], keep: Sequence[bool]) -> tuple[T, ...]:
    return tuple(value for value, k in zip(column, keep, strict=True) if k)


def _require_none(faults: Sequence[Fault]) -> None:
    if faults:
        raise DataError(faults)
