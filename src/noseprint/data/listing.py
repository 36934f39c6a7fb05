"""The photographs in a folder, recognised by their content."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from noseprint.data.decoding import INSTALL_HEIC, can_decode
from noseprint.data.image_headers import FORMATS, HEAD_BYTES, image_format
from noseprint.errors import NoseprintError, printable

_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
_SYSTEM_FOLDERS = {"@eadir", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "system volume information"}
_SYSTEM_FOLDERS |= {"lost+found"}
_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"}
_TABLES = {".csv", ".json", ".jsonl", ".md", ".txt"}  # of a data folder: nobody expects to see them embedded
_NAMED = 3  # of each kind of file that is left out


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system, a storage device or an archive adds to a user's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES | _SYSTEM_FOLDERS


def list_photographs(source: Path) -> tuple[Path, tuple[str, ...]]:
    """List one photograph, or all photographs in a folder and the folders inside it, except hidden ones (`is_hidden`).

    The first bytes of a file decide whether it is a photograph. A file that has the name of a photograph but other
    content (such as an empty .jpg) is listed, too, so that it is reported as broken. A linked folder is followed,
    unless it leads to a folder that is listed already or that holds `source`. Other files are left out; they are
    counted and named on standard error, except for tables and texts.

    Returns the folder and the names in it, sorted. Raises NoseprintError if there are no photographs.
    """
    if source.is_file():
        return source.parent, (source.name,)
    if not source.is_dir():
        raise NoseprintError(f"{source}: no such photograph or folder")
    names, left_out = list[str](), defaultdict[str, list[str]](list)
    for path in _walk(source):
        name, kind = path.relative_to(source).as_posix(), _why_left_out(path)
        if kind not in _TABLES:
            (left_out[kind] if kind else names).append(name)
    note = _left_out_note(left_out, photographs=len(names))
    if not names:
        raise NoseprintError(f"{source}: has no photographs ({FORMATS}){f'; {note}' if note else ''}")
    if note:
        print(f"{printable(source)}: {note}", file=sys.stderr, flush=True)
    return source, tuple(sorted(names))


def _walk(source: Path) -> Iterator[Path]:
    """The files, and the folders that cannot be listed. Linked folders come last, so that real ones give the names."""
    real = source.resolve()
    seen = set(real.parents)
    folders, links = [source], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            yield folder
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not entry.is_dir():
                yield entry
            elif entry.is_symlink():
                links.append(entry)
            else:
                folders.append(entry)


def _why_left_out(path: Path) -> str | None:
    """The kind of a file that noseprint does not read; None for a photograph."""
    suffix = path.suffix.lower()
    kind = None
    if path.is_file():  # opening a pipe would wait for ever
        try:
            with path.open("rb") as file:
                kind = image_format(file.read(HEAD_BYTES))
        except OSError:
            pass
    if kind and not can_decode(kind):
        return kind
    if suffix in _SUFFIXES or (kind and (kind != "TIFF" or not suffix)):  # raw files have the content of a TIFF
        return None
    return "folder that cannot be read" if path.is_dir() else suffix or "file without a suffix"


def _left_out_note(left_out: dict[str, list[str]], *, photographs: int) -> str:
    kinds = []
    for kind, names in sorted(left_out.items()):
        more = ", ..." if len(names) > _NAMED else ""
        kinds.append(f"{len(names)} {kind} ({', '.join(map(printable, sorted(names)[:_NAMED]))}{more})")
    if not kinds:
        return ""
    advice = f". To read HEIC or AVIF: {INSTALL_HEIC}" if left_out.keys() & {"HEIC", "AVIF"} else ""
    number = sum(map(len, left_out.values()))
    files = f"{number} of {number + photographs} files are left out, because noseprint does not read them"
    return f"{files}: {'; '.join(kinds)}{advice}"
