"""A user's table of photographs: CSV, an Excel file or COCO; and what its columns mean, guessed by their names."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from noseprint.data.csv_rows import is_spreadsheet
from noseprint.data.names import column_words, is_missing, positions
from noseprint.errors import DataError, Fault
from noseprint.importing.box_files import looks_like_json, read_coco_table
from noseprint.importing.boxes import StatedBox
from noseprint.importing.splits import MIN_IDENTITIES

# Patterns of column names as `column_words` writes them. The first that a column has is taken.
IMAGE_COLUMNS = (
    *("nose print image", "path", "file path", "image path", "filename", "file name", "file", "image", "photo"),
    *("photograph", "picture", "image id", "filepath", "(img|photo|picture|media|relative|full) ?path"),
    *("(image|img|photo|picture|media) ?(file|name|filename|file name)", "(img|photo|picture|media)( id)?"),
)
_ATTRIBUTES = (
    "image|img|photo|photograph|picture|file|path|media|camera|cam|trap|location|loc|site|station|deployment|sequence|"
    "seq|burst|event|encounter|session|visit|survey|project|category|class|species|taxon|breed|sex|annotation|box|"
    "detection|record|row|object|batch|observation|observer|photographer|user|author|owner|country|county|license|"
    "dataset|folder|first|last|family|common|scientific|genus|track|frame|video|date|split|id"
)
IDENTITY_COLUMNS = (
    *("identity", "individual", "individual id", "dog id", "animal id", "individual name", "animal name"),
    r"((marked|unique|known|animal|dog|local|true|encounter|id|name) )*(individual|identity)( (local|id|name|label))*",
    *("(dog|pet|cat|horse|cow) name", "ear ?(tag|mark|notch)( (id|name))?", "(ring|band|collar|chip|microchip) id"),
    *(
        "animal",
        "name",
        "(dog|pet|cat|horse|cow|whale|turtle|subject|specimen|organism)",
        "nick ?name",
        "tag( (id|name))?",
    ),
    rf"(?!({_ATTRIBUTES}) )\w+ (id|name)",
    *("class", "label", "id"),
)
ENCOUNTER_COLUMNS = ("encounter", "encounter id", "date", "camera")


@dataclass(frozen=True)
class SourceRow:
    """A row of a table, without the space around its fields."""

    line: int | None
    fields: Sequence[str]
    stated: StatedBox | None = None
    """The box of a COCO annotation."""


@dataclass(frozen=True)
class SourceTable:
    """A table's column names and its rows, without blank rows. `note`: what the user should know, or ""."""

    path: Path
    names: Sequence[str]
    rows: Sequence[SourceRow]
    note: str = ""
    header_line: int | None = 1


