"""What a data folder carries to score against."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.tables import (
    RETRIEVAL_HEADER,
    PairTable,
    RetrievalTable,
    contradicting_rows,
    encounter_column,
    read_labels,
    read_retrieval,
)
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.metrics.bootstrap import identity_clusters
from noseprint.metrics.verification import least_fmr


class NothingToScoreError(NoseprintError):
    """The data folder's tables leave nothing to score."""


@dataclass(frozen=True)
class Labelled:
    """What a data folder carries to score against: labelled test pairs, a search, or both; and their images.

    The pairs are distinct, (B, A) being (A, B), and of two images; `remarks` tell what was left out, and why.
    """

    pairs: PairTable | None
    same: npt.NDArray[np.bool_]
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    retrieval: RetrievalTable | None
    paths: tuple[Path, ...]
    index: dict[Path, int]
    remarks: tuple[str, ...] = ()

    def facts(self) -> dict[str, dict[str, int | float]]:
        """How much there is to score: counts of `pairs` and of the `search`, and the least FMR that `pairs` support.

        The search's `without_match` queries have no image of their identity in the gallery, from another encounter.
        """
        found: dict[str, dict[str, int | float]] = {}
        if self.pairs:
            different = int(np.sum(~self.same))
            found["pairs"] = {
                "same": len(self.same) - different,
                "different": different,
                "images": len(self.pairs.names()),
                "identities": len(np.unique(np.concatenate(self.clusters))),
                "least_fmr": least_fmr(different),
            }
        if table := self.retrieval:
            found["search"] = {
                "queries": sum(table.is_query),
                "gallery": len(table.paths) - sum(table.is_query),
                "identities": len(set(table.identities)),
                "without_match": _without_match(table),
            }
        return found


def read_labelled(data: Path) -> Labelled:
    """Read `data/test/labels.csv` and `data/retrieval.csv`. Raises NothingToScoreError where neither can be scored.

    The identities of the pairs' images, over which the bootstrap draws, come from retrieval.csv where it names them
    all, else from the pairs: images joined by same-pairs are one identity. A search in which no query has a match is
    left out, with a remark.
    """
    labels, retrieval = read_labels(data, "test"), read_retrieval(data)
    if labels is None and retrieval is None:
        raise NothingToScoreError(
            f"{data} carries no labels to score against: add test/labels.csv (imageA,imageB,label) "
            "or retrieval.csv (folder,role,identity,image)"
        )
    known = dict(zip(retrieval.paths, retrieval.identities, strict=True)) if retrieval else {}
    pairs, same, remarks = None, np.zeros(0, bool), list[str]()
    if labels:
        pairs, same, remarks = _distinct(*labels, table=data / "test" / "labels.csv")
        remarks += _contradicted(pairs, same, known)
    if retrieval and _without_match(retrieval) == sum(retrieval.is_query):
        remarks.append(_no_match(data / "retrieval.csv", retrieval))
        if pairs is None:
            raise NothingToScoreError(remarks[-1])
        retrieval = None
    paths: list[Path] = [pairs.folder / name for name in pairs.names()] if pairs else []
    paths += list(retrieval.paths) if retrieval else []
    paths = list(dict.fromkeys(paths))
    empty = np.zeros(0, np.intp)
    clusters = (empty, empty)
    if pairs:
        named = [[known.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
        if None in named[0] or None in named[1]:
            clusters = identity_clusters(pairs, same)
        else:
            number = {identity: i for i, identity in enumerate(dict.fromkeys(known.values()))}
            clusters = (np.array([number[i] for i in named[0] if i]), np.array([number[i] for i in named[1] if i]))
    index = {path: row for row, path in enumerate(paths)}
    return Labelled(pairs, same, clusters, retrieval, tuple(paths), index, tuple(remarks))


def _distinct(
    pairs: PairTable, same: Sequence[bool], *, table: Path
) -> tuple[PairTable, npt.NDArray[np.bool_], list[str]]:
    """Each pair of two images once, at its first row, whichever comes first in it; and remarks on the other rows."""
    couples = list(_couples(pairs))
    itself = [a == b for a, b in couples]
    seen = set[tuple[str, str]]()
    keep = []
    for a, b in couples:
        couple = (a, b) if a < b else (b, a)
        keep.append(a != b and couple not in seen)
        seen.add(couple)
    kept = np.array(same, bool)[keep]
    if len(set(kept)) < 2:
        problem = "a score needs pairs of both labels, 0 and 1, of two different photographs each"
        raise DataError([Fault(table, None, problem)])
    remarks = []
    if repeats := len(keep) - sum(keep) - sum(itself):
        remarks.append(f"{repeats} rows of {table} repeat a pair of an earlier row: each pair is scored once.")
    if any(itself):
        first = pairs.image_a[itself.index(True)]
        remarks.append(
            f"{sum(itself)} rows of {table} pair a photograph with itself, such as {first}: not scored, since every "
            "network calls them the same."
        )
    return pairs.where(keep), kept, remarks


def _contradicted(pairs: PairTable, same: npt.NDArray[np.bool_], known: Mapping[Path, str]) -> list[str]:
    """A remark on pairs whose label is not what retrieval.csv's identities say."""
    rows = contradicting_rows(pairs, same, known)
    if not rows:
        return []
    a, b = pairs.image_a[rows[0]], pairs.image_b[rows[0]]
    one, other = known[pairs.folder / a], known[pairs.folder / b]
    both = sum(pairs.folder / a in known and pairs.folder / b in known for a, b in _couples(pairs))
    return [
        f"Labels that contradict: of {both} pairs whose photographs retrieval.csv names, {len(rows)} have a label in "
        f"labels.csv that its identities deny, first {a} and {b}: label {int(same[rows[0]])}, "
        f"identities {one!r} and {other!r}. One of the two tables is wrong."
    ]


def _couples(pairs: PairTable) -> Iterator[tuple[str, str]]:
    return zip(pairs.image_a, pairs.image_b, strict=True)


def _without_match(table: RetrievalTable) -> int:
    """How many queries have no image of their identity in the gallery, from another encounter."""
    rows = list(zip(table.identities, table.encounters or table.paths, table.is_query, strict=True))
    images = Counter(identity for identity, _, is_query in rows if not is_query)
    junk = Counter((identity, encounter) for identity, encounter, is_query in rows if not is_query)
    return sum(is_query and images[i] == junk[i, e] for i, e, is_query in rows)


def _no_match(file: Path, table: RetrievalTable) -> str:
    """Why nothing is searched: the identities have no image in the gallery, or none of another encounter."""
    queries = sum(table.is_query)
    if _without_match(replace(table, encounters=None)) == queries:
        return (
            f"Not searched: {file} has no gallery row with the identity of one of its {queries} queries. "
            "Write identities alike in both roles, or add gallery photographs of theirs."
        )
    column = encounter_column(file, RETRIEVAL_HEADER)
    return (
        f"Not searched: by the column {column} of {file} all gallery photographs of the {queries} queries' identities "
        f"were taken together with the query. Correct {column}, or remove the column where it does not tell that."
    )
