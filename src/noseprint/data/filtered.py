"""Reads the images that a recipe's filter.py has kept."""

from pathlib import Path

from noseprint.data.class_columns import ClassColumns
from noseprint.data.class_tables import ClassTable, read_classes
from noseprint.data.csv_rows import read_header
from noseprint.errors import DataError, Fault, NoseprintError

GROUP = "group"
"""The column of groups in the table that filter.py writes; without it, there are no groups."""


def read_filtered(data: Path, results: Path, *, missing_ok: bool = False) -> ClassTable:
    """The images of the data folder that filter.py has kept, from the table in its `results`.

    missing_ok: as of `read_classes`. Raises NoseprintError if the table is missing, and as `read_classes` does.
    """
    table = results / "images.csv"
    if not table.is_file():
        raise NoseprintError(f"{table} is missing: run filter/filter.py with the same --run, or train.sh")
    faults = list[Fault]()
    names = read_header(table, faults=faults)
    if faults:
        raise DataError(faults)
    columns = ClassColumns(table=table, group=GROUP if GROUP in names else None)
    return read_classes(data, columns=columns, missing_ok=missing_ok, quiet=True)
