"""Similarities of pairs of images, and the CSV they are kept in."""

import csv
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from noseprint.data.rows import read_rows
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import atomic_write

HEADER = ("imageA", "imageB", "prediction")
_BLOCK_VALUES = 2**22  # float32 values gathered at a time: 16 MiB a side


class Pairs(Protocol):
    """Two columns of image names, such as `noseprint.data.tables.PairTable`."""

    @property
    def image_a(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def image_b(self) -> Sequence[str]: ...  # noqa: D102


def row_similarities(
    embeddings: npt.NDArray[np.float32], a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Dot products of rows `a` (P,) and `b` (P,) of `embeddings` (N, D): (P,) float32, cosines if rows have length 1.

    A pair's value depends neither on its place nor on which image comes first, to the last bit.
    """
    block = max(1, _BLOCK_VALUES // max(1, embeddings.shape[1]))
    out = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), block):
        rows = slice(start, start + block)
        out[rows] = np.einsum("pd,pd->p", embeddings[a[rows]], embeddings[b[rows]])
    return out


def pair_similarities(
    embeddings: npt.NDArray[np.float32], index: Mapping[str, int], pairs: Pairs
) -> npt.NDArray[np.float32]:
    """Similarity of each pair, (P,) float32: the cosine, since embeddings (N, D) have length 1.

    `index` maps an image name to its row of `embeddings`. Memory beyond input and output is bounded.
    Raises NoseprintError for an image without an embedding and for an embedding that is not finite.
    """
    _check_known(index, pairs)
    a = np.fromiter((index[name] for name in pairs.image_a), dtype=np.intp, count=len(pairs.image_a))
    b = np.fromiter((index[name] for name in pairs.image_b), dtype=np.intp, count=len(pairs.image_b))
    similarity = row_similarities(embeddings, a, b)
    wrong = np.flatnonzero(~np.isfinite(similarity))
    if len(wrong):
        row = int(wrong[0])
        raise NoseprintError(
            f"the similarity of {pairs.image_a[row]!r} and {pairs.image_b[row]!r} (pair {row + 1}) is "
            f"{similarity[row]}, as are {len(wrong)} of {len(similarity)}: "
            "the network's weights are damaged or its training diverged; "
            "train again with a lower learning rate, or take another checkpoint"
        )
    return similarity


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


def _check_known(index: Mapping[str, int], pairs: Pairs) -> None:
    names = zip(pairs.image_a, pairs.image_b, strict=True)
    unknown = [(row, name) for row, pair in enumerate(names, start=1) for name in pair if name not in index]
    if unknown:
        row, name = unknown[0]
        raise NoseprintError(
            f"no embedding for image {name!r} (pair {row}; {len({name for _, name in unknown})} such images): "
            "embed every image that the pairs name"
        )
