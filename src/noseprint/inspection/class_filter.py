"""Leaves out images that a training on classes should not see: broken, tiny, or copies of what it is judged on."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.data.filtered import GROUP
from noseprint.errors import NoseprintError
from noseprint.inspection.check_classes import classes_text
from noseprint.inspection.contradictions import find_contradictory_copies
from noseprint.inspection.copies import find_copies
from noseprint.inspection.summaries import PhotoSummary, summarise

BROKEN, TINY, COPY, CONTRADICTION = "broken", "tiny", "near copy", "several labels"
_SAYS = {
    BROKEN: "cannot be read",
    TINY: "are too small",
    COPY: "are copies of images in val or test",
    CONTRADICTION: "are pictures with several labels",
}


@dataclass(frozen=True)
class LeftOut:
    """An image that is left out."""

    image: str
    reason: str
    """BROKEN, TINY, COPY or CONTRADICTION, and for BROKEN what is wrong."""
    other: str = ""
    """The image that it is a copy of."""


def filter_classes(table: ClassTable, *, least_side: int) -> tuple[ClassTable, list[LeftOut]]:
    """Return the rows that are left, and those left out, in the order of the table.

    Left out are images of any split that cannot be read; and training images with a shorter side below `least_side`
    pixels, those that are near copies of an image in val or test (`find_copies`), and those with the same pixels as a
    training image of another label. The first reason that applies is given.
    Each image is decoded once. A summary takes 5 KB. The time grows with the number of training images times the number
    of the others.
    Raises NoseprintError if a class keeps no training image.
    """
    found = summarise(table.paths)
    out = dict[int, LeftOut]()
    for row, summary in enumerate(found):
        name = table.names[row]
        if not isinstance(summary, PhotoSummary):
            out[row] = LeftOut(name, f"{BROKEN}: {summary.problem}")
        elif table.splits[row] == "train" and summary.short_side < least_side:
            out[row] = LeftOut(name, TINY)
    readable = {row: summary for row, summary in enumerate(found) if isinstance(summary, PhotoSummary)}
    for row, other in _copies(table, readable).items():
        out.setdefault(row, LeftOut(table.names[row], COPY, table.names[other]))
    for rows in find_contradictory_copies(table, {table.paths[row]: s.digest for row, s in readable.items()}):
        for row in rows:
            other = next(other for other in rows if table.labels[other] != table.labels[row])
            out.setdefault(row, LeftOut(table.names[row], CONTRADICTION, table.names[other]))
    left = table.where(row not in out for row in range(len(table)))
    if gone := sorted(set(table.classes) - set(left.classes)):
        raise NoseprintError(
            f"{len(gone)} classes keep no training image ({', '.join(gone[:3])}{', ...' * (len(gone) > 3)}): "
            f"{left_out_text([out[row] for row in sorted(out)])}. Add images of these classes, or remove the classes"
        )
    return left, [out[row] for row in sorted(out)]


def _copies(table: ClassTable, readable: dict[int, PhotoSummary]) -> dict[int, int]:
    """The training rows of which val or test holds a copy -> the row of that copy."""
    train = [row for row in readable if table.splits[row] == "train"]
    judged = [row for row in readable if table.splits[row] in ("val", "test")]
    rows = train + judged
    of_digest = {readable[row].digest: row for row in reversed(judged)}
    found = {row: of_digest[readable[row].digest] for row in train if readable[row].digest in of_digest}
    for copy in find_copies([readable[row] for row in rows], known=len(train)):
        if copy.first < len(train):
            found.setdefault(rows[copy.first], rows[copy.second])
    equal = {readable[row].digest: other for row, other in found.items()}  # find_copies names the first of equal ones
    return {row: equal[readable[row].digest] for row in train if readable[row].digest in equal}


def left_out_text(left_out: list[LeftOut]) -> str:
    """How many images are left out, and why, in a line."""
    counts = Counter(row.reason.partition(":")[0] for row in left_out)
    return ", ".join(f"{counts[reason]} {text}" for reason, text in _SAYS.items() if counts[reason])


def filter_text(left: ClassTable, left_out: list[LeftOut]) -> str:
    """What is left and what is not, in a line."""
    text = classes_text(left)
    return f"{text}; left out: {left_out_text(left_out)}" if left_out else text


def write_filtered(left: ClassTable, left_out: list[LeftOut], results: Path) -> None:
    """Write left_out.csv (image,reason,other) and images.csv, a table over the same data folder, into `results`.

    images.csv is image,label,split, GROUP if there are groups, and the columns of the levels: `read_filtered` reads it.
    It is written last: without it, nothing is filtered.
    """
    write_csv(results / "left_out.csv", ("image", "reason", "other"), ((r.image, r.reason, r.other) for r in left_out))
    columns = [left.names, left.labels, left.splits]
    header = ["image", "label", "split"]
    if left.groups is not None:
        header.append(GROUP)
        columns.append(left.groups)
    header += left.levels
    columns += left.levels.values()
    write_csv(results / "images.csv", header, zip(*columns, strict=True))
