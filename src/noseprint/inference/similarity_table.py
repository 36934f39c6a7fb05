"""similarity.csv: the similarities of pairs of images."""

import csv
import math
from array import array
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from noseprint.data.csv_rows import read_rows
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
    skipped: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write a row imageA,imageB,prediction[,probability] for each pair, in order.

    Numbers are written with the fewest digits that give the same float32 or float64 when they are read again.

    Args:
        path: The file, which is replaced as a whole.
        pairs: P pairs of image names.
        predictions: (P,).
        probability: (P,), each that its pair is the same.
        skipped: (P,), the pairs without an answer, whose numbers are left empty.

    Raises:
        NoseprintError: A number is not finite; an older file is left as it was.
    """
    answered = np.ones(len(predictions), bool) if skipped is None else ~skipped
    columns = [predictions] if probability is None else [predictions, probability]
    header = HEADER if probability is None else (*HEADER, "probability")
    for name, column in zip(header[2:], columns, strict=True):
        wrong = np.flatnonzero(~np.isfinite(column) & answered)
        if len(wrong):
            raise NoseprintError(
                f"{path}: not written, because the {name} of pair {wrong[0] + 1} ({pairs.image_a[wrong[0]]!r}, "
                f"{pairs.image_b[wrong[0]]!r}) is {column[wrong[0]]}; check the network's weights"
            )
    texts = [[str(value) if known else "" for value, known in zip(column, answered, strict=True)] for column in columns]
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(pairs.image_a, pairs.image_b, *texts, strict=True))


def read_similarities(path: Path) -> pd.DataFrame:
    """Read what `write_similarities` wrote: columns imageA, imageB (str), prediction[, probability] (float64).

    A pair without an answer has NaN.

    Raises DataError with all faults: a missing file, a wrong header, a row that is too short or too long, an empty
    name, a number that is not finite, or a probability outside 0..1.
    """
    faults: list[Fault] = []
    names: dict[str, str] = {}  # equal names share one string
    image_a, image_b = list[str](), list[str]()
    columns = {"prediction": array("d"), "probability": array("d")}
    headers = (*HEADER, "probability"), HEADER
    for line, (a, b, *texts) in read_rows(path, *headers, faults=faults, may_be_empty=tuple(columns)):
        image_a.append(names.setdefault(a, a))
        image_b.append(names.setdefault(b, b))
        for (name, column), text in zip(columns.items(), texts, strict=False):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not text:
                pass  # no answer
            elif not math.isfinite(value):
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
