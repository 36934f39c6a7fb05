"""Reads and writes the rows of any CSV table; what is wrong with a row is reported with its line."""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from noseprint.errors import Fault
from noseprint.files import atomic_write

_MAX_LINE = 2**17  # characters, csv's own limit for a field: a file without line ends must not fill the memory
_SURROGATES = re.compile("[\ud800-\udfff]")
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def is_spreadsheet(path: Path) -> bool:
    """Whether a file begins as those of Excel (.xlsx, .xls) and OpenDocument (.ods) do, whatever its name is."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"\xd0\xcf\x11\xe0")


def read_rows(
    path: Path,
    *headers: Sequence[str],
    faults: list[Fault],
    optional: Sequence[str] = (),
    may_be_empty: Sequence[str] = (),
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) for each row below the header, and append what is wrong to `faults`.

    A row with a fault is not yielded; a file with a wrong header yields nothing. Further columns, blank lines and the
    space around a field are ignored. The file is UTF-8 with or without a byte order mark; lines end in LF, CRLF or CR.
    Memory holds one row.

    headers: what the file may begin with, the longest first. A row has the fields of the first header that fits.
    optional: column names in lower case; the first of them that follows the header (in any case) adds a field, which
    may be empty. may_be_empty: columns of the header whose fields may be empty.
    """
    if problem := _file_problem(path):
        faults.append(Fault(path, None, problem))
        return
    # Bytes that are not UTF-8 become surrogates, so that each can be reported with its own line.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = _parse_csv(file, path, faults)
        faults_before = len(faults)
        _, found = next(rows, (1, []))
        if len(faults) > faults_before:  # the first row cannot be parsed
            return
        header = next((header for header in headers if tuple(found[: len(header)]) == tuple(header)), None)
        if header is None:
            faults.append(Fault(path, 1, _header_problem(",".join(found), headers)))
            return
        columns = {at: found[at] for at in [*range(len(header)), *_optional_column(found, header, optional)]}
        required = {at for at, name in enumerate(header) if name not in may_be_empty}
        for line, fields in rows:
            if not any(fields):
                continue
            problems = list(_row_problems(fields, columns, required=required, width=len(found)))
            faults.extend(Fault(path, line, problem) for problem in problems)
            if not problems:
                yield line, [fields[at] for at in columns]


def read_header(path: Path, *, faults: list[Fault]) -> tuple[str, ...]:
    """The names of a table's columns, whatever they are: a header for `read_rows`.

    () if the table cannot be read; `faults` then says why.
    """
    if problem := _file_problem(path):
        faults.append(Fault(path, None, problem))
        return ()
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        faults_before = len(faults)
        _, found = next(_parse_csv(file, path, faults), (1, []))
    if len(faults) > faults_before:
        return ()
    text = ",".join(found)
    problem = _encoding_problem(text) or (_separator_problem(text) if len(found) == 1 else None)
    if not text:
        problem = "the first line is empty: write the names of the columns there"
    if problem:
        faults.append(Fault(path, 1, problem))
        return ()
    return tuple(found)


def find_optional_column(path: Path, header: Sequence[str], optional: Sequence[str]) -> str:
    """The name of the column that `read_rows` adds for `optional` to a table that begins with `header`; "" if none."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = [name.strip() for name in next(csv.reader(file))]
    return " ".join(found[at] for at in _optional_column(found, header, optional))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV aside and rename it into place. Bytes of a file name that are not UTF-8 are escaped."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _parse_csv(file: TextIO, path: Path, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) for each row of a CSV; a row that cannot be parsed becomes a fault."""
    reader = csv.reader(_limited_lines(file), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = [field.strip() for field in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            faults.append(Fault(path, line, f"{error}: check the quotes in this row"))
            continue
        yield line, fields


def _limited_lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise csv.Error(f"a line has {_MAX_LINE} characters or more; nothing after it was read")
        yield line


def _optional_column(found: Sequence[str], header: Sequence[str], optional: Sequence[str]) -> list[int]:
    """The position in the first row `found` of the first `optional` column after `header`, as a list; [] if none."""
    at = {name.casefold(): column for column, name in reversed(list(enumerate(found))) if column >= len(header)}
    return [at[name] for name in optional if name in at][:1]


def _row_problems(
    fields: Sequence[str], columns: Mapping[int, str], *, required: Collection[int], width: int
) -> Iterator[str]:
    """What is wrong with a row. columns: position -> name of those that are read; width: fields of the first row."""
    if len(fields) <= max(columns):
        yield f"{len(fields)} fields, expected {width} ({','.join(columns.values())})"
    elif any(fields[width:]):
        yield f"{len(fields)} fields, the header has {width}: put quotes around a field that holds a comma"
    else:
        for column, name in columns.items():
            field = fields[column]
            if not field and column in required:
                yield f"{name} is empty"
            elif "\0" in field:
                yield f"{name} {field!r} holds a NUL: the table is damaged or UTF-16, save it as UTF-8"
            elif "\r" in field:  # Python's csv would write it unquoted, as the end of a row
                yield f"{name} {field!r} holds a carriage return: give it another name"
            elif not field.isascii() and _SURROGATES.search(field):
                text = field.encode("utf-8", "surrogateescape").decode("latin-1")
                yield f"{name} {text!r} (read as Latin-1) is not UTF-8: save the table as UTF-8"


def _file_problem(path: Path) -> str | None:
    if not path.is_file():
        state = "not a file" if path.exists() else "missing"
        return f"the table is {state}: put it there, or name another folder with --data DIR"
    if is_spreadsheet(path):
        return "is an Excel or OpenDocument file: save it as CSV in UTF-8 (File, Save As)"
    return None


def _header_problem(found: str, headers: Sequence[Sequence[str]]) -> str:
    starts = tuple(map(",".join, headers))
    return (
        _encoding_problem(found)
        or _separator_problem(found, starts)
        or f"the header is {found[:200]!r}, expected {','.join(headers[-1])!r}"
    )


def _encoding_problem(found: str) -> str | None:
    if "\0" in found:
        return "the table is UTF-16: save it as UTF-8"
    if found.casefold().startswith("sep="):
        return f"the first line is {found[:20]!r}, which is for Excel: delete it, and separate the fields with commas"
    return None


def _separator_problem(found: str, starts: tuple[str, ...] = ("",)) -> str | None:
    """The message if the first line `found` has another separator than commas, and with commas one of the `starts`."""
    for separator, name in _OTHER_SEPARATORS.items():
        if separator in found and found.replace(separator, ",").startswith(starts):
            return f"the fields are separated by {name}: save the table with commas"
    return None
