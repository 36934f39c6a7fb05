"""What can inflate a score: photographs that the networks learned from, and near copies on both sides of a comparison.

Near copies are one photograph saved twice (recompressed, resized, brightened, slightly cropped), not two photographs of
the same scene.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from noseprint.data.decoding import find_faults
from noseprint.data.holdout import HOLDOUT_SEED, changed_photographs, held_out_fewer, holdout_hash, split_holdout
from noseprint.data.tables import RetrievalTable, read_pseudo, read_train
from noseprint.errors import NoseprintError
from noseprint.inference.labelled_data import LabelledData
from noseprint.inspection.copies import find_copies
from noseprint.inspection.summaries import PhotoSummary, summarise
from noseprint.models.weights_header import read_header

Couple = tuple[Path, Path]


@dataclass(frozen=True)
class Leaks:
    """Leaks among the photographs that are scored."""

    learned: tuple[Path, ...] = ()
    """Photographs that the networks learned from: in the training table, or pseudo-labelled."""
    copies: tuple[Couple, ...] = ()
    """A near copy of a photograph learned from, and that photograph."""
    compared: tuple[Couple, ...] = ()
    """Near copies that are compared with each other: in a test pair, or as a query and a gallery image."""

    def to_json(self) -> dict[str, list[object]]:
        """The fields as JSON, paths as text."""
        return {
            "learned": [str(path) for path in self.learned],
            "copies": [[str(path) for path in couple] for couple in self.copies],
            "compared": [[str(path) for path in couple] for couple in self.compared],
        }


def trained_on(data: Path, weights: Iterable[Path]) -> bool:
    """Whether the networks were trained on `data`, judging by their weights' headers.

    They were not if `data` has no training photographs, if its table yields other hold-out identities than a header
    names, or if most photographs of these identities changed (see `changed_photographs`).
    """
    if not ((data / "train" / "train_data.csv").is_file() and (data / "train" / "images").is_dir()):
        return False
    table = read_train(data, missing_ok=True)
    for header in [read_header(path) for path in weights if path.is_file()]:
        identities_hash, share = header.extra.get("held_out"), header.holdout_share
        if not (identities_hash and share):
            continue
        try:
            names = split_holdout(table.identities, share=share, seed=HOLDOUT_SEED)
        except NoseprintError:  # too few identities
            return False
        held_out = table.where(identity in names for identity in table.identities)
        photograph_hashes = header.extra.get("held_out_photographs")
        if photograph_hashes and changed_photographs(photograph_hashes, held_out).other_data:
            return False
        if held_out_fewer(table.identities, share=share, recorded=identities_hash):  # by version 0.1
            continue
        if holdout_hash(names) != identities_hash:  # a training with --skip-bad left out unreadable photographs
            broken = {fault.file for fault in find_faults(held_out.paths)}
            readable = held_out.where(path not in broken for path in held_out.paths)
            if holdout_hash(readable.identities) != identities_hash:
                return False
    return True


def learned_photographs(data: Path, pseudo: Path) -> tuple[Path, ...]:
    """The photographs in the training table of `data` and in the pseudo-labels of `pseudo`, if `data` has their images.

    Networks learned from these if they were trained on `data` (see `trained_on`).
    """
    tables = [(data / "train" / "train_data.csv", "train"), (pseudo, "validation")]
    splits = [split for table, split in tables if table.is_file() and (data / split / "images").is_dir()]
    paths = read_train(data, missing_ok=True).paths if "train" in splits else ()
    return paths + (read_pseudo(pseudo, data, missing_ok=True).paths if "validation" in splits else ())


def find_leaks(labelled: LabelledData, learned: Sequence[Path]) -> Leaks:
    """Search the scored photographs and the `learned` ones for near copies. Takes milliseconds and 5 KB for each.

    Photographs that cannot be decoded are ignored.
    """
    scored, learned_set = set(labelled.paths), set(learned)
    learned_only = tuple(path for path in dict.fromkeys(learned) if path not in scored)
    everything = learned_only + labelled.paths
    summaries = {
        path: summary
        for path, summary in zip(everything, summarise(everything), strict=True)
        if isinstance(summary, PhotoSummary)
    }
    table = labelled.retrieval
    pairs = {frozenset(couple) for couple in _couples(labelled)}
    queries = {path for path, is_query in zip(table.paths, table.is_query, strict=True) if is_query} if table else set()
    gallery = {path for path, is_in in zip(table.paths, table.is_gallery, strict=True) if is_in} if table else set()
    copies: dict[Path, Path] = {}
    compared = []
    for a, b in _near_copies(summaries, known=sum(path in summaries for path in learned_only)):
        if (a in learned_set) != (b in learned_set):
            copy, original = (b, a) if a in learned_set else (a, b)
            copies.setdefault(copy, original)
        searched = (a in queries and b in gallery) or (b in queries and a in gallery)
        if searched or frozenset((a, b)) in pairs:
            compared.append((a, b))
    return Leaks(tuple(path for path in labelled.paths if path in learned_set), tuple(copies.items()), tuple(compared))


def leave_out(
    labelled: LabelledData, *, photographs: Collection[Path] = (), compared: Sequence[Couple] = ()
) -> tuple[LabelledData, npt.NDArray[np.bool_]]:
    """Remove `photographs` and the comparisons of `compared` couples from `labelled`.

    A query and a gallery image that must not be compared are put into one encounter. Pairs or search become None if
    too little of them is left to score.

    Returns:
        The rest, and which of the test pairs (P,) are in it.

    """
    removed, uncompared = set(photographs), {frozenset(couple) for couple in compared}
    keep = np.array(
        [removed.isdisjoint(couple) and frozenset(couple) not in uncompared for couple in _couples(labelled)], bool
    )
    table = labelled.retrieval
    if table:
        table = table.where(path not in removed for path in table.paths)
        table = replace(table, encounters=_merged_encounters(table, compared)) if compared else table
    rest = replace(
        labelled,
        pairs=labelled.pairs.where(keep) if labelled.pairs and len(set(labelled.same[keep])) == 2 else None,
        same=labelled.same[keep],
        clusters=(labelled.clusters[0][keep], labelled.clusters[1][keep]),
        retrieval=table,
    )
    search = rest.counts().get("search", {})
    if search.get("queries") == search.get("without_match"):
        rest = replace(rest, retrieval=None)
    return rest, keep


def _couples(labelled: LabelledData) -> Iterator[Couple]:
    """The two images of each test pair."""
    if pairs := labelled.pairs:
        for a, b in zip(pairs.image_a, pairs.image_b, strict=True):
            yield pairs.folder / a, pairs.folder / b


def _near_copies(summaries: Mapping[Path, PhotoSummary], *, known: int) -> Iterator[Couple]:
    """All couples of near copies, in the order of `summaries`; couples among the first `known` may be missing."""
    paths = list(summaries)
    equal: dict[bytes, list[int]] = defaultdict(list)  # find_copies compares only the first of equal photographs
    for row, summary in enumerate(summaries.values()):
        equal[summary.digest].append(row)
    couples = {
        (min(a, b), max(a, b))
        for copy in find_copies(list(summaries.values()), known=known)
        for a, b in product(*(equal[summaries[paths[row]].digest] for row in (copy.first, copy.second)))
        if a != b
    }
    return ((paths[a], paths[b]) for a, b in sorted(couples))


def _merged_encounters(table: RetrievalTable, compared: Sequence[Couple]) -> tuple[str, ...]:
    """The encounter of each image in the table; encounters that share a `compared` couple become one."""
    encounters = table.encounters or tuple(map(str, table.paths))
    key = dict(zip(table.paths, zip(table.identities, encounters, strict=True), strict=True))
    groups = DisjointSet(key.values())
    for a, b in compared:
        if a in key and b in key:
            groups.merge(key[a], key[b])
    return tuple(repr(groups[key[path]]) for path in table.paths)
