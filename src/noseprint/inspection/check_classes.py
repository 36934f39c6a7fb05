"""What is wrong with a folder of classes, found before anything is trained on it."""

from collections import Counter
from pathlib import Path

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.errors import DataError, NoseprintError, printable
from noseprint.inspection.contradictions import usable_images


def check_classes(data: Path, *, columns: ClassColumns) -> str:
    """Read the table and every photograph; return how many images and classes there are, in a line.

    Raises NoseprintError as `read_classes` and `usable_images` do, with every fault.
    """
    try:
        table = read_classes(data, columns=columns)
    except DataError as error:
        raise NoseprintError("\n".join(printable(fault) for fault in error.faults)) from None
    return f"{data}: {classes_text(usable_images(table))}"


def classes_text(table: ClassTable) -> str:
    """How many images and classes there are, in a line."""
    splits = ", ".join(f"{number} {split}" for split, number in Counter(table.splits).items())
    sizes = Counter(table.split("train").labels)
    few, many = min(sizes.values()), max(sizes.values())
    each = f"{few} training image{'s' * (few > 1)} each" if few == many else f"{few} to {many} training images"
    return f"{len(table)} images ({splits}) of {len(sizes)} classes with {each}"
