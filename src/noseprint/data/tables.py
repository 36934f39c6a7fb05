"""The CSV tables of the challenge: labelled images, pairs of images, pseudo-identities.

Every table is checked once, here. A message names the file, the row and the value.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write

TRAIN_HEADER = ("dog ID", "nose print image")
PAIR_HEADER = ("imageA", "imageB")
LABEL_HEADER = (*PAIR_HEADER, "label")
RETRIEVAL_HEADER = ("folder", "role", "identity", "image")
PSEUDO_HEADER = TRAIN_HEADER

Split = Literal["validation", "test"]
PAIR_TABLES: dict[Split, str] = {"validation": "valid_data.csv", "test": "test_data.csv"}


@dataclass(frozen=True)
class ImageTable:
    """Labelled images, one row an image."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __add__(self, other: "ImageTable") -> "ImageTable":
        return ImageTable(self.paths + other.paths, self.identities + other.identities)

    def where(self, keep: Iterable[bool]) -> "ImageTable":
        """The rows for which `keep` (as long as the table) is true."""
        rows = [(p, i) for p, i, k in zip(self.paths, self.identities, keep, strict=True) if k]
        return ImageTable(tuple(p for p, _ in rows), tuple(i for _, i in rows))


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


def read_train(data: Path) -> ImageTable:
    """Read `data/train/train_data.csv`; images lie in `data/train/images/`.

    Raises NoseprintError for a missing file or image, a wrong header, an empty field, an image listed twice.
    """
    return _read_labelled(data / "train" / "train_data.csv", image_folder(data, "train"))


def read_pseudo(path: Path, data: Path) -> ImageTable:
    """Read the pseudo-identities that `pseudo_produce` wrote; their images are the validation images of `data`."""
    if not path.is_file():
        raise NoseprintError(
            f"{path} is missing: run pseudo_produce/train.py and pseudo_produce/pseudo.py first, "
            "or pass --no-pseudo to train on the labelled images alone"
        )
    if len(_rows(path, PSEUDO_HEADER)) == 0:
        return ImageTable((), ())
    return _read_labelled(path, image_folder(data, "validation"))


def read_pairs(data: Path, split: Split) -> PairTable:
    """Read the pairs of a split: `data/validation/valid_data.csv` or `data/test/test_data.csv`."""
    path = data / split / PAIR_TABLES[split]
    rows = _pair_rows(path)
    folder = image_folder(data, split)
    _check_images(path, folder, [(line, name) for line, r in rows for name in r])
    return PairTable(folder, tuple(r[0] for _, r in rows), tuple(r[1] for _, r in rows))


def read_pair_names(path: Path) -> PairTable:
    """Read a table of pairs whose images are not needed: its folder is where the table lies."""
    rows = _pair_rows(path)
    return PairTable(path.parent, tuple(r[0] for _, r in rows), tuple(r[1] for _, r in rows))


def read_labels(data: Path, split: Split) -> tuple[PairTable, tuple[bool, ...]] | None:
    """Read `data/<split>/labels.csv` (imageA,imageB,label with 1 = same), or None where there is none."""
    path = data / split / "labels.csv"
    if not path.is_file():
        return None
    rows = _rows(path, LABEL_HEADER)
    said: dict[frozenset[str], tuple[str, int]] = {}
    for line, (a, b, label) in rows:
        if label not in ("0", "1"):
            raise NoseprintError(f"{path}, line {line}: label {label!r} is neither 0 nor 1")
        if a == b and label == "0":
            raise NoseprintError(f"{path}, line {line}: {a} is labelled as different from itself")
        other, first = said.setdefault(frozenset((a, b)), (label, line))
        if other != label:
            raise NoseprintError(f"{path}, line {line}: label {label} contradicts line {first}; keep one of the two")
    if {row[2] for _, row in rows} != {"0", "1"}:
        raise NoseprintError(f"{path}: a score needs pairs of both labels, 0 and 1")
    folder = image_folder(data, split)
    _check_images(path, folder, [(line, name) for line, r in rows for name in r[:2]])
    pairs = PairTable(folder, tuple(r[0] for _, r in rows), tuple(r[1] for _, r in rows))
    return pairs, tuple(r[2] == "1" for _, r in rows)


