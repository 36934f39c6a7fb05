"""Reads the data folder that prepare.py of a recipe made: small images, a hold-out, and folds of the others."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_folders import ClassSplit, some
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.csv_rows import read_rows
from noseprint.errors import DataError, Fault, NoseprintError

FOLDS = 5
HEADER = ("image", "label", "split", "group", "fold", "source")
SIZE = "bytes"
"""The optional last column: the sizes of the sources."""


@dataclass(frozen=True)
class Prepared:
    """N images, in the order of the table."""

    images: ClassTable
    """Split val is the hold-out."""
    folds: npt.NDArray[np.int64]
    """(N,) 0 to FOLDS - 1 for images of train, -1 for others. No group is in two folds."""
    sources: tuple[str, ...]
    """(N,) the name of each image in the user's own data folder."""
    sizes: tuple[str, ...]
    """(N,) how many bytes each of these had; "" where that is not known."""

    def split(self, name: ClassSplit) -> ClassTable:
        """The images of one split."""
        return self.images.split(name)

    def originals(self, name: ClassSplit, data: Path) -> ClassTable:
        """The images of one split as they are in the user's own data folder, which is `data`.

        The small image takes the place of an original that is gone. Prints how many are gone, and how many have
        another size than when they were prepared, which is how `noseprint.step_inputs` finds changed photographs.
        """
        rows = [row for row, split in enumerate(self.images.splits) if split == name]
        small, paths, gone, changed = self.split(name), list[Path](), 0, list[str]()
        for row in rows:
            path = data / self.sources[row]
            if not path.is_file():
                gone += 1
                path = self.images.paths[row]
            elif self.sizes[row] not in ("", str(path.stat().st_size)):
                changed.append(self.sources[row])
            paths.append(path)
        if gone:
            print(f"{gone} of {len(rows)} originals are gone from {data}: their small copies are used.", flush=True)
        if changed:
            print(
                f"warning: {len(changed)} of {len(rows)} photographs of {name} have changed since train.sh prepared "
                f"them ({some(changed)}): run train.sh again",
                flush=True,
            )
        return replace(small, names=tuple(self.sources[row] for row in rows), paths=tuple(paths))

    def labelled(self) -> ClassTable:
        """The images of train and val together."""
        return self.images.where(split in ("train", "val") for split in self.images.splits)

    def fold(self, number: int) -> tuple[ClassTable, ClassTable]:
        """The images of the other folds, to train on, and those of the fold."""
        own = self.folds == number
        return self.images.where((~own & (self.folds >= 0)).tolist()), self.images.where(own.tolist())


def read_prepared(folder: Path) -> Prepared:
    """Read the results of prepare.py. Raises NoseprintError if there are none, or they are damaged."""
    table = folder / "images.csv"
    if not table.is_file():
        raise NoseprintError(f"{table} is missing: run prepare/prepare.py with the same --run, or train.sh")
    images = read_classes(folder, columns=ClassColumns(table=table, group="group"), quiet=True)
    faults = list[Fault]()
    rows = dict[str, list[str]]()
    for line, fields in read_rows(table, HEADER, faults=faults, optional=(SIZE,), may_be_empty=HEADER[1:]):
        rows[fields[0]] = fields
        if (fields[4] in tuple("01234")) != (fields[2] == "train"):
            faults.append(Fault(table, line, f"fold {fields[4]!r} of split {fields[2]!r}: prepare the data again"))
    if faults:
        raise DataError(faults)
    folds = np.array([int(rows[name][4] or -1) for name in images.names], np.int64)
    sources, sizes = zip(*((*rows[name][5:], "")[:2] for name in images.names), strict=True)
    return Prepared(images, folds, sources, sizes)
