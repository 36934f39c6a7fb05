"""The photographs and pairs from which a verifier is made: those that no network was trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from noseprint.data.decoding import find_faults
from noseprint.data.holdout import HOLDOUT_SEED, changed_photographs, holdout_hash, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.metrics.similarity import Flags, Indices
from noseprint.models.weights_header import read_header

MAX_PHOTOGRAPHS = 2000
"""The identities with the most photographs lose some of a larger hold-out: 2000 photographs make two million pairs."""
COHORT = 200
"""Photographs of trained identities with which the held-out ones are compared, too. Only many pairs of individuals show
how similar two of them can be, and a small hold-out has few: 8 identities make 28 pairs."""
MAX_SAME_PAIRS = 10_000
"""Same pairs to which a calibration is fitted, and as many different ones. Each of K identities gives at most a Kth of
them, so that one with many photographs does not dominate the curve."""
LARGER_HOLDOUT = "train with a larger --holdout, or on more individuals"


class NothingHeldOutError(NoseprintError):
    """No verifier can be made: nothing or too little was held out, or the data are not those of the training."""


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of photographs: their rows a (P,) and b (P,) in a table, and whether they are the `same` (P,)."""

    a: Indices
    b: Indices
    same: Flags

    def __getitem__(self, rows: Indices | Flags) -> "LabelledPairs":
        return LabelledPairs(self.a[rows], self.b[rows], self.same[rows])


def read_held_out_share(weights: Mapping[str, Path]) -> float:
    """The share of the identities that was held out from the training of all `weights` (member -> file).

    Raises NothingHeldOutError if nothing was held out or a file does not say, NoseprintError if the shares differ.
    """
    shares: dict[str, float] = {}
    for name, path in weights.items():
        if path.suffix == ".pth":
            raise NothingHeldOutError(f"{path}: a .pth file does not say what was held out from its training")
        extra = read_header(path).extra
        share = json.loads(extra.get("training", "{}")).get("holdout")
        if not share or "held_out" not in extra:
            why = "was trained on all identities" if share == 0 else "does not say what was held out from its training"
            raise NothingHeldOutError(f"{path}: {why}; a verifier needs photographs that no network was trained on")
        shares[name] = share
    if len(set(shares.values())) > 1:
        listed = ", ".join(f"{name} {share}" for name, share in shares.items())
        raise NoseprintError(f"the members held out different shares of the identities ({listed}): train them alike")
    return float(next(iter(shares.values())))


def read_photographs(weights: Mapping[str, Path], data: Path, *, share: float) -> tuple[ImageTable, ImageTable]:
    """The photographs of the held-out identities, and the cohort.

    Broken photographs are left out with a message. Raises NothingHeldOutError if `data` is not the training's.
    """
    if not ((data / "train" / "train_data.csv").is_file() and (data / "train" / "images").is_dir()):
        raise NothingHeldOutError(
            f"{data} has no training photographs (train/train_data.csv, train/images); a verifier is made from those "
            "held out from training. Name the data of the training with --data"
        )
    everyone = read_train(data, missing_ok=True)
    names = split_holdout(everyone.identities, share=share, seed=HOLDOUT_SEED)
    trained = everyone.where(identity not in names for identity in everyone.identities)
    chosen = {trained.paths[row] for row in draw_rows(len(trained), COHORT)}
    cohort = _readable(trained.where(path in chosen for path in trained.paths))
    held_out = _readable(everyone.where(identity in names for identity in everyone.identities))
    for path in weights.values():
        if read_header(path).extra["held_out"] != holdout_hash(held_out.identities):
            raise NothingHeldOutError(
                f"{path} was trained with other identities held out than {data} gives now: train_data.csv has changed, "
                "or which photographs can be read; name the data of the training with --data, or train again"
            )
    _check_photographs(weights, data, held_out)
    return thin(held_out), cohort


def choose_pairs(table: ImageTable, held_out: int) -> LabelledPairs:
    """All pairs of the `table`'s photographs that include at least one of its first `held_out`.

    Two photographs of one identity and one encounter are near copies, and no pair. Raises NothingHeldOutError if fewer
    than MIN_IDENTITIES identities have a same pair.
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
        raise NothingHeldOutError(
            f"only {number} of the held-out identities have two readable photographs (of two encounters, if these are "
            f"known), and fewer than {MIN_IDENTITIES} say nothing about others: {LARGER_HOLDOUT}"
        )
    return pairs


def draw_balanced_pairs(pairs: LabelledPairs, table: ImageTable) -> LabelledPairs:
    """As many same as different pairs, at most MAX_SAME_PAIRS of each, for fitting a calibration.

    Identities without a same pair are left out. Every other one gives at least one pair of each kind, because the fit
    is judged on each identity in turn.
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
    """Up to `most` of `number` rows in random order, the same in every call."""
    return np.random.default_rng(HOLDOUT_SEED).permutation(number)[:most]


def _draw_from_each(rows: Indices, names: np.ndarray, most_each: int) -> Indices:
    """The rows in random order, at most `most_each` of each name; the first of every name come before all others."""
    rows = rows[draw_rows(len(rows), len(rows))]
    rank = pd.Series(names[rows]).groupby(names[rows]).cumcount().to_numpy()
    order = np.argsort(rank > 0, kind="stable")
    return rows[order[rank[order] < most_each]]


def thin(table: ImageTable) -> ImageTable:
    """At most MAX_PHOTOGRAPHS: an equal number from each identity (or all it has), taken from its encounters in turn.

    Each identity keeps at least two. If that is too many, some identities are left out.
    """
    names = sorted(set(table.identities))
    chosen = {names[row] for row in draw_rows(len(names), MAX_PHOTOGRAPHS // 2)}
    table = table.where(identity in chosen for identity in table.identities)
    if len(table) <= MAX_PHOTOGRAPHS:
        return table
    rows = pd.DataFrame({"identity": table.identities, "encounter": table.encounters or table.identities})
    rows = rows.iloc[draw_rows(len(table), len(table))]
    turn = rows.groupby(["identity", "encounter"]).cumcount().sort_values(kind="stable")
    rank = rows.loc[turn.index].groupby("identity").cumcount().sort_index().to_numpy()
    return table.where(rank < max(2, np.sort(rank)[MAX_PHOTOGRAPHS]))


def _check_photographs(weights: Mapping[str, Path], data: Path, held_out: ImageTable) -> None:
    """Refuse held-out photographs if most are not those of the training; if some are not, print how many."""
    messages = set()
    for path in weights.values():
        hashes = read_header(path).extra.get("held_out_photographs")
        if not hashes:  # older weights
            continue
        changed = changed_photographs(hashes, held_out)
        if changed.other_data:
            raise NothingHeldOutError(
                f"{path} was trained on other photographs than those of {data}, though the identities have the same "
                f"names: only {changed.known} of those held out have the same file name and size; name the data of the "
                "training with --data, or train again (also after renaming or rewriting all photographs)"
            )
        if changed.added or changed.removed:
            messages.add(
                f"held-out photographs since the training: {changed.added} new, {changed.removed} gone (a changed one "
                "counts as both); new ones are taken as never trained on"
            )
    for message in sorted(messages):
        print(message, flush=True)


def _readable(table: ImageTable) -> ImageTable:
    faults = find_faults(table.paths)
    for fault in faults:
        print(f"left out: {fault}", flush=True)
    broken = {fault.file for fault in faults}
    return table.where(path not in broken for path in table.paths)
