"""Lists of images on the web: id, URL and class, as JSON or CSV."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from noseprint.data.class_folders import ClassSplit, some
from noseprint.data.csv_rows import read_header, read_rows
from noseprint.data.listing import is_hidden
from noseprint.data.names import alike_groups, alike_text, positions
from noseprint.errors import DataError, Fault, NoseprintError, breaks_line, printable

_COLUMNS = ("id", "url", "class", "sha256")
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_NAME = 200  # bytes: disks allow 255


class Entry(NamedTuple):
    """An image of a list."""

    split: ClassSplit
    id: str
    url: str
    label: str
    """"" without a class."""
    sha256: str
    """In hex; "" if the list does not give it."""

    @property
    def folder(self) -> str:
        """Where the file goes, from the data folder on."""
        return f"{self.split}/{self.label}" if self.label else self.split


def read_lists(lists: Mapping[ClassSplit, Path]) -> list[Entry]:
    """Read the list of each split. An image takes about 1 KB of memory while the lists are fetched.

    Raises DataError with every fault: a list that cannot be read or is empty; an id that is missing, listed twice or
    not fit for a file name; a URL that is missing or not http, https or file; a class that is missing or not fit for a
    folder name; an invalid checksum; classes that differ by case, blanks or punctuation only, or that have no training
    image.
    """
    if not lists:
        raise NoseprintError("there is nothing to fetch: name a list with --train LIST, --val LIST or --test LIST")
    faults, entries = list[Fault](), list[Entry]()
    for split, path in lists.items():
        before = len(faults)
        own = list(_read_list(path, split, faults))
        if not own and len(faults) == before:
            faults.append(Fault(path, None, "lists no image: get the list again, or leave it out"))
        faults += _list_faults(path, own)
        entries += own
    labels = {split: {entry.label for entry in entries if entry.split == split} - {""} for split in lists}
    first = next(iter(lists.values()))
    if groups := alike_groups(set().union(*labels.values())):
        faults.append(Fault(first, None, f"classes differ by case, blanks or punctuation only: {alike_text(groups)}"))
    if not faults and "train" in lists and (strange := labels.get("val", set()) - labels["train"]):
        problem = f"{len(strange)} classes have no training image ({some(sorted(strange))}): add some, or remove these"
        faults.append(Fault(lists["val"], None, problem))
    if faults:
        raise DataError(faults)
    return entries


def _read_list(path: Path, split: ClassSplit, faults: list[Fault]) -> Iterator[Entry]:
    if not path.is_file():
        problem = "is not a plain file: name another list" if path.exists() else "there is no such list: check its path"
        faults.append(Fault(path, None, problem))
        return
    is_json, seen = path.suffix.lower() == ".json", dict[str, int]()
    rows = _json_rows(path, faults) if is_json else _csv_rows(path, faults)
    for number, (name, url, label, sha256) in rows:
        line, where = (None, f"image {number}: ") if is_json else (number, "")
        problems = list(_problems(name, url=url, label=label, sha256=sha256, split=split))
        faults += [Fault(path, line, f"{where}{problem}") for problem in problems]
        if not problems:
            if (first := seen.setdefault(name, number)) != number:
                before = f"{'image' if is_json else 'line'} {first}"
                problem = f"{where}id {printable(name)!r} is listed twice, first on {before}: each image needs its own"
                faults.append(Fault(path, line, problem))
            yield Entry(split, name, url, sys.intern(label), sha256)


def _csv_rows(path: Path, faults: list[Fault]) -> Iterator[tuple[int, Sequence[str]]]:
    """The line and the fields of each row."""
    names = read_header(path, faults=faults)
    if not names:
        return
    at = [next(iter(positions(name, names)), None) for name in _COLUMNS]
    if at[0] is None or at[1] is None:
        problem = (
            f"the columns are {', '.join(map(repr, names))}: a list needs id and url, and may have class and sha256"
        )
        faults.append(Fault(path, 1, problem))
        return
    for line, fields in read_rows(path, names, faults=faults, may_be_empty=names):
        yield line, [fields[column] if column is not None else "" for column in at]


def _json_rows(path: Path, faults: list[Fault]) -> Iterator[tuple[int, Sequence[str]]]:
    """The number, from 1, and the fields of each image."""

    def small(found: dict[str, Any]) -> Any:  # a tuple takes less memory than a dictionary
        return found if "images" in found else tuple(found.get(name, "") for name in _COLUMNS)

    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=small)
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        faults.append(Fault(path, None, f"cannot be read ({error}): give JSON in UTF-8, or CSV"))
        return
    except json.JSONDecodeError as error:
        faults.append(Fault(path, error.lineno, f"is not JSON ({error.msg}): get the list again"))
        return
    images = found.get("images") if isinstance(found, dict) else None
    if not isinstance(images, list):
        faults.append(Fault(path, None, 'has no list "images": it must be {"images": [{"id": 1, "url": "..."}, ...]}'))
        return
    for number, image in enumerate(images, start=1):
        if not isinstance(image, tuple) or any(isinstance(value, tuple | list | dict | bool) for value in image):
            faults.append(Fault(path, None, f'image {number} is not {{"id": ..., "url": ..., "class": ...}}'))
            continue
        yield number, ["" if value is None else str(value).strip() for value in image]


def _problems(name: str, *, url: str, label: str, sha256: str, split: ClassSplit) -> Iterator[str]:
    if problem := _name_problem(name):
        yield f"id {printable(name)!r} {problem}: it becomes the name of a file; give another"
    if label and (problem := _name_problem(label)):
        yield f"class {printable(label)!r} {problem}: it becomes the name of a folder; give another"
    elif not label and split != "test":
        yield f"id {printable(name)!r} has no class: add it, or remove the image"
    if problem := _url_problem(url):
        yield f"id {printable(name)!r} {problem}"
    if sha256 and not _SHA256.fullmatch(sha256):
        yield f"id {printable(name)!r} has the sha256 {printable(sha256)!r}, which is not 64 hexadecimal digits"


def _name_problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if "/" in name or "\\" in name or breaks_line(name):
        return "holds a slash, a backslash or a control character"
    if is_hidden(name):  # .. is hidden, too
        return "begins with a dot or is a name that the system uses"
    if len(name.encode(errors="surrogateescape")) > _MAX_NAME:
        return f"is longer than {_MAX_NAME} bytes"
    return None


def _url_problem(url: str) -> str | None:
    if not url:
        return "has no URL: add it, or remove the image"
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        return f"has the URL {printable(url)!r}, which cannot be read ({error})"
    if breaks_line(url) or parts.scheme not in ("http", "https", "file"):
        return f"has the URL {printable(url)!r}: it must begin with http://, https:// or file://"
    if parts.scheme != "file" and not has_host:
        return f"has the URL {printable(url)!r}, which names no host"
    return None


def _list_faults(path: Path, entries: Sequence[Entry]) -> Iterator[Fault]:
    without = [entry.id for entry in entries if not entry.label]
    if without and len(without) < len(entries):
        problem = f"{len(without)} of {len(entries)} images have no class ({some(without)}): give all of them, or none"
        yield Fault(path, None, problem)
