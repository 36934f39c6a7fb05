"""The rows of a CSV file, one at a time, each with the line it begins on; what is wrong becomes faults."""

import codecs
import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from noseprint.errors import Fault

_LONGEST_LINE = 2**17  # characters, as csv has it for a field: a file without line ends is not read into memory whole
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_rows(
    path: Path,
    *headers: Sequence[str],
    faults: list[Fault],
    optional: Sequence[str] = (),
    may_be_empty: Sequence[str] = (),
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) of each row below the header; the faults found on the way are appended to `faults`.

    headers: what the file may begin with, the longest first; a row has the fields of the first that fits, and after
    them that of the first column of `optional` (in any case) which stands anywhere behind, and may be empty, as may
    those columns of a header that are named in `may_be_empty`. Further columns are passed over, as are blank lines and
    the space around a field. A row with a fault is not yielded, and a file whose header is wrong has no rows. UTF-8
    with or without a byte order mark; LF, CRLF or CR. Memory is that of one row.
    """
    if not path.is_file():
        what = "not a file" if path.exists() else "missing"
        faults.append(Fault(path, None, f"the table is {what}: put it there, or name another folder with --data DIR"))
        return
    with path.open("rb") as binary:
        if binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            faults.append(Fault(path, None, "the table is UTF-16: save it as UTF-8"))
            return
    # Bytes that are no UTF-8 come as surrogates, so that each can be reported on its own line.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(_lines(file), strict=True)
        header: Sequence[str] | None = None
        found: list[str] = []
        taken: list[int] = []  # the columns that are read
        needed: set[int] = set()
        while True:
            line = reader.line_num + 1
            try:
                fields = [field.strip() for field in next(reader)]
            except StopIteration:
                break
            except csv.Error as error:
                faults.append(Fault(path, line, f"{error}: look at the quotes in this row"))
                if header is None:
                    return
                continue
            if header is None:
                found = fields
                header = next((h for h in headers if tuple(found[: len(h)]) == tuple(h)), None)
                if header is None:
                    break
                taken = [*range(len(header)), *further_column(found, header, optional)]
                needed = {at for at, name in enumerate(header) if name not in may_be_empty}
            elif any(fields):
                problems = list(_problems(fields, {at: found[at] for at in taken}, needed=needed, columns=len(found)))
                faults.extend(Fault(path, line, problem) for problem in problems)
                if not problems:
                    yield line, [fields[at] for at in taken]
    if header is None:
        faults.append(Fault(path, 1, _header_problem(",".join(found), headers)))


def further_column(found: Sequence[str], header: Sequence[str], optional: Sequence[str]) -> list[int]:
    """Where the first column of `optional` stands behind `header` in `found`, the first row of a table; one or none."""
    at = {name.casefold(): column for column, name in reversed(list(enumerate(found))) if column >= len(header)}
    return [at[name] for name in optional if name in at][:1]


def _problems(
    fields: Sequence[str], taken: Mapping[int, str], *, needed: Collection[int], columns: int
) -> Iterator[str]:
    if len(fields) <= max(taken):
        yield f"{len(fields)} fields, expected {columns} ({','.join(taken.values())})"
    elif any(fields[columns:]):
        yield f"{len(fields)} fields, the header has {columns}: put quotes around a field that holds a comma"
    else:
        for column, name in taken.items():
            field = fields[column]
            if not field and column in needed:
                yield f"{name} is empty"
            elif "\0" in field:
                yield f"{name} {field!r} holds a NUL: the table is damaged or UTF-16, save it as UTF-8"
            elif "\r" in field:  # Python's csv would write it unquoted, as the end of a row
                yield f"{name} {field!r} holds a carriage return: give it another name"
            elif not _is_unicode(field):
                text = field.encode("utf-8", "surrogateescape").decode("latin-1")
                yield f"{name} {text!r} (read as Latin-1) is not UTF-8: save the table as UTF-8"


def _header_problem(found: str, headers: Sequence[Sequence[str]]) -> str:
    wanted = ",".join(headers[-1])
    for separator, word in _OTHER_SEPARATORS.items():
        if found.replace(separator, ",").startswith(tuple(map(",".join, headers))):
            return f"the fields are parted by {word}: save the table with commas"
    hint = ": the table is UTF-16, save it as UTF-8" if "\0" in found else ""
    return f"the header is {found[:200]!r}, expected {wanted!r}{hint}"


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line of {_LONGEST_LINE} characters or more, nothing after it was read")
        yield line


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
