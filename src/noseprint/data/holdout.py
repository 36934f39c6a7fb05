"""Identities that are never trained on, and the scores they give."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError

_AT_LEAST = 8
MOST_HASHES = 4096
"""Photographs that weights carry a mark of: 32 KiB."""
HOLDOUT_SEED = (
    0  # one choice for every training, whatever its own seed: a stage must not train on what the next holds out
)


def split_holdout(identities: Sequence[str], *, share: float, seed: int) -> set[str]:
    """The identities to hold out; `identities` (N,) names the identity of every image.

    Chosen among the M identities with two images or more, by the smallest hashes of (seed, identity):
    max(round(share * M), 8) of them, but at most a third of M. So neither the order of the rows nor further images of
    these identities change the choice, a further identity moves at most a few, and a larger share holds out the same
    identities and more. share 0 holds out none. An identity is held out whole, whatever its encounters.

    Raises NoseprintError for a share outside [0, 0.5], and where fewer than two could be held out.
    """
    if not 0 <= share <= 0.5:
        raise NoseprintError(f"hold-out share {share} is outside 0..0.5: 0.05 holds out 5 % of the identities")
    if share == 0:
        return set()
    eligible = [identity for identity, images in Counter(identities).items() if images >= 2]
    number = min(max(round(share * len(eligible)), _AT_LEAST), len(eligible) // 3)
    if number < 2:
        raise NoseprintError(
            f"{len(eligible)} identities have two images or more, a hold-out needs at least 6: "
            "add photographs, or train on all with a hold-out share of 0"
        )
    return set(sorted(eligible, key=lambda identity: (_hash(identity, seed), identity))[:number])


def require_scorable(identities: Sequence[str], *, share: float, encounters: Sequence[str] | None = None) -> None:
    """Refuse a hold-out, `identities` (N,) of its images, of which too little is left to score it: see `usable`.

    Raises NoseprintError unless two identities have two images (of two of `encounters` (N,), where these are known), or
    `share` is 0.
    """
    apart = Counter(identities if encounters is None else (i for i, _ in set(zip(identities, encounters, strict=True))))
    if share > 0 and sum(images >= 2 for images in apart.values()) < 2:
        by = "photographs of two encounters (mend or remove train_data.csv's column encounter, date or camera)"
        what = "photographs" if encounters is None else by
        raise NoseprintError(
            f"of the identities held out, too few {what} can be used to score a training: mend the broken ones, or "
            "train on all identities with --holdout 0, which keeps the last epoch and calibrates nothing"
        )


def holdout_hash(identities: Iterable[str]) -> str:
    """16 hexadecimal digits that tell one set of held-out identities from another."""
    return hashlib.sha256(json.dumps(sorted(set(identities))).encode()).hexdigest()[:16]


def photograph_hashes(table: ImageTable) -> str:
    """8 hexadecimal digits of each photograph's identity, file name and size in bytes, sorted and strung together.

    Of more than MOST_HASHES the smallest ones, which are a draw; what is not there has none.
    """
    found = {
        hashlib.sha256(json.dumps([identity, path.name, path.stat().st_size]).encode()).hexdigest()[:8]
        for path, identity in zip(table.paths, table.identities, strict=True)
        if path.is_file()
    }
    return "".join(sorted(found)[:MOST_HASHES])


@dataclass(frozen=True)
class Changed:
    """How the held-out photographs differ from those of a training; of many, among a draw of them."""

    known: int
    added: int
    removed: int

    @property
    def other_data(self) -> bool:
        """Fewer than half of either side's are the other's: photographs came or went, but not most on both sides."""
        return 2 * self.known < self.known + min(self.added, self.removed)


def changed_photographs(stored: str, table: ImageTable) -> Changed:
    """How the held-out photographs in `table` differ from those that `photograph_hashes` gave `stored` for."""
    then, now = ({marks[i : i + 8] for i in range(0, len(marks), 8)} for marks in (stored, photograph_hashes(table)))
    full = [max(marks) for marks in (then, now) if len(marks) == MOST_HASHES]
    then, now = ({mark for mark in marks if mark <= min(full, default="g")} for marks in (then, now))
    return Changed(len(then & now), len(now - then), len(then - now))


def _hash(identity: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{identity}".encode()).digest()
