"""One hash over all that a step of `train.sh` depends on, so that it runs again when something changed, and only then.

Standard library only: it runs before every step and must not wait for torch.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from noseprint.errors import NoseprintError

_BLOCK = 1 << 20


def fingerprint(*, text: Iterable[str] = (), files: Iterable[Path] = (), images: Iterable[Path] = ()) -> str:
    """SHA-256, in hex, of `text`, the files' names and bytes, and the names and sizes of what lies under `images`.

    Photographs are not read: a full training set is gigabytes, and one that changed has almost surely another size. The
    folders that things lie in do not count, so data that moved is still the same data; nor do modification times or
    hidden files (which file managers leave behind). Order counts. Raises NoseprintError where something is missing or
    cannot be read.
    """
    digest = hashlib.sha256()

    def add(*fields: str) -> None:
        for field in fields:
            data = os.fsencode(field)
            digest.update(b"%d:" % len(data))  # the length keeps ("ab", "c") apart from ("a", "bc")
            digest.update(data)

    for line in text:
        add("text", line)
    for file in files:
        add("file", file.name, _file_hash(file))
    for folder in images:
        add("images")
        for name, size in _names_and_sizes(folder):
            add(name, str(size))
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise NoseprintError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _names_and_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    def refuse(error: OSError) -> None:
        raise NoseprintError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(parent, name)
                try:
                    size = path.stat().st_size
                except OSError as error:
                    raise NoseprintError(f"{path}: cannot be read ({error.strerror})") from error
                yield path.relative_to(folder).as_posix(), size


def main() -> int:
    """Print the fingerprint of what the command line names; 1 and a message where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m noseprint.step_inputs", description=__doc__, allow_abbrev=False)
    parser.add_argument("--text", action="append", default=[], help="a line of text; --text=--small for an option")
    parser.add_argument("--file", action="append", default=[], type=Path, help="a file that counts with its bytes")
    parser.add_argument(
        "--images", action="extend", nargs="+", default=[], type=Path, help="folders that count with names and sizes"
    )
    options = parser.parse_args()
    try:
        sys.stdout.write(fingerprint(text=options.text, files=options.file, images=options.images) + "\n")
    except NoseprintError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
