"""What is wrong with a folder of classes, found before anything is trained on it."""

from collections import Counter
from pathlib import Path

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.decoding import find_faults
from noseprint.errors import DataError, Fault
from noseprint.inspection.contradictions import find_contradictory_copies


def check_classes(data: Path, *, columns: ClassColumns) -> str:
    """Read the table and every photograph; return how many images and classes there are, in a line.

    Raises DataError and NoseprintError as `read_classes` does, and DataError with all photographs that cannot be read
    and all training pictures that have two labels.
    """
    table = read_classes(data, columns=columns)
    faults = find_faults(table.paths) + contradictions(table)
    if faults:
        raise DataError(faults)
    splits = ", ".join(f"{number} {split}" for split, number in Counter(table.splits).items())
    sizes = Counter(table.split("train").labels)
    few, many = min(sizes.values()), max(sizes.values())
    return f"{data}: {len(table)} images ({splits}) of {len(sizes)} classes with {few} to {many} training images"


def contradictions(table: ClassTable) -> list[Fault]:
    """A fault for each training picture that has two labels."""
    return [
        Fault(
            table.paths[rows[0]],
            None,
            f"is the same picture as {', '.join(table.names[row] for row in rows[1:])}, with another label: keep one",
        )
        for rows in find_contradictory_copies(table)
    ]
