"""Hold-outs: identities or rows that are never trained on, so that they show how good a training is."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from noseprint.data.encounters import only_value
from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError
from noseprint.files import file_hash

HOLDOUT_SEED = 0
"""The same for every training, whatever its own seed: a stage must not train on what the next one holds out."""
MOST_HASHES = 4096
"""At most this many photographs are recorded in a weights file: 32 KiB."""
HOLD_OUT_MORE = "add individuals, or hold out more of them (--holdout 0.33: a third)"
"""What to do where the hold-out is too small."""
AT_LEAST = 32
"""Identities to hold out, if they are at most a fifth. Version 0.1 had no such rule, which is 0."""


def split_holdout(
    identities: Sequence[str], *, share: float, seed: int = HOLDOUT_SEED, at_least: int = AT_LEAST
) -> set[str]:
    """The identities to hold out; `identities` (N,) names the identity of every image.

    Of the M identities with two images or more, round(share * M) are held out, but at least min(at_least, M // 5), at
    least 8, and at most a third: few identities cannot tell whether one training is better than another. They are those
    with the smallest hashes of (seed, identity). So the order of the rows and further images of known identities do not
    change the choice, a new identity changes it little, and a larger share holds out the same identities and more. An
    identity is held out with all its encounters. share 0 holds out none.

    Raises NoseprintError for a share outside [0, 0.5], and if fewer than two identities can be held out.
    """
    _check_share(share)
    if share == 0:
        return set()
    eligible = [identity for identity, images in Counter(identities).items() if images >= 2]
    number = max(round(share * len(eligible)), min(at_least, len(eligible) // 5), 8)
    number = min(number, len(eligible) // 3)
    if number < 2:
        raise NoseprintError(
            f"{len(eligible)} identities have two images or more, but a hold-out needs at least 6: "
            "add photographs, or train on all with a hold-out share of 0"
        )
    return set(ordered_by_hash(eligible, seed=seed)[:number])


def ordered_by_hash(names: Iterable[str], *, seed: int) -> list[str]:
    """Names in the order of their hashes with `seed`: at random, but the same whatever their order and other names."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def held_out_fewer(identities: Sequence[str], *, share: float, recorded: str | None) -> bool:
    """Whether the `holdout_hash` that a weights file recorded is that of the smaller hold-out of version 0.1."""
    now, before = (split_holdout(identities, share=share, at_least=number) for number in (AT_LEAST, 0))
    return now != before and recorded == holdout_hash(before)


def holdout_rows(
    classes: Sequence[str], *, share: float, groups: Sequence[str] | None = None, seed: int = HOLDOUT_SEED
) -> npt.NDArray[np.bool_]:
    """Which rows to hold out, (N,) bool, so that every class has about the same share of its rows held out.

    classes: (N,) the class of each row. groups: (N,) the group of each row; rows of one group, such as the photographs
    of one sender, stay on one side. The hold-out is one of round(1 / share) folds (scikit-learn's StratifiedKFold and
    StratifiedGroupKFold). share 0 holds out none.

    Raises NoseprintError for a share outside [0, 0.5], and if there are fewer rows (or groups) than folds.
    """
    _check_share(share)
    held_out = np.zeros(len(classes), bool)
    if share == 0:
        return held_out
    folds = round(1 / share)
    units = "images" if groups is None else "groups"
    number = len(classes) if groups is None else len(set(groups))
    if folds > number:
        raise NoseprintError(
            f"a hold-out share of {share} needs {folds} {units}, and there are {number}: raise the share, or make it 0"
        )
    of_class = np.unique(np.asarray(classes), return_inverse=True)[1]
    if groups is None:
        folding: StratifiedKFold | StratifiedGroupKFold = StratifiedKFold(
            min(folds, int(np.bincount(of_class).max())), shuffle=True, random_state=seed
        )
    else:
        folding = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than folds: some have no row held out
        held_out[next(folding.split(of_class, of_class, groups))[1]] = True
    return held_out


def assign_folds(
    labels: Sequence[str], *, folds: int, groups: Sequence[str] | None = None, seed: int = 0
) -> npt.NDArray[np.int64]:
    """The fold of each image, (N,) in 0..folds-1: about the same share of each class, and no group in two folds.

    Raises NoseprintError if every class has fewer images than there are folds, or if there are fewer groups.
    """
    units, kind = max(Counter(labels).values()), "images of the largest class"
    if groups is not None and len(set(groups)) < units:
        units, kind = len(set(groups)), "groups"
    if not 2 <= folds <= units:
        raise NoseprintError(f"{folds} folds: there can be 2 to {units}, the number of {kind}")
    kind_of_folds = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind_of_folds(folds, shuffle=True, random_state=seed)
    found = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        for fold, (_, rows) in enumerate(splitter.split(labels, labels, groups)):
            found[rows] = fold
    return found


def require_scorable(
    identities: Sequence[str], *, share: float, encounters: Sequence[str] | None = None, encounter_column: str = ""
) -> None:
    """Refuse a hold-out that broken photographs have left too small to score; `identities` (N,) of its images.

    Raises NoseprintError unless two identities have two images (from two `encounters` (N,), if these are known), or
    `share` is 0.
    """
    apart = Counter(identities if encounters is None else (i for i, _ in set(zip(identities, encounters, strict=True))))
    if share > 0 and sum(images >= 2 for images in apart.values()) < 2:
        what = "photographs" if encounters is None else "photographs from two encounters"
        column = encounter_column or "encounter, date or camera"
        fix = "" if encounters is None else f", fix or remove the column {column} of train_data.csv"
        if constant := only_value(encounters, column=column):
            fix += f" ({constant})"
        raise NoseprintError(
            f"of the identities held out, too few {what} can be used to score a training: replace the broken "
            f"ones{fix}, or train on all identities with --holdout 0, which calibrates nothing"
        )


def holdout_hash(identities: Iterable[str]) -> str:
    """16 hexadecimal digits for a set of held-out identities."""
    return hashlib.sha256(json.dumps(sorted(set(identities))).encode()).hexdigest()[:16]


def photograph_hashes(table: ImageTable) -> str:
    """A hash of each photograph's identity, file name and size in bytes, 8 hexadecimal digits each, sorted and joined.

    If there are more than MOST_HASHES, only the smallest are kept, which is a random draw. Missing files are left out.
    """
    found = {
        hashlib.sha256(json.dumps([identity, path.name, path.stat().st_size]).encode()).hexdigest()[:8]
        for path, identity in zip(table.paths, table.identities, strict=True)
        if path.is_file()
    }
    return "".join(sorted(found)[:MOST_HASHES])


def content_hashes(paths: Iterable[Path]) -> list[str]:
    """A hash of the bytes of each file, 16 hexadecimal digits."""
    return [file_hash(path)[:16] for path in paths]


def split_hashes(joined: str) -> list[str]:
    """The hashes of `content_hashes` that stand one after the other in a text."""
    return [joined[at : at + 16] for at in range(0, len(joined), 16)]


@dataclass(frozen=True)
class Changed:
    """How many held-out photographs are those of a training, and how many came and went since."""

    known: int
    added: int
    removed: int

    @property
    def other_data(self) -> bool:
        """Whether more photographs were both added and removed than stayed: it is another data folder."""
        return 2 * self.known < self.known + min(self.added, self.removed)


def changed_photographs(stored: str, table: ImageTable) -> Changed:
    """Compare the held-out photographs of `table` with those of `stored`, which `photograph_hashes` returned."""
    then, now = ({text[i : i + 8] for i in range(0, len(text), 8)} for text in (stored, photograph_hashes(table)))
    full = [max(hashes) for hashes in (then, now) if len(hashes) == MOST_HASHES]
    then, now = ({one for one in hashes if one <= min(full, default="g")} for hashes in (then, now))
    return Changed(len(then & now), len(now - then), len(then - now))


def _check_share(share: float) -> None:
    if not 0 <= share <= 0.5:
        raise NoseprintError(f"hold-out share {share} is outside 0..0.5: 0.05 holds out 5 % of the identities")
