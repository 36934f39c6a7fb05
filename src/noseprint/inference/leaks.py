"""What flatters a score: photographs that the networks learnt from, and near copies on both sides of a comparison.

Found are copies (saved again, shrunk, brightened, cropped a little), not other photographs of one scene.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from noseprint.data.decoding import find_faults
from noseprint.data.holdout import HOLDOUT_SEED, changed_photographs, holdout_hash, split_holdout
from noseprint.data.tables import RetrievalTable, read_pseudo, read_train
from noseprint.errors import NoseprintError
from noseprint.inference.labelled import Labelled
from noseprint.inspection.copies import find_copies
from noseprint.inspection.summaries import PhotoSummary, summarise
from noseprint.models.weights_header import read_header

Couple = tuple[Path, Path]


@dataclass(frozen=True)
class Leaks:
    """What was found among the photographs that are scored."""

    learnt: tuple[Path, ...] = ()
    """Learnt from themselves: in the training table, or under a pseudo-label."""
    copies: tuple[Couple, ...] = ()
    """A near copy of a photograph learnt from, and that photograph."""
    compared: tuple[Couple, ...] = ()
    """Near copies of one another that are compared: in a test pair, or as a query and an image of the gallery."""

    def to_json(self) -> dict[str, list[object]]:
        """The same, photographs as text."""
        return {
            "learnt": [str(path) for path in self.learnt],
            "copies": [[str(path) for path in couple] for couple in self.copies],
            "compared": [[str(path) for path in couple] for couple in self.compared],
        }


def of_training(data: Path, weights: Iterable[Path]) -> bool:
    """Whether networks were, as far as their weights tell, trained on `data`.

    They were not where it has no training photographs, its table holds out other identities than a network did, or
    other photographs of them (see `changed_photographs`).
    """
    if not ((data / "train" / "train_data.csv").is_file() and (data / "train" / "images").is_dir()):
        return False
    table = read_train(data, missing_ok=True)
    for extra in [read_header(path).extra for path in weights if path.is_file()]:
        mark, share = extra.get("held_out"), json.loads(extra.get("training", "{}")).get("holdout")
        if not (mark and share):
            continue
        try:
            names = split_holdout(table.identities, share=share, seed=HOLDOUT_SEED)
        except NoseprintError:  # too few identities
            return False
        held_out = table.where(identity in names for identity in table.identities)
        if (marks := extra.get("held_out_photographs")) and changed_photographs(marks, held_out).other_data:
            return False
        if holdout_hash(names) != mark:  # a training leaves out, with --skip-bad, what cannot be read
            broken = {fault.file for fault in find_faults(held_out.paths)}
            if holdout_hash(held_out.where(path not in broken for path in held_out.paths).identities) != mark:
                return False
    return True


def learnt_from(data: Path, pseudo: Path) -> tuple[Path, ...]:
    """The photographs of the training table of `data` and of the pseudo-labels in `pseudo`, where `data` has such.

    For networks that were trained on `data`: see `of_training`.
    """
    tables = [(data / "train" / "train_data.csv", "train"), (pseudo, "validation")]
    known = [split for table, split in tables if table.is_file() and (data / split / "images").is_dir()]
    paths = read_train(data, missing_ok=True).paths if "train" in known else ()
    return paths + (read_pseudo(pseudo, data, missing_ok=True).paths if "validation" in known else ())


def find_leaks(labelled: Labelled, learnt: Sequence[Path]) -> Leaks:
    """Look at every photograph that is scored or `learnt` from for near copies: milliseconds and 5 KB each.

    What cannot be decoded is passed over.
    """
    scored, taught = set(labelled.paths), set(learnt)
    others = tuple(path for path in dict.fromkeys(learnt) if path not in scored)
    seen = zip(others + labelled.paths, summarise(others + labelled.paths), strict=True)
    looks = {path: look for path, look in seen if isinstance(look, PhotoSummary)}
    pairs, table = labelled.pairs, labelled.retrieval
    asked = {frozenset(couple) for couple in _couples(labelled)} if pairs else set()
    is_query = dict(zip(table.paths, table.is_query, strict=True)) if table else {}
    copies: dict[Path, Path] = {}
    compared = []
    for one, other in _near_copies(looks, known=sum(path in looks for path in others)):
        if (one in taught) != (other in taught):
            copy, original = (other, one) if one in taught else (one, other)
            copies.setdefault(copy, original)
        searched = one in is_query and other in is_query and is_query[one] != is_query[other]
        if searched or frozenset((one, other)) in asked:
            compared.append((one, other))
    return Leaks(tuple(path for path in labelled.paths if path in taught), tuple(copies.items()), tuple(compared))


def without(
    labelled: Labelled, *, photographs: Collection[Path] = (), compared: Sequence[Couple] = ()
) -> tuple[Labelled, npt.NDArray[np.bool_]]:
    """What is left to score without `photographs` and without comparing `compared`; the test pairs (P,) that stay.

    A query and an image of the gallery that are not to be compared become of one encounter. Where too little is left
    to score, the pairs or the search are None.
    """
    left_out, apart = set(photographs), {frozenset(couple) for couple in compared}
    keep = np.array(
        [left_out.isdisjoint(couple) and frozenset(couple) not in apart for couple in _couples(labelled)], bool
    )
    table = labelled.retrieval
    if table:
        table = table.where(path not in left_out for path in table.paths)
        table = replace(table, encounters=_joined_encounters(table, compared)) if compared else table
    rest = replace(
        labelled,
        pairs=labelled.pairs.where(keep) if labelled.pairs and len(set(labelled.same[keep])) == 2 else None,
        same=labelled.same[keep],
        clusters=(labelled.clusters[0][keep], labelled.clusters[1][keep]),
        retrieval=table,
    )
    counts = rest.facts().get("search", {})
    return (rest if counts.get("queries") != counts.get("without_match") else replace(rest, retrieval=None)), keep


def _couples(labelled: Labelled) -> Iterator[Couple]:
    """The two images of each test pair."""
    if pairs := labelled.pairs:
        for a, b in zip(pairs.image_a, pairs.image_b, strict=True):
            yield pairs.folder / a, pairs.folder / b


def _near_copies(looks: Mapping[Path, PhotoSummary], *, known: int) -> Iterator[Couple]:
    """Every two photographs that are copies, in the order of `looks`; two of the first `known` may be passed over."""
    paths = list(looks)
    equal: dict[bytes, list[int]] = defaultdict(list)  # find_copies compares the first of equal ones only
    for place, look in enumerate(looks.values()):
        equal[look.digest].append(place)
    found = {
        (i, j)
        for copy in find_copies(list(looks.values()), known=known)
        for one, other in product(*(equal[looks[paths[place]].digest] for place in (copy.first, copy.second)))
        for i, j in [sorted((one, other))]
        if i < j
    }
    return ((paths[i], paths[j]) for i, j in sorted(found))


def _joined_encounters(table: RetrievalTable, compared: Sequence[Couple]) -> tuple[str, ...]:
    """Encounters of the table's images, those of two `compared` ones made one."""
    encounters = table.encounters or tuple(map(str, table.paths))
    key = dict(zip(table.paths, zip(table.identities, encounters, strict=True), strict=True))
    groups = DisjointSet(key.values())
    for one, other in compared:
        if one in key and other in key:
            groups.merge(key[one], key[other])
    return tuple(repr(groups[key[path]]) for path in table.paths)
