"""Fuses the similarities that several members give to the same pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from noseprint.errors import NoseprintError
from noseprint.inference.similarity_table import write_similarities
from noseprint.metrics.similarity import Pairs

Method = Literal["mean", "rank", "calibrated"]
Floats = npt.NDArray[np.float64]
_CLOSEST_TO_CERTAIN = 1e-12  # a probability of 0 or 1 would outvote all other members


def fuse(members: Mapping[str, pd.DataFrame], pairs: Pairs, *, method: Method = "mean") -> Floats:
    """Fuse the members into one prediction for each row of `pairs`, (P,) float64, in their order.

    `members` maps a name to a table (imageA, imageB, prediction[, probability]), as `read_similarities` gives it.
    Tables are joined on the pair of names, never on row order. If a member has (B, A) but not (A, B), its value counts
    for (A, B). Other pairs of a member are ignored.

    - "mean": mean of the predictions (the method of the paper: cosines).
    - "rank": mean of the ranks among the distinct pairs of `pairs`, scaled to 0..1; ties share their average rank.
    - "calibrated": mean of the log-odds of the members' `probability`, mapped back to a probability.

    Raises NoseprintError if a member lacks a pair, has two different values for one pair, or has no probabilities for
    the "calibrated" method. The message names the member, the first such pair and the number of them.
    """
    if not members:
        raise NoseprintError("nothing to fuse: name at least one similarity.csv")
    if method not in ("mean", "rank", "calibrated"):
        raise NoseprintError(f"fusion method {method!r} is unknown: choose mean, rank or calibrated")
    requested = list(zip(pairs.image_a, pairs.image_b, strict=True))
    position = {pair: number for number, pair in enumerate(dict.fromkeys(requested))}
    column = "probability" if method == "calibrated" else "prediction"
    values = np.stack([_joined(name, table, position, column) for name, table in members.items()])
    if method == "rank":
        values = np.stack([_scaled_ranks(row) for row in values])
    if method == "calibrated":
        values = np.clip(values, _CLOSEST_TO_CERTAIN, 1 - _CLOSEST_TO_CERTAIN)
        fused = 1 / (1 + np.exp(-np.mean(np.log(values) - np.log1p(-values), axis=0)))
    else:
        fused = values.mean(axis=0)
    rows = np.fromiter((position[pair] for pair in requested), dtype=np.intp, count=len(requested))
    return np.asarray(fused[rows], dtype=np.float64)


def write_result(path: Path, pairs: Pairs, predictions: npt.NDArray[np.floating]) -> None:
    """Write `final_result.csv`: imageA,imageB,prediction, one row for every row of `pairs`, in their order."""
    write_similarities(path, pairs, predictions)


def _joined(name: str, table: pd.DataFrame, position: Mapping[tuple[str, str], int], column: str) -> Floats:
    if column not in table.columns:
        raise NoseprintError(
            f"member {name!r} has no {column} column, which calibrated fusion needs: "
            "infer again with weights that carry a calibration, or fuse with mean or rank"
        )
    known: dict[tuple[str, str], float] = {}
    clashes: dict[tuple[str, str], float] = {}
    for a, b, value in zip(table["imageA"], table["imageB"], table[column].astype(float), strict=True):
        if known.setdefault((a, b), value) != value:
            clashes.setdefault((a, b), value)
    if clashes:
        pair, value = next(iter(clashes.items()))
        raise NoseprintError(
            f"member {name!r} holds two values, {known[pair]} and {value}, for the pair ({pair[0]!r}, {pair[1]!r}); "
            f"pairs like that: {len(clashes)}. Write its similarities again"
        )
    joined = [known.get(pair, known.get(pair[::-1])) for pair in position]
    missing = [pair for pair, value in zip(position, joined, strict=True) if value is None]
    if missing:
        raise NoseprintError(
            f"member {name!r} lacks {len(missing)} of {len(position)} pairs, first "
            f"({missing[0][0]!r}, {missing[0][1]!r}): infer again with the same table of pairs"
        )
    return np.asarray(joined, dtype=np.float64)


def _scaled_ranks(values: Floats) -> Floats:
    """Average ranks (M,) scaled to 0..1; a single value ranks 0.5."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(size) - size
    ranks = first + (size - 1) / 2
    return np.asarray(ranks[group] / (len(values) - 1), dtype=np.float64)
