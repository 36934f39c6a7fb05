"""Contradictory copies: one picture under two classes, one of which must be wrong."""

from collections import defaultdict
from pathlib import Path

from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import decode, in_threads, pixel_digest
from noseprint.errors import DataError


def find_contradictory_copies(table: ClassTable) -> list[tuple[int, ...]]:
    """The training rows of `table` that show one picture under different labels, a tuple for each picture.

    Copies have equal pixels once they are decoded, whatever the file format. A tuple holds each row of the picture, in
    order, and the tuples are in order of their first row. All training images are decoded, with a progress bar. Those
    that cannot be are in no tuple: `readable_photographs` reports them.
    """
    rows = [row for row, split in enumerate(table.splits) if split == "train"]
    rows_of = defaultdict[bytes, list[int]](list)
    for row, digest in zip(rows, in_threads(_digest, [table.paths[row] for row in rows], label="images"), strict=True):
        if digest is not None:
            rows_of[digest].append(row)
    return [tuple(copies) for copies in rows_of.values() if len({table.labels[row] for row in copies}) > 1]


def _digest(path: Path) -> bytes | None:
    try:
        return pixel_digest(decode(path))
    except DataError:
        return None
