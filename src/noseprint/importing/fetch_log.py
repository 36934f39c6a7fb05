"""fetched.csv and missing.csv: what has been fetched into a data folder, and what has not, with the reason.

fetched.csv grows by one line for each image while images are fetched. A line is written before its file is renamed into
place. So a line without its file is ignored, and even after a kill every file has its line.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from noseprint.data.csv_rows import read_rows, write_csv
from noseprint.errors import DataError, Fault
from noseprint.files import friendly_write_errors
from noseprint.importing.fetch_list import Entry

FETCHED_HEADER = ("id", "split", "file", "bytes", "sha256", "url")
MISSING_HEADER = ("id", "split", "url", "reason")
Key = tuple[str, str]
"""Split and id."""


class Record(NamedTuple):
    """A fetched image."""

    id: str
    split: str
    file: str
    """From the data folder on, with "/"."""
    size: int
    sha256: str
    url: str


class Missing(NamedTuple):
    """An image that has not been fetched."""

    id: str
    split: str
    url: str


class FetchLog:
    """The record of a data folder, open to be added to."""

    def __init__(self, data: Path) -> None:
        self.path = data / "fetched.csv"
        self.records = dict[Key, Record]()
        with friendly_write_errors(self.path):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._read()

    def _read(self) -> None:
        """Read the lines, and remove the last if a kill has cut it off."""
        with friendly_write_errors(self.path):
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            os.ftruncate(self._file, whole)
            if not whole:
                os.write(self._file, _line(FETCHED_HEADER))
                return
        faults = list[Fault]()
        for line, fields in read_rows(self.path, FETCHED_HEADER, faults=faults):
            name, split, file, size, sha256, url = fields
            if not size.isdigit():
                faults.append(Fault(self.path, line, f"bytes is {size!r}, not a number"))
                continue
            self.records[split, name] = Record(name, split, file, int(size), sha256, url)
        if faults:
            advice = f"{faults[0].problem}. Repair the line or delete it; its image is then fetched again"
            raise DataError([Fault(faults[0].file, faults[0].line, advice), *faults[1:]])

    def holds(self, entry: Entry, data: Path) -> bool:
        """Whether the image of a list is there: from the same URL, in the same place, with the right checksum."""
        record = self.records.get((entry.split, entry.id))
        if record is None or record.url != entry.url or entry.sha256 not in ("", record.sha256):
            return False
        if record.file.rpartition("/")[0] != entry.folder:
            return False
        try:
            return (data / record.file).stat().st_size == record.size
        except OSError:
            return False

    def add(self, record: Record) -> Record | None:
        """Write a line; return what was recorded for this image before."""
        with friendly_write_errors(self.path):
            os.write(self._file, _line(record))
        before = self.records.get((record.split, record.id))
        self.records[record.split, record.id] = record
        return before

    def close(self) -> None:
        """Write the lines anew in the order of their ids: the same images give the same bytes."""
        os.close(self._file)
        write_csv(self.path, FETCHED_HEADER, (self.records[key] for key in sorted(self.records)))


def read_missing(data: Path) -> dict[Missing, str]:
    """What an earlier run has not fetched, and the reason."""
    path = data / "missing.csv"
    if not path.is_file():
        return {}
    faults = list[Fault]()
    rows = {Missing(*row[:3]): row[3] for _, row in read_rows(path, MISSING_HEADER, faults=faults)}
    if faults:
        raise DataError([Fault(path, faults[0].line, f"{faults[0].problem}. Delete this file; it is made again")])
    return rows


def write_missing(
    data: Path, entries: Iterable[Entry], reasons: Mapping[Key, str], *, others: Mapping[Missing, str]
) -> None:
    """Write missing.csv: the entries that have a reason, in the order of the lists, after `others` of other lists."""
    rows = [(*missing, reason) for missing, reason in sorted(others.items())]
    rows += [(e.id, e.split, e.url, reasons[key]) for e in entries if (key := (e.split, e.id)) in reasons]
    write_csv(data / "missing.csv", MISSING_HEADER, rows)


def _line(fields: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue().encode()
