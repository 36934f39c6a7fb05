"""A small table of images, and decisions about them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from noseprint.cleaning.decisions import Decision
from noseprint.files import file_hash


@dataclass(frozen=True)
class Images:
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    names: tuple[str, ...]

    def line(self, row, decision="drop", **fields):
        """A decision about a row; a rule's, unless `who` is given."""
        given = {"rule": "top-5", "round": 1} | fields
        sha256 = file_hash(self.paths[row])
        return Decision(image=self.names[row], sha256=sha256, label=self.labels[row], decision=decision, **given)


@pytest.fixture
def images(tmp_path) -> Images:
    """Six files; two of each of the classes cat, dog and été."""
    labels = ("cat", "cat", "dog", "dog", "été", "été")
    names = tuple(f"train/{label}/{row}.jpg" for row, label in enumerate(labels))
    paths = tuple(tmp_path / "data" / name for name in names)
    for row, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([row]) * 100)
    return Images(paths, labels, names)
