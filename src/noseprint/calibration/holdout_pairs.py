"""The photographs and pairs from which a verifier is made: those that no network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from noseprint.data.decoding import find_faults
from noseprint.data.encounters import only_value
from noseprint.data.holdout import (
    HOLD_OUT_MORE,
    HOLDOUT_SEED,
    changed_photographs,
    held_out_fewer,
    holdout_hash,
    split_holdout,
)
from noseprint.data.tables import ImageTable, read_train
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.metrics.similarity import Flags, Indices
from noseprint.models.weights_header import read_header

MAX_PHOTOGRAPHS = 2000
"""Photographs of a larger hold-out are left out: 2000 photographs already make two million pairs."""
COHORT = 200
"""The held-out photographs are also compared with this many photographs of trained identities. Only many pairs of
individuals show how similar two individuals can be, and a small hold-out has few: 8 identities make 28 pairs."""
MAX_SAME_PAIRS = 10_000
"""A calibration is fitted to at most this many same pairs, and as many different ones. Each of K identities gives at
most 1/K of them, so that an identity with many photographs does not dominate the curve."""


class NoVerifierError(NoseprintError):
    """No verifier can be made: nothing or too little was held out, or the data folder is not that of the training."""


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of photographs: their rows `a` (P,) and `b` (P,) in a table, and whether both show one identity (P,)."""

    a: Indices
    b: Indices
    same: Flags

    def __getitem__(self, rows: Indices | Flags) -> "LabelledPairs":
        return LabelledPairs(self.a[rows], self.b[rows], self.same[rows])


def read_held_out_share(weights: Mapping[str, Path]) -> float:
    """Read which share of the identities was held out from the training of all `weights` (member -> file).

    Raises NoVerifierError if nothing was held out, or if a file does not record it. Raises NoseprintError if the
    members held out different shares.
    """
    shares: dict[str, float] = {}
    for name, path in weights.items():
        if path.suffix == ".pth":
            raise NoVerifierError(f"{path}: a .pth file does not say what was held out from its training")
        header = read_header(path)
        share = header.holdout_share
        if not share or "held_out" not in header.extra:
            why = "was trained on all identities" if share == 0 else "does not say what was held out from its training"
            raise NoVerifierError(f"{path}: {why}; a verifier needs photographs that no network was trained on")
        shares[name] = share
    if len(set(shares.values())) > 1:
        listed = ", ".join(f"{name} {share}" for name, share in shares.items())
        raise NoseprintError(
            f"the members held out different shares of the identities ({listed}): train all with the same --holdout"
        )
    return float(next(iter(shares.values())))


def read_photographs(weights: Mapping[str, Path], data: Path, *, share: float) -> tuple[ImageTable, ImageTable]:
    """Read the photographs of the held-out identities, and the cohort.

    Broken photographs are left out with a message. Raises NoVerifierError if `data` is not the folder of the training.
    """
    if not ((data / "train" / "train_data.csv").is_file() and (data / "train" / "images").is_dir()):
        raise NoVerifierError(
            f"{data} has no training photographs (train/train_data.csv, train/images); a verifier is made from those "
            "held out from training. Name the data folder of the training with --data"
        )
    photographs = read_train(data, missing_ok=True)
    held_out_identities = split_holdout(photographs.identities, share=share, seed=HOLDOUT_SEED)
    trained = photographs.where(identity not in held_out_identities for identity in photographs.identities)
    chosen = {trained.paths[row] for row in draw_rows(len(trained), COHORT)}
    cohort = _readable(trained.where(path in chosen for path in trained.paths))
    held_out = _readable(photographs.where(identity in held_out_identities for identity in photographs.identities))
    for path in weights.values():
        header = read_header(path)
        if header.extra["held_out"] != holdout_hash(held_out.identities):
            if held_out_fewer(photographs.identities, share=share, recorded=header.extra["held_out"]):
                raise NoVerifierError(
                    f"{path} was trained with noseprint {header.version}, which held out fewer identities: calibrate "
                    "with that version, or train again"
                )
            raise NoVerifierError(
                f"{path} was trained with other identities held out than {data} gives now: train_data.csv has changed, "
                "or other photographs are broken. Name the data folder of the training with --data, or train again"
            )
    _check_photographs(weights, data, held_out)
    return thin(held_out), cohort


