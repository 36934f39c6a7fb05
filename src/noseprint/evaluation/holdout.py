"""Identities that are never trained on, and the scores they give."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError
from noseprint.evaluation.balanced import balanced_pairs
from noseprint.evaluation.metrics import roc_auc
from noseprint.evaluation.retrieval import retrieval_metrics
from noseprint.matching.pairs import row_similarities

_AT_LEAST = 8
MOST_MARKS = 4096
"""Photographs that weights carry a mark of: 32 KiB."""
HOLDOUT_SEED = (
    0  # one choice for every training, whatever its own seed: a stage must not train on what the next holds out
)


@dataclass(frozen=True)
class HoldoutScores:
    """ROC AUC on balanced pairs, Rank-1 and mAP (each image against all others), and the pairs for calibration."""

    auc: float
    rank_1: float
    map: float
    similarity: npt.NDArray[np.float32]
    same: npt.NDArray[np.bool_]
    identity_a: npt.NDArray[np.str_]
    identity_b: npt.NDArray[np.str_]


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


def evaluate_holdout(
    embeddings: npt.NDArray[np.float32],
    identities: Sequence[str],
    *,
    seed: int,
    max_pairs: int = 20_000,
    encounters: Sequence[str] | None = None,
) -> HoldoutScores:
    """Score embeddings (N, D) of held-out images; `identities` (N,). The pairs depend on the seed alone.

    Two photographs of one identity from one of `encounters` (N,) are near copies and flatter: they are no pair, and in
    the search neither right nor wrong.
    Raises NoseprintError where there is no same pair or no different one, or an embedding is not finite.
    """
    retrieval = retrieval_metrics(embeddings, identities, encounters=encounters)
    a, b, same = balanced_pairs(identities, seed=seed, max_pairs=max_pairs, encounters=encounters)
    similarity = row_similarities(embeddings, a, b)
    names = np.asarray(identities)
    auc = roc_auc(similarity, same)
    return HoldoutScores(auc, retrieval.rank_1, retrieval.map, similarity, same, names[a], names[b])


def holdout_mark(identities: Iterable[str]) -> str:
    """16 hexadecimal digits that tell one set of held-out identities from another."""
    return hashlib.sha256(json.dumps(sorted(set(identities))).encode()).hexdigest()[:16]


def photograph_marks(table: ImageTable) -> str:
    """8 hexadecimal digits of each photograph's identity, file name and size in bytes, sorted and strung together.

    Of more than MOST_MARKS the smallest ones, which are a draw; what is not there has none.
    """
    found = {
        hashlib.sha256(json.dumps([identity, path.name, path.stat().st_size]).encode()).hexdigest()[:8]
        for path, identity in zip(table.paths, table.identities, strict=True)
        if path.is_file()
    }
    return "".join(sorted(found)[:MOST_MARKS])


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
    """How the held-out photographs in `table` differ from those that `photograph_marks` gave `stored` for."""
    then, now = ({marks[i : i + 8] for i in range(0, len(marks), 8)} for marks in (stored, photograph_marks(table)))
    full = [max(marks) for marks in (then, now) if len(marks) == MOST_MARKS]
    then, now = ({mark for mark in marks if mark <= min(full, default="g")} for marks in (then, now))
    return Changed(len(then & now), len(now - then), len(then - now))


def _hash(identity: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{identity}".encode()).digest()
