"""A user's own photographs and whose they are, from a folder for each individual or from any table."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from noseprint.errors import DataError, Fault, NoseprintError

IMAGE_COLUMNS = ("nose print image", "path", "file_path", "image_path", "filename", "file_name", "file", "image",
                 "photo", "photograph", "picture", "image_id")  # fmt: skip
IDENTITY_COLUMNS = ("identity", "individual", "individual_id", "dog id", "animal_id", "animal", "name", "class",
                    "label", "id")  # fmt: skip
ENCOUNTER_COLUMNS = ("encounter", "encounter_id", "date", "camera")
_LITTER = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Original:
    """A photograph that the user has."""

    path: Path
    identity: str
    encounter: str
    """One occasion on which this individual was photographed; "" where it is not known."""


@dataclass(frozen=True)
class Found:
    """What a source names: photographs in a fixed order, what is wrong with the rest, whether encounters are told."""

    originals: Sequence[Original]
    faults: Sequence[Fault]
    has_encounters: bool
    told: str
    """How the source was read, for the user to confirm."""


def in_folders(source: Path, *, encounters: bool) -> Found:
    """Every file below `source`; the folder inside `source` is the individual, hidden files are passed over.

    encounters: the folders inside an individual's folder are its encounters. Raises NoseprintError where there is no
    file, or files and no folder.
    """
    originals, faults = list[Original](), list[Fault]()
    for path in sorted(_files(source)):
        parts = path.relative_to(source).parts
        if path.is_dir():
            faults.append(Fault(path, None, "is a link to a folder, and links are not followed: copy the folder here"))
        elif len(parts) == 1:
            faults.append(Fault(path, None, "lies in no individual's folder: move it into one"))
        elif problem := _unwritable(path.relative_to(source).as_posix()):
            faults.append(Fault(path, None, problem))
        else:
            encounter = "/".join(parts[1:-1]) if encounters else ""
            originals.append(Original(path, parts[0].strip(), encounter.strip()))
    if faults and not any(path.is_dir() for path in source.iterdir()):
        above = source.parent if source.name else source.resolve().parent
        raise NoseprintError(f"{source} holds files, but no folder for each individual: did you mean {above}?")
    if not (originals or faults):
        raise NoseprintError(f"{source} holds no photographs: give a folder with a folder of photographs an individual")
    return Found(originals, faults, encounters, "individuals are the folders in it")


def in_table(
    table: Path, *, images: Path, image_column: str | None, identity_column: str | None, encounter_column: str | None
) -> Found:
    """The rows of a CSV (commas, semicolons, tabs or bars, UTF-8, with a header); its paths are relative to `images`.

    Columns that are None are guessed by their names, in any case. An empty encounter is one that is not known.
    Raises DataError where the table as a whole cannot be read, or a column is not there.
    """
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError([Fault(table, None, "is not a table in UTF-8: save it as CSV in UTF-8")]) from None
    header = text.partition("\n")[0]
    separator = max(",;\t|", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    originals, faults = list[Original](), list[Fault]()
    try:
        names = [name.strip() for name in next(reader, [])]
        at_image = _column(table, names, image_column, IMAGE_COLUMNS, what="image")
        at_identity = _column(table, names, identity_column, IDENTITY_COLUMNS, what="identity")
        at_encounter = None
        if encounter_column is not None or set(map(str.casefold, names)) & set(ENCOUNTER_COLUMNS):
            at_encounter = _column(table, names, encounter_column, ENCOUNTER_COLUMNS, what="encounter")
        line = reader.line_num + 1
        for row in reader:
            fields = [field.strip() for field in row] + [""] * (len(names) - len(row))
            if any(fields):
                path = images / fields[at_image]
                found = Original(path, fields[at_identity], "" if at_encounter is None else fields[at_encounter])
                problem = _problem_of_row(found, fields, names)
                faults += [Fault(table, line, problem)] if problem else []
                originals += [] if problem else [found]
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError([Fault(table, reader.line_num, f"{error}: look at the quotes in this row")]) from None
    if not (originals or faults):
        raise DataError([Fault(table, None, "no photographs below the header")])
    told = f"columns: image {names[at_image]!r}, identity {names[at_identity]!r}"
    told += "" if at_encounter is None else f", encounter {names[at_encounter]!r}"
    return Found(originals, faults, at_encounter is not None, told)


def _files(source: Path) -> Iterator[Path]:
    for path in source.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        if not hidden and path.name.lower() not in _LITTER and (path.is_symlink() or not path.is_dir()):
            yield path


def _column(table: Path, names: Sequence[str], asked: str | None, guesses: Sequence[str], *, what: str) -> int:
    by_name = {name.casefold(): at for at, name in reversed(list(enumerate(names)))}
    for guess in guesses if asked is None else (asked,):
        if (at := by_name.get(guess.casefold())) is not None:
            return at
    problem = f"which column is the {what}?" if asked is None else f"there is no column {asked!r}:"
    raise DataError([Fault(table, 1, f"{problem} say it with --{what}-column, of {', '.join(map(repr, names))}")])


def _problem_of_row(row: Original, fields: Sequence[str], names: Sequence[str]) -> str | None:
    if len(fields) > len(names):
        return f"{len(fields)} fields, the header has {len(names)}: put quotes around a field that holds a separator"
    if not row.identity:
        return "the identity is empty: write whose photograph this is, or delete the row"
    if problem := _unwritable("".join(fields)):
        return problem
    if not row.path.is_file():
        return f"there is no photograph {row.path}: mend the path, or say where the paths begin with --images DIR"
    return None


def _unwritable(text: str) -> str | None:
    if all(unicodedata.category(character) not in ("Cc", "Cs") for character in text):
        return None
    return "its name holds a control character or is not UTF-8: rename it"