def choose_pairs(table: ImageTable, held_out: int) -> LabelledPairs:
    """All pairs of photographs in `table` that include at least one of its first `held_out` photographs.

    Two photographs of one identity from one encounter make no pair: they are too alike. Raises NoVerifierError if
    fewer than MIN_IDENTITIES identities have a same pair.
    """
    a, b = np.triu_indices(len(table), 1)
    a, b = a[a < held_out], b[a < held_out]
    names = np.asarray(table.identities)
    pairs = LabelledPairs(a, b, names[a] == names[b])
    if table.encounters is not None:
        encounters = np.asarray(table.encounters)
        pairs = pairs[~pairs.same | (encounters[pairs.a] != encounters[pairs.b])]
    number = len(np.unique(names[pairs.a[pairs.same]]))
    if number < MIN_IDENTITIES:
        constant = only_value(table.encounters, column=table.encounter_column)
        raise NoVerifierError(
            f"only {number} of the held-out identities have two readable photographs (from two encounters, if these "
            f"are known{f'; {constant}' if constant else ''}), and a verifier needs {MIN_IDENTITIES}: {HOLD_OUT_MORE}"
        )
    return pairs


def draw_balanced_pairs(pairs: LabelledPairs, table: ImageTable) -> LabelledPairs:
    """Draw as many same as different pairs, at most MAX_SAME_PAIRS of each, to fit a calibration to.

    Identities without a same pair are left out. Every remaining identity gives at least one pair of each kind,
    because the fit is judged on each identity in turn.
    """
    names = np.asarray(table.identities)[pairs.a]
    eligible = np.unique(names[pairs.same])
    most_each = MAX_SAME_PAIRS // len(eligible)
    same, different = (
        _draw_from_each(np.flatnonzero(kind & np.isin(names, eligible)), names, most_each)
        for kind in (pairs.same, ~pairs.same)
    )
    number = min(len(same), len(different))
    return pairs[np.concatenate([same[:number], different[:number]])]


def draw_rows(number: int, most: int) -> Indices:
    """Draw up to `most` of `number` rows, in a random order that is the same in every call."""
    return np.random.default_rng(HOLDOUT_SEED).permutation(number)[:most]


def _draw_from_each(rows: Indices, names: np.ndarray, most_each: int) -> Indices:
    """Shuffle the rows; keep at most `most_each` of each name. The first row of every name comes before all others."""
    rows = rows[draw_rows(len(rows), len(rows))]
    rank = pd.Series(names[rows]).groupby(names[rows]).cumcount().to_numpy()
    order = np.argsort(rank > 0, kind="stable")
    return rows[order[rank[order] < most_each]]


def thin(table: ImageTable) -> ImageTable:
    """Keep at most MAX_PHOTOGRAPHS: the same number of each identity (or all that it has), from its encounters in turn.

    Each identity keeps at least two photographs. If that is too many, some identities are left out.
    """
    names = sorted(set(table.identities))
    chosen = {names[row] for row in draw_rows(len(names), MAX_PHOTOGRAPHS // 2)}
    table = table.where(identity in chosen for identity in table.identities)
    if len(table) <= MAX_PHOTOGRAPHS:
        return table
    rows = pd.DataFrame({"identity": table.identities, "encounter": table.encounters or table.identities})
    rows = rows.iloc[draw_rows(len(table), len(table))]
    rank_in_encounter = rows.groupby(["identity", "encounter"]).cumcount().sort_values(kind="stable")
    rank = rows.loc[rank_in_encounter.index].groupby("identity").cumcount().sort_index().to_numpy()
    return table.where(rank < max(2, np.sort(rank)[MAX_PHOTOGRAPHS]))


def _check_photographs(weights: Mapping[str, Path], data: Path, held_out: ImageTable) -> None:
    """Raise NoVerifierError if most held-out photographs are not those of the training; print how many have changed."""
    messages = set()
    for path in weights.values():
        hashes = read_header(path).extra.get("held_out_photographs")
        if not hashes:  # older weights
            continue
        changed = changed_photographs(hashes, held_out)
        if changed.other_data:
            raise NoVerifierError(
                f"{path} was trained on other photographs than those of {data}, though the identities have the same "
                f"names: only {changed.known} of the held-out ones have the same file name and size. Name the data "
                "folder of the training with --data, or train again (also if you renamed or rewrote all photographs)"
            )
        if changed.added or changed.removed:
            messages.add(
                f"held-out photographs since the training: {changed.added} new, {changed.removed} gone (a changed one "
                "counts as both). The new ones are used as if no network was trained on them"
            )
    for message in sorted(messages):
        print(message, flush=True)


def _readable(table: ImageTable) -> ImageTable:
    faults = find_faults(table.paths)
    for fault in faults:
        print(f"left out: {fault}", flush=True)
    broken = {fault.file for fault in faults}
    return table.where(path not in broken for path in table.paths)
