"""Contradictory copies: one picture under two classes, one of which must be wrong."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import Image, decode, in_threads, pixel_digest
from noseprint.data.readable import readable_photographs
from noseprint.errors import DataError, NoseprintError, printable

_NAMED = 100  # pictures in a message


def find_contradictory_copies(
    table: ClassTable, digests: Mapping[Path, bytes | None] | None = None
) -> list[tuple[int, ...]]:
    """The training rows of `table` that show one picture under different labels, a tuple for each picture.

    Copies have equal pixels once they are decoded, whatever the file format. A tuple holds each row of the picture, in
    order, and the tuples are in order of their first row. digests: of the pixels of images that are decoded already;
    None: all training images are decoded, with a progress bar. Images that cannot be decoded are in no tuple:
    `readable_photographs` reports them.
    """
    rows = [row for row, split in enumerate(table.splits) if split == "train"]
    if digests is None:
        paths = [table.paths[row] for row in rows]
        digests = dict(zip(paths, in_threads(_digest, paths, label="images"), strict=True))
    rows_of = defaultdict[bytes, list[int]](list)
    for row in rows:
        if (digest := digests.get(table.paths[row])) is not None:
            rows_of[digest].append(row)
    return [tuple(copies) for copies in rows_of.values() if len({table.labels[row] for row in copies}) > 1]


def usable_images(table: ClassTable, *, skip_bad: bool, skipped_csv: Path) -> ClassTable:
    """The training rows of `table` whose image can be decoded, and does not have another label, too.

    Each image is decoded once. skip_bad: leave the others out. skipped_csv: lists those that cannot be decoded.
    Raises NoseprintError without skip_bad, naming them all.
    """
    table, digests = table.split("train"), dict[Path, bytes | None]()

    def read(path: Path) -> Image:
        image = decode(path)
        digests[path] = pixel_digest(image)
        return image

    readable = readable_photographs(table.paths, skip_bad=skip_bad, skipped_csv=skipped_csv, read=read)
    copies = find_contradictory_copies(table, digests)
    if copies:
        pictures = [
            " is the same picture as ".join(f"{table.names[row]} ({table.labels[row]})" for row in rows)
            for rows in copies
        ]
        named = "\n".join(f"  {printable(text)}" for text in pictures[:_NAMED])
        found = f"{len(copies)} pictures have two labels or more" if len(copies) > 1 else "1 picture has two labels"
        if not skip_bad:
            raise NoseprintError(
                f"{found}. Remove the copy with the wrong label, or go on without both with --skip-bad:\n{named}"
            )
        print(f"{found}; all copies are left out:\n{named}", file=sys.stderr, flush=True)
    contradictory = {row for rows in copies for row in rows}
    return table.where([path in readable and row not in contradictory for row, path in enumerate(table.paths)])


def _digest(path: Path) -> bytes | None:
    try:
        return pixel_digest(decode(path))
    except DataError:
        return None
