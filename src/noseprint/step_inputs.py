"""One hash over everything that a step of `train.sh` depends on: the step runs again only when the hash changes.

Standard library only: this runs before every step and must not wait for torch.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from noseprint.errors import NoseprintError
from noseprint.files import file_hash


def hash_inputs(*, text: Iterable[str] = (), paths: Iterable[Path] = ()) -> str:
    """SHA-256, in hex, of lines of text, files and folders. Their order counts.

    A file is hashed by its name and content. A folder is hashed by the names and sizes of the files below it, which are
    not read: a full training set is gigabytes, and a changed photograph almost always has another size. Links are
    followed. The location of files and folders does not count, so moved data is still the same data. Nor do
    modification times or hidden files, which file managers leave behind. Raises NoseprintError if something is missing
    or cannot be read.
    """
    digest = hashlib.sha256()

    def add(*fields: str) -> None:
        for field in fields:
            data = os.fsencode(field)
            digest.update(b"%d:" % len(data))  # the length keeps ("ab", "c") apart from ("a", "bc")
            digest.update(data)

    for line in text:
        add("text", line)
    for path in paths:
        try:
            if path.is_dir():
                add("folder")
                for name, size in _names_and_sizes(path):
                    add(name, str(size))
            else:
                add("file", path.name, file_hash(path))
        except OSError as error:
            raise NoseprintError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _names_and_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    def refuse(error: OSError) -> None:
        raise error

    seen = set[str]()  # a link may lead to a folder that holds it
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(parent, name)
                size = -1 if path.is_symlink() and not path.exists() else path.stat().st_size  # -1: a broken link
                yield path.relative_to(folder).as_posix(), size


def main() -> int:
    """Print the hash of what the command line names; exit status 1 and a message if something cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m noseprint.step_inputs", description=__doc__, allow_abbrev=False)
    parser.add_argument("--text", action="append", default=[], help="a line of text; --text=--small for an option")
    parser.add_argument("paths", nargs="*", type=Path, help="files and folders")
    options = parser.parse_args()
    try:
        sys.stdout.write(hash_inputs(text=options.text, paths=options.paths) + "\n")
    except NoseprintError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
