"""The names in an image folder, and what is wrong with a name that a table uses."""

import os
import unicodedata
from functools import cached_property
from pathlib import Path


class ImageListing:
    """What lies in `folder`, listed once. The folder may be a link itself; a photograph in it must not lead outside.

    missing_ok: nothing is wrong with a plain name under which nothing lies there.
    """

    def __init__(self, folder: Path, *, missing_ok: bool = False) -> None:
        self.folder, self._missing_ok = folder, missing_ok
        self._files: set[str] = set()
        self._others: dict[str, os.DirEntry[str]] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    self._files.add(entry.name)
                else:
                    self._others[entry.name] = entry

    def problem(self, name: str) -> str | None:
        """What is wrong with `name` in a table and how to mend it; None for a photograph that lies in the folder."""
        if name in self._files:
            return None
        if "/" in name or "\\" in name or name in (".", ".."):
            return f"{name!r} is not a plain file name: put the photograph into {self.folder} and write its name alone"
        if entry := self._others.get(name):
            if not entry.is_symlink():
                return f"{name!r} in {self.folder} is not a file: put the photograph there"
            target = os.path.realpath(entry.path)
            if os.path.commonpath([self._root, target]) != self._root:
                return f"{name!r} is a link that leaves {self.folder}: put the photograph itself there"
            if Path(target).is_file():
                return None
            if Path(target).exists():
                return f"{name!r} in {self.folder} is a link to what is not a file: put the photograph there"
        if self._missing_ok:
            return None
        other = self._by_likeness.get(_likeness(name), name)
        if other == name:
            return f"image {name!r} is missing from {self.folder}: add it or delete the row"
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
            difference = "the accents, written as one character or as two (Unicode NFC, NFD)"
        else:
            difference = "case or space"
        return (
            f"image {name!r} is missing from {self.folder}, which holds {other!r}: they differ in {difference}; "
            "give the file the name that the table has"
        )

    @cached_property
    def _root(self) -> str:
        return os.path.realpath(self.folder)

    @cached_property
    def _by_likeness(self) -> dict[str, str]:
        return {_likeness(name): name for name in self._files}


def _likeness(name: str) -> str:
    """What names have in common that some systems or eyes take for the same."""
    return unicodedata.normalize("NFC", name).casefold().strip()
