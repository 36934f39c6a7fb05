"""The labels of a data folder: the test pairs and the search that networks are scored on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.encounters import only_value
from noseprint.data.names import alike_groups, alike_text, count_text
from noseprint.data.tables import (
    PairTable,
    RetrievalTable,
    contradicting_rows,
    read_labels,
    read_retrieval,
)
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.metrics.identity_clusters import identity_clusters
from noseprint.metrics.verification import least_fmr


class NothingToScoreError(NoseprintError):
    """The data folder has no labels, or none that can be scored."""


@dataclass(frozen=True)
class LabelledData:
    """Labelled test pairs, a search, or both, and their images.

    Each pair joins two different images and stands here once, whichever image is named first. `clusters` (P,), (P,) are
    the identities of the two images of each pair, numbered, for the bootstrap. `index` maps each of `paths` to its
    position. `remarks` say what was left out, and why.
    """

    pairs: PairTable | None
    same: npt.NDArray[np.bool_]
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    retrieval: RetrievalTable | None
    paths: tuple[Path, ...]
    index: dict[Path, int]
    remarks: tuple[str, ...] = ()

    def counts(self) -> dict[str, dict[str, int | float]]:
        """Counts under `pairs` and `search`; `least_fmr` is the lowest false match rate that the pairs support.

        `without_match` counts the queries whose identity has no gallery image from another encounter; `same_encounter`,
        where encounters are known, those of them whose identity has only images from the same one.
        """
        counts: dict[str, dict[str, int | float]] = {}
        if self.pairs:
            different = int(np.sum(~self.same))
            counts["pairs"] = {
                "same": len(self.same) - different,
                "different": different,
                "images": len(self.pairs.names()),
                "identities": len(np.unique(np.concatenate(self.clusters))),
                "least_fmr": least_fmr(different),
            }
        if table := self.retrieval:
            counts["search"] = {
                "queries": sum(table.is_query),
                "gallery": sum(table.is_gallery),
                "identities": len(set(table.identities)),
                "without_match": _without_match(table),
            }
            if table.encounters:
                counts["search"]["same_encounter"] = _without_match(table) - _without_match(
                    replace(table, encounters=None)
                )
        return counts


def read_labelled_data(data: Path, *, missing_ok: bool = False) -> LabelledData:
    """Read `data/test/labels.csv` and `data/retrieval.csv`.

    The identities of the pairs' images come from retrieval.csv if it names all of these images. Otherwise images that
    are joined by same-pairs are one identity. A search in which no query has a match is left out, with a remark.
    missing_ok: as for `read_train`.

    Raises:
        NothingToScoreError: Neither table exists, or neither can be scored.

    """
    labels, retrieval = read_labels(data, "test", missing_ok=missing_ok), read_retrieval(data, missing_ok=missing_ok)
    if labels is None and retrieval is None:
        raise NothingToScoreError(
            f"{data} has no labels to score against: add test/labels.csv (imageA,imageB,label) "
            "or retrieval.csv (folder,role,identity,image)"
        )
    identity_of = dict(zip(retrieval.paths, retrieval.identities, strict=True)) if retrieval else {}
    pairs, same, remarks = None, np.zeros(0, bool), list[str]()
    if labels:
        pairs, same, remarks = _distinct_pairs(*labels, table=data / "test" / "labels.csv")
        remarks += _contradictions(pairs, same, identity_of)
    if retrieval:
        remarks += _name_remarks(data / "retrieval.csv", retrieval)
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
        named = [[identity_of.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
        if None in named[0] or None in named[1]:
            clusters = identity_clusters(pairs, same)
        else:
            number = {identity: i for i, identity in enumerate(dict.fromkeys(identity_of.values()))}
            clusters = (np.array([number[i] for i in named[0] if i]), np.array([number[i] for i in named[1] if i]))
    index = {path: row for row, path in enumerate(paths)}
    return LabelledData(pairs, same, clusters, retrieval, tuple(paths), index, tuple(remarks))


def _distinct_pairs(
    pairs: PairTable, same: Sequence[bool], *, table: Path
) -> tuple[PairTable, npt.NDArray[np.bool_], list[str]]:
    """The first row of each pair of two different images, in either order, and remarks on the other rows."""
    couples = list(zip(pairs.image_a, pairs.image_b, strict=True))
    self_pairs = [a == b for a, b in couples]
    seen = set[frozenset[str]]()
    keep = []
    for couple in map(frozenset, couples):
        keep.append(len(couple) == 2 and couple not in seen)
        seen.add(couple)
    kept_labels = np.array(same, bool)[keep]
    if len(set(kept_labels)) < 2:
        problem = "scoring needs pairs with label 0 and pairs with label 1, each of two different photographs"
        raise DataError([Fault(table, None, problem)])
    remarks = []
    if repeats := len(keep) - sum(keep) - sum(self_pairs):
        remarks.append(f"{repeats} rows of {table} repeat the pair of an earlier row. Each pair is scored once.")
    if any(self_pairs):
        first = pairs.image_a[self_pairs.index(True)]
        remarks.append(
            f"{sum(self_pairs)} rows of {table} pair a photograph with itself, such as {first}. They are not scored: "
            "every network calls such pairs the same."
        )
    return pairs.where(keep), kept_labels, remarks


def _contradictions(pairs: PairTable, same: npt.NDArray[np.bool_], identity_of: Mapping[Path, str]) -> list[str]:
    """A remark on pairs whose label contradicts the identities in retrieval.csv, if there are any."""
    rows = contradicting_rows(pairs, same, identity_of)
    if not rows:
        return []
    named = sum(
        pairs.folder / a in identity_of and pairs.folder / b in identity_of
        for a, b in zip(pairs.image_a, pairs.image_b, strict=True)
    )
    a, b = pairs.image_a[rows[0]], pairs.image_b[rows[0]]
    identity_a, identity_b = identity_of[pairs.folder / a], identity_of[pairs.folder / b]
    return [
        f"Contradicting labels: {len(rows)} of the {named} pairs in labels.csv whose photographs retrieval.csv names "
        f"have another label than their identities imply. The first is {a} and {b}: label {int(same[rows[0]])}, "
        f"identities {identity_a!r} and {identity_b!r}. One of the two tables is wrong."
    ]


def _without_match(table: RetrievalTable) -> int:
    """Count the queries whose identity has no gallery image from another encounter."""
    rows = list(zip(table.identities, table.encounters or table.paths, table.is_query, strict=True))
    gallery = [row for row, is_in_gallery in zip(rows, table.is_gallery, strict=True) if is_in_gallery]
    images = Counter(identity for identity, *_ in gallery)
    junk = Counter((identity, encounter) for identity, encounter, _ in gallery)
    return sum(is_query and images[i] == junk[i, e] for i, e, is_query in rows)


def _name_remarks(file: Path, table: RetrievalTable) -> list[str]:
    """Remarks on identities that are missing, and on those whose names are alike."""
    remarks = []
    if table.unknown:
        remarks.append(
            f"Not searched: {len(table.unknown)} photographs of {file}, whose individual is not known: "
            f"{count_text(table.unknown.values())}."
        )
    if alike := alike_groups(table.identities):
        remarks.append(
            f"Alike names in {file} are scored as different individuals: {alike_text(alike)}. Give each individual one "
            "name."
        )
    return remarks


def _no_match(file: Path, table: RetrievalTable) -> str:
    """Why no query has a match: its identity has no gallery image, or none from another encounter."""
    queries = sum(table.is_query)
    if _without_match(replace(table, encounters=None)) == queries:
        return (
            f"Not searched: no gallery row of {file} has the identity of any of its {queries} queries. "
            "Spell identities the same way in both roles, or add gallery photographs of the queries' identities."
        )
    column = table.encounter_column
    constant = only_value(table.encounters, column=column)
    return (
        f"Not searched: according to the column {column} of {file}, all gallery photographs of the {queries} queries' "
        f"identities were taken in the same encounter as the query{f' ({constant})' if constant else ''}. Correct "
        f"{column}, or remove the column if it does not mean that."
    )
