"""Contradictory copies: one picture under two classes, one of which must be wrong."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import Image, decode, find_faults, pixel_digest
from noseprint.data.readable import leave_out
from noseprint.errors import Fault


def find_contradictory_copies(table: ClassTable, digests: Mapping[Path, bytes]) -> list[tuple[int, ...]]:
    """The training rows of `table` that show one picture under different labels, a tuple for each picture.

    Copies have equal pixels once they are decoded, whatever the file format. A tuple holds each row of the picture, in
    order, and the tuples are in order of their first row. digests: of the pixels of the images that can be decoded.
    """
    rows_of = defaultdict[bytes, list[int]](list)
    for row, (path, split) in enumerate(zip(table.paths, table.splits, strict=True)):
        if split == "train" and path in digests:
            rows_of[digests[path]].append(row)
    return [tuple(copies) for copies in rows_of.values() if len({table.labels[row] for row in copies}) > 1]


def usable_images(
    table: ClassTable,
    *,
    skip_bad: bool = False,
    skipped_csv: Path | None = None,
    read: Callable[[Path], Image] = decode,
) -> ClassTable:
    """The rows of `table` whose image can be decoded and, if it is a training image, does not have another label, too.

    Each image is decoded once, and faults of both kinds are reported together. skip_bad, skipped_csv, and what is
    raised: see `leave_out`. read: decodes an image.
    """
    digests = dict[Path, bytes]()

    def read_once(path: Path) -> Image:
        image = read(path)
        digests[path] = pixel_digest(image)
        return image

    faults = find_faults(tuple(dict.fromkeys(table.paths)), read=read_once)
    for rows in find_contradictory_copies(table, digests):
        copies = " and ".join(f"{table.names[row]} ({table.labels[row]})" for row in rows)
        problem = f"one picture with several labels, {copies}: keep the copy with the right label"
        faults += [Fault(table.paths[row], None, problem) for row in rows]
    leave_out(
        faults,
        f"{len(faults)} of {len(table)} photographs cannot be used",
        fix="or do what each line says",
        skip_bad=skip_bad,
        skipped_csv=skipped_csv,
    )
    unusable = {fault.file for fault in faults}
    return table.where(path not in unusable for path in table.paths)