def read_source_table(path: Path) -> SourceTable:
    """Read a CSV in UTF-8 (with commas, semicolons, tabs or bars, or a first line sep=;), an Excel file, or COCO.

    Raises DataError if the file as a whole cannot be read, or is none of these.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if is_spreadsheet(path):
        return _read_excel(path)
    if looks_like_json(start):
        coco = read_coco_table(path)
        note = "COCO" + f", {coco.without_annotation} photographs without annotation" * bool(coco.without_annotation)
        rows = [SourceRow(None, fields, box) for fields, box in zip(coco.rows, coco.boxes, strict=True)]
        return SourceTable(path, coco.names, rows, note, header_line=None)
    return _read_csv(path)


def find_column(table: SourceTable, given: str | None, guesses: Sequence[str], *, what: str) -> int:
    """The position of the column `given`, or else of the first that fits one of the patterns `guesses`.

    Raises DataError, which names the columns, if there is none.
    """
    if given is None:
        named = [column_words(name) for name in table.names]
        for guess in guesses:
            for at, words in enumerate(named):
                if re.fullmatch(guess, words):
                    _require_one_meaning(table, positions(table.names[at], table.names))
                    return at
    else:
        found = positions(given, table.names)
        _require_one_meaning(table, found)
        if found:
            return found[0]
    problem = f"which column is the {what}?" if given is None else f"there is no column {given!r}."
    advice = f"Name one with --{what}-column; the columns are {', '.join(map(repr, table.names))}"
    raise DataError([Fault(table.path, table.header_line, f"{problem} {advice}")])


def _require_one_meaning(table: SourceTable, equal: Sequence[int]) -> None:
    """Raise DataError if the columns `equal`, of one name, hold different things."""
    for row in table.rows:
        values = [_field(row, at) for at in equal]
        if len(set(values)) > 1:
            problem = (
                f"{len(equal)} columns are named {table.names[equal[0]]!r}, and they differ ("
                f"{', '.join(map(repr, values))}): rename or delete the others"
            )
            raise DataError([Fault(table.path, row.line, problem)])


def has_column(table: SourceTable, guesses: Sequence[str]) -> bool:
    """Whether a column fits one of the patterns."""
    return any(re.fullmatch(guess, column_words(name)) for guess in guesses for name in table.names)


def examine_identities(table: SourceTable, at: int, image_at: int) -> None:
    """Raise DataError if a guessed column is unlikely to hold the identities.

    It is unlikely if it has one value only, a different value in each row, or too few values that repeat while another
    column has enough.
    """
    fields = ([_field(row, n) for row in table.rows] for n in range(len(table.names)))
    counts = [Counter(field for field in column if not is_missing(field)) for column in fields]
    repeated = [sum(number > 1 for number in count.values()) for count in counts]
    needed = sum(MIN_IDENTITIES.values())
    others = [n for n, number in enumerate(repeated) if number > 1 and n not in (at, image_at)]
    rows = counts[at].total()
    if len(table.rows) > 1 and not rows:
        seen = "no value that names an individual"
    elif rows > 1 and len(counts[at]) == 1:
        seen = f"one value only, {next(iter(counts[at]))!r}"
    elif rows > 1 and len(counts[at]) == rows:
        seen = f"a different value in each of the {rows} rows"
    elif repeated[at] < needed and any(repeated[n] >= needed for n in others):
        seen = f"{repeated[at]} values that repeat, and {needed} are needed"
    else:
        return
    others.sort(key=lambda n: -repeated[n])
    _refuse_guess(table, at, seen, [(n, f"{repeated[n]} values repeat") for n in others], what="identity")


def examine_images(table: SourceTable, at: int, is_file: Callable[[str], bool]) -> None:
    """Raise DataError if a guessed column names no file at all, and another column does."""
    sample = table.rows[:: max(1, len(table.rows) // 20)]
    counts = [sum(is_file(_field(row, n)) for row in sample) for n in range(len(table.names))]
    if counts[at] == 0 and any(counts):
        files = [(n, f"{count} of {len(sample)} are files") for n, count in enumerate(counts) if count]
        seen = f"no names of files, but values such as {table.rows[0].fields[at]!r}"
        _refuse_guess(table, at, seen, files, what="image")


def _refuse_guess(table: SourceTable, at: int, seen: str, others: Sequence[tuple[int, str]], *, what: str) -> None:
    name, option = table.names[at], f"--{what}-column"
    could_be = ", ".join(f"{table.names[n]!r} ({why})" for n, why in others) or "none has values that repeat"
    problem = f"the column {name!r} was taken for the {what} because of its name, but it has {seen}"
    advice = f"name the right one with {option} (or this one, if it is right). Others: {could_be}"
    raise DataError([Fault(table.path, table.header_line, f"{problem}: {advice}")])


def _field(row: SourceRow, at: int) -> str:
    return row.fields[at] if at < len(row.fields) else ""


def _read_csv(path: Path) -> SourceTable:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError([Fault(path, None, "is not a table in UTF-8: save it as CSV in UTF-8")]) from None
    if "\0" in text:
        raise DataError([Fault(path, None, "is not a table in UTF-8: save it as CSV in UTF-8")])
    skipped = 0
    if stated := re.match(r'"?sep=([,;\t|])[,;\t|"]*\s*?(\r\n|\n|\r|$)', text, re.IGNORECASE):
        text, skipped = text[stated.end() :], 1
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    separator = stated[1] if stated else max(",;\t|", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = list[SourceRow]()
    try:
        names = [name.strip() for name in next(reader, [])]
        line = reader.line_num + 1
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                rows.append(SourceRow(line + skipped, fields + [""] * (len(names) - len(fields))))
            line = reader.line_num + 1
    except csv.Error as error:
        fault = Fault(path, reader.line_num + skipped, f"{error}: check the quotes in this row")
        raise DataError([fault]) from None
    if rows and all(len(row.fields) == len(names) + 1 and row.fields[0].isdecimal() for row in rows):
        names.insert(0, "")  # R's write.table leaves the name of its first column out: numbers of rows
    return SourceTable(path, names, rows, header_line=1 + skipped)


def _read_excel(path: Path) -> SourceTable:
    try:
        sheets = pd.read_excel(path, sheet_name=None, header=None, dtype=str, na_filter=False)
    except ImportError:
        advice = "save it as CSV in UTF-8 (File, Save As), or `pip install 'noseprint[excel]'` to read .xlsx"
        raise DataError([Fault(path, None, f"is an Excel or OpenDocument file: {advice}")]) from None
    except Exception as error:
        problem = f"cannot be read as a table ({error}): save it as CSV in UTF-8"
        raise DataError([Fault(path, None, problem)]) from None
    name, sheet = next(iter(sheets.items()))
    lines = [[str(field).strip() for field in row] for row in sheet.itertuples(index=False)]
    rows = [SourceRow(line, fields) for line, fields in enumerate(lines[1:], start=2) if any(fields)]
    others = f", the first of {len(sheets)}" * (len(sheets) > 1)
    return SourceTable(path, lines[0] if lines else [], rows, f"sheet {name!r}{others}")
