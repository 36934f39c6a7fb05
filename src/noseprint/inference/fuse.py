"""Fusion: one similarity for each pair from the similarities of several members."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from noseprint.errors import NoseprintError
from noseprint.metrics.similarity import Pairs

FusionMethod = Literal["mean", "rank", "calibrated"]
Floats = npt.NDArray[np.float64]
_EPSILON = 1e-12  # keeps probabilities away from 0 and 1, where one member would overrule all others


def fuse(members: Mapping[str, pd.DataFrame], pairs: Pairs, *, method: FusionMethod = "mean") -> Floats:
    """Fuse the members' similarities of `pairs`.

    Tables are joined on the names of the pair, never on row order. A row (B, A) answers for (A, B) if there is no row
    (A, B). Other rows are ignored.

    Args:
        members: Each member's table (imageA, imageB, prediction[, probability]), as `read_similarities` returns it.
        pairs: The P pairs to answer.
        method: "mean": the mean of the predictions. "rank": the mean of the ranks among the distinct pairs, scaled to
            0..1; equal predictions share their average rank. "calibrated": the mean of the log-odds of `probability`,
            as a probability.

    Returns:
        (P,) in the order of `pairs`. NaN for a pair to which a member has no answer (NaN).

    Raises:
        NoseprintError: A member lacks a pair, has two different values for one pair or, for "calibrated", has no
            probabilities. The message names the member, the first such pair and the number of them.
    """
    if not members:
        raise NoseprintError("nothing to fuse: name at least one similarity.csv")
    if method not in ("mean", "rank", "calibrated"):
        raise NoseprintError(f"fusion method {method!r} is unknown: choose mean, rank or calibrated")
    names = list(zip(pairs.image_a, pairs.image_b, strict=True))
    position = {pair: number for number, pair in enumerate(dict.fromkeys(names))}
    column = "probability" if method == "calibrated" else "prediction"
    values = np.stack([_select(name, table, list(position), column) for name, table in members.items()])
    if method == "rank":
        values = np.stack([_scaled_ranks(row) for row in values])
    if method == "calibrated":
        values = np.clip(values, _EPSILON, 1 - _EPSILON)
        fused = 1 / (1 + np.exp(-np.mean(np.log(values) - np.log1p(-values), axis=0)))
    else:
        fused = values.mean(axis=0)
    rows = np.fromiter((position[pair] for pair in names), dtype=np.intp, count=len(names))
    return np.asarray(fused[rows], dtype=np.float64)


def _select(name: str, table: pd.DataFrame, pairs: list[tuple[str, str]], column: str) -> Floats:
    """The values (M,) of one member for distinct `pairs`."""
    if column not in table.columns:
        raise NoseprintError(
            f"member {name!r} has no {column} column, which calibrated fusion needs: "
            "infer again with weights that have a calibration, or fuse with mean or rank"
        )
    value_of: dict[tuple[str, str], float] = {}
    clashes: dict[tuple[str, str], float] = {}
    for a, b, value in zip(table["imageA"], table["imageB"], table[column].astype(float), strict=True):
        first = value_of.setdefault((a, b), value)
        if first != value and not np.isnan([first, value]).all():
            clashes.setdefault((a, b), value)
    if clashes:
        pair, value = next(iter(clashes.items()))
        raise NoseprintError(
            f"member {name!r} has two different values for {len(clashes)} pairs, such as {value_of[pair]} and {value} "
            f"for ({pair[0]!r}, {pair[1]!r}): infer again"
        )
    values = [value_of.get(pair, value_of.get(pair[::-1])) for pair in pairs]
    missing = [pair for pair, value in zip(pairs, values, strict=True) if value is None]
    if missing:
        raise NoseprintError(
            f"member {name!r} lacks {len(missing)} of {len(pairs)} pairs, first "
            f"({missing[0][0]!r}, {missing[0][1]!r}): infer again with the same table of pairs"
        )
    return np.asarray(values, dtype=np.float64)


def _scaled_ranks(values: Floats) -> Floats:
    """Average ranks (M,) scaled to 0..1; a single value ranks 0.5. NaN has no rank."""
    answered = int(np.sum(~np.isnan(values)))
    if answered < 2:
        return np.where(np.isnan(values), np.nan, 0.5)
    return np.asarray((rankdata(values, nan_policy="omit") - 1) / (answered - 1), dtype=np.float64)
