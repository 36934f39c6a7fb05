"""Similarities of pairs of images, and the CSV they are kept in."""

import csv
import math
from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from noseprint.data.tables import read_rows
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import atomic_write
from noseprint.metrics.similarity import Pairs

HEADER = ("imageA", "imageB", "prediction")


def write_similarities(
    path: Path,
    pairs: Pairs,
    predictions: npt.NDArray[np.floating],
    *,
    probability: npt.NDArray[np.floating] | None = None,
) -> None:
    """Write `imageA,imageB,prediction[,probability]`, every pair in order, aside and renamed into place.

    Numbers take the fewest digits that give the same float (32 or 64 bits, as passed) when read again.
    Raises NoseprintError, and leaves an older file alone, when a number is not finite.
    """
    columns = [predictions] if probability is None else [predictions, probability]
    header = HEADER if probability is None else (*HEADER, "probability")
    for name, column in zip(header[2:], columns, strict=True):
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            raise NoseprintError(
                f"{path} is not written: {name} of pair {wrong[0] + 1} ({pairs.image_a[wrong[0]]!r}, "
                f"{pairs.image_b[wrong[0]]!r}) is {column[wrong[0]]}; check the weights that gave it"
            )
    texts = [[str(value) for value in column] for column in columns]
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(pairs.image_a, pairs.image_b, *texts, strict=True))


def read_similarities(path: Path) -> pd.DataFrame:
    """Read what `write_similarities` wrote: columns imageA, imageB (str), prediction[, probability] (float64).

    Raises DataError with every fault: a missing file, a wrong header, a short or long row, an empty name, a number
    that is not finite, a probability outside [0, 1].
    """
    faults: list[Fault] = []
    names: dict[str, str] = {}  # equal names become one object
    image_a, image_b = list[str](), list[str]()
    columns = {"prediction": array("d"), "probability": array("d")}
    for line, (a, b, *texts) in read_rows(path, (*HEADER, "probability"), HEADER, faults=faults):
        image_a.append(names.setdefault(a, a))
        image_b.append(names.setdefault(b, b))
        for (name, column), text in zip(columns.items(), texts, strict=False):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                faults.append(Fault(path, line, f"{name} {text!r} is not a finite number: write the file again"))
            elif name == "probability" and not 0 <= value <= 1:
                faults.append(Fault(path, line, f"probability {text!r} is not between 0 and 1: write the file again"))
            column.append(value)
    if faults:
        raise DataError(faults)
    table = pd.DataFrame({"imageA": image_a, "imageB": image_b})
    for name, column in columns.items():
        if name == "prediction" or column:
            table[name] = np.asarray(column)
    return table
