"""A user's own photographs and whose they are: read from a folder for each individual, or from a table."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noseprint.data.names import SimilarFiles
from noseprint.errors import DataError, Fault, NoseprintError, breaks_line

IMAGE_COLUMNS = ("nose print image", "path", "file_path", "image_path", "filename", "file_name", "file", "image",
                 "photo", "photograph", "picture", "image_id")  # fmt: skip
IDENTITY_COLUMNS = ("identity", "individual", "individual_id", "dog id", "animal_id", "animal", "name", "class",
                    "label", "id")  # fmt: skip
ENCOUNTER_COLUMNS = ("encounter", "encounter_id", "date", "camera")
_IGNORED_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class SourcePhotograph:
    """One of the user's photographs, where it lies now."""

    path: Path
    identity: str
    encounter: str
    """One occasion on which this individual was photographed; "" where it is not known."""


@dataclass(frozen=True)
class ImportSource:
    """What a source names: photographs in a fixed order, what is wrong with the rest, whether it gives encounters."""

    photographs: Sequence[SourcePhotograph]
    faults: Sequence[Fault]
    has_encounters: bool
    description: str
    """How the source was read, for the user to check."""
    encounter_column: str = ""
    """Of a table with encounters."""


def read_source(
    source: Path,
    *,
    encounter_folders: bool = False,
    images: Path | None = None,
    image_column: str | None = None,
    identity_column: str | None = None,
    encounter_column: str | None = None,
) -> ImportSource:
    """Read a folder, or a table: a CSV with a header, in UTF-8; commas, semicolons, tabs or bars separate its fields.

    Of a folder every file is read, hidden ones excepted; the folder inside `source` names the individual.
    encounter_folders: the folders inside an individual's folder are its encounters. images: the folder that the table's
    paths start from; None: the table's own folder. image_column, identity_column, encounter_column: None guesses the
    column by its name, in any case. An empty encounter is not known.
    Raises NoseprintError where there are no files, or no folders; DataError where the table as a whole cannot be read,
    or a column does not exist.
    """
    if source.is_dir():
        return _read_folders(source, encounters=encounter_folders)
    if not source.is_file():
        raise NoseprintError(f"{source}: no such folder or table")
    return _read_table(source, images or source.parent, image_column, identity_column, encounter_column)


def _read_folders(source: Path, *, encounters: bool) -> ImportSource:
    photographs, faults = list[SourcePhotograph](), list[Fault]()
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if any(part.startswith(".") for part in parts) or path.name.lower() in _IGNORED_FILES:
            continue
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_dir():
            faults.append(Fault(path, None, "is a link to a folder, which is not followed: copy the folder here"))
        elif len(parts) == 1:
            faults.append(Fault(path, None, "is in no individual's folder: move it into one"))
        elif problem := _name_problem(path.relative_to(source).as_posix()):
            faults.append(Fault(path, None, problem))
        else:
            encounter = "/".join(parts[1:-1]) if encounters else ""
            photographs.append(SourcePhotograph(path, parts[0].strip(), encounter.strip()))
    if faults and not any(path.is_dir() for path in source.iterdir()):
        parent = source.parent if source.name else source.resolve().parent
        raise NoseprintError(f"{source} holds files, but no folder for each individual: did you mean {parent}?")
    if not (photographs or faults):
        raise NoseprintError(f"{source} holds no photographs: give a folder that has a folder for each individual")
    return ImportSource(photographs, faults, encounters, "each folder in it is an individual")


def _read_table(
    table: Path, images: Path, image_column: str | None, identity_column: str | None, encounter_column: str | None
) -> ImportSource:
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError([Fault(table, None, "is not a table in UTF-8: save it as CSV in UTF-8")]) from None
    header = text.partition("\n")[0]
    separator = max(",;\t|", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    photographs, faults = list[SourcePhotograph](), list[Fault]()
    try:
        names = [name.strip() for name in next(reader, [])]
        image_at = _find_column(table, names, image_column, IMAGE_COLUMNS, what="image")
        identity_at = _find_column(table, names, identity_column, IDENTITY_COLUMNS, what="identity")
        encounter_at = None
        if encounter_column is not None or set(map(str.casefold, names)) & set(ENCOUNTER_COLUMNS):
            encounter_at = _find_column(table, names, encounter_column, ENCOUNTER_COLUMNS, what="encounter")
        line, similar = reader.line_num + 1, SimilarFiles()
        for row in reader:
            fields = [field.strip() for field in row] + [""] * (len(names) - len(row))
            if any(fields):
                encounter = "" if encounter_at is None else fields[encounter_at]
                path = _find_photograph(images, fields[image_at])
                photograph = SourcePhotograph(path, fields[identity_at], encounter)
                if problem := _row_problem(photograph, fields, names, similar):
                    faults.append(Fault(table, line, problem))
                else:
                    photographs.append(photograph)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError([Fault(table, reader.line_num, f"{error}: check the quotes in this row")]) from None
    if not (photographs or faults):
        raise DataError([Fault(table, None, "there are no photographs below the header")])
    description = f"columns: image {names[image_at]!r}, identity {names[identity_at]!r}"
    description += "" if encounter_at is None else f", encounter {names[encounter_at]!r}"
    column = "" if encounter_at is None else names[encounter_at]
    return ImportSource(photographs, faults, encounter_at is not None, description, column)


def _find_column(table: Path, names: Sequence[str], given: str | None, guesses: Sequence[str], *, what: str) -> int:
    position = {name.casefold(): at for at, name in reversed(list(enumerate(names)))}
    for guess in guesses if given is None else (given,):
        if (at := position.get(guess.casefold())) is not None:
            return at
    problem = f"which column is the {what}?" if given is None else f"there is no column {given!r}."
    advice = f"Name one with --{what}-column; the columns are {', '.join(map(repr, names))}"
    raise DataError([Fault(table, 1, f"{problem} {advice}")])


def _find_photograph(images: Path, name: str) -> Path:
    """The photograph of a table, whose paths may have the backslashes of Windows."""
    path = images / name
    return images / name.replace("\\", "/") if "\\" in name and not path.exists() else path


def _row_problem(
    photograph: SourcePhotograph, fields: Sequence[str], names: Sequence[str], similar: SimilarFiles
) -> str | None:
    if len(fields) > len(names):
        return f"{len(fields)} fields, the header has {len(names)}: put quotes around a field that holds a separator"
    if problem := _name_problem("".join(fields)):
        return problem
    if not photograph.path.is_file():
        if (found := similar.find(photograph.path)) and found.is_file():
            return f"there is no photograph {photograph.path}, but {found}: write the path as the file has it"
        return f"there is no photograph {photograph.path}: fix the path, or name the folder of the paths with --images"
    return None


def _name_problem(text: str) -> str | None:
    return "the name holds a control character or is not UTF-8: rename it" if breaks_line(text) else None