@dataclass(frozen=True)
class RetrievalTable:
    """Images with their identity and their role in a search: "query" or "gallery"."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    is_query: tuple[bool, ...]


def read_retrieval(data: Path) -> RetrievalTable | None:
    """Read `data/retrieval.csv` (folder,role,identity,image), or None where there is none."""
    path = data / "retrieval.csv"
    if not path.is_file():
        return None
    rows = _rows(path, RETRIEVAL_HEADER)
    if {row[1] for _, row in rows} != {"query", "gallery"} and {row[1] for _, row in rows} <= {"query", "gallery"}:
        raise NoseprintError(f"{path}: a search needs both query and gallery rows")
    paths: list[Path] = []
    first_line: dict[Path, int] = {}
    folders: dict[str, Path] = {}
    for line, (folder, role, _, image) in rows:
        if role not in ("query", "gallery"):
            raise NoseprintError(f"{path}, line {line}: role {role!r} is neither query nor gallery")
        if folder not in ("train", "validation", "test"):
            raise NoseprintError(f"{path}, line {line}: folder {folder!r} is none of train, validation, test")
        if folder not in folders:
            folders[folder] = image_folder(data, folder)
        paths.append(folders[folder] / image)
        if paths[-1] in first_line:
            raise NoseprintError(
                f"{path}, line {line}: {folder}/{image} stands on line {first_line[paths[-1]]} already; keep one"
            )
        first_line[paths[-1]] = line
    for folder, images in folders.items():
        _check_images(path, images, [(line, row[3]) for line, row in rows if row[0] == folder])
    return RetrievalTable(tuple(paths), tuple(r[2] for _, r in rows), tuple(r[1] == "query" for _, r in rows))


def image_folder(data: Path, split: str) -> Path:
    """The image folder of a split: `<split>/images/`, or `test/test/` as the published archive unpacks."""
    candidates = [data / split / "images"] + ([data / "test" / "test"] if split == "test" else [])
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise NoseprintError(
        f"no image folder {' or '.join(map(str, candidates))}: put the {split} photographs there, "
        "or name another data folder with --data DIR"
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV aside and rename it into place."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read_labelled(path: Path, folder: Path) -> ImageTable:
    rows = _rows(path, TRAIN_HEADER)
    if not rows:
        raise NoseprintError(f"{path}: no images below the header")
    first_line: dict[str, int] = {}
    for line, (_, image) in rows:
        if image in first_line:
            raise NoseprintError(
                f"{path}, line {line}: image {image!r} stands on line {first_line[image]} already; keep one of the two"
            )
        first_line[image] = line
    _check_images(path, folder, [(line, row[1]) for line, row in rows])
    return ImageTable(tuple(folder / row[1] for _, row in rows), tuple(row[0] for _, row in rows))


def _pair_rows(path: Path) -> list[tuple[int, list[str]]]:
    rows = _rows(path, PAIR_HEADER)
    if not rows:
        raise NoseprintError(f"{path}: no pairs below the header")
    return rows


def _rows(path: Path, header: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The rows below the header with their line numbers, fields stripped; blank lines are passed over."""
    if not path.is_file():
        raise NoseprintError(f"{path} is missing: put the table there, or name another data folder with --data DIR")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            found = next(reader, [])
            if tuple(field.strip() for field in found[: len(header)]) != tuple(header):
                raise NoseprintError(
                    f"{path}, line 1: the header is {','.join(found)!r}, expected {','.join(header)!r}"
                )
            rows = []
            for row in reader:
                if not any(field.strip() for field in row):
                    continue
                line = reader.line_num
                fields = [field.strip() for field in row]
                if len(fields) < len(header):
                    raise NoseprintError(
                        f"{path}, line {line}: {len(fields)} fields, expected {len(header)} ({','.join(header)})"
                    )
                for name, field in zip(header, fields, strict=False):
                    if not field:
                        raise NoseprintError(f"{path}, line {line}: {name!r} is empty")
                rows.append((line, fields[: len(header)]))
    except UnicodeDecodeError as error:
        raise NoseprintError(f"{path} is not UTF-8 ({error}): save the table as UTF-8") from None
    except csv.Error as error:
        raise NoseprintError(f"{path}, line {reader.line_num}: {error}") from None
    return rows


def _check_images(table: Path, folder: Path, names: Sequence[tuple[int, str]]) -> None:
    """Every name is a plain file name that lies in `folder`; one listing of the folder serves all rows."""
    present = {entry.name for entry in folder.iterdir()}
    missing = []
    for line, name in names:
        if PurePosixPath(name).name != name or "\\" in name or name in (".", ".."):
            raise NoseprintError(f"{table}, line {line}: {name!r} is not a plain file name inside {folder}")
        if name not in present:
            missing.append((line, name))
    if missing:
        line, name = missing[0]
        more = f" (and {len(missing) - 1} more images)" if len(missing) > 1 else ""
        raise NoseprintError(f"{table}, line {line}: {folder / name} is missing{more}: add the image or delete the row")
