"""What a data folder carries to score against."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.tables import PairTable, RetrievalTable, read_labels, read_retrieval
from noseprint.errors import NoseprintError
from noseprint.evaluation.intervals import identity_clusters
from noseprint.evaluation.metrics import least_far


@dataclass(frozen=True)
class Labelled:
    """What a data folder carries to score against: labelled test pairs, a search, or both; and their images."""

    pairs: PairTable | None
    same: npt.NDArray[np.bool_]
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    retrieval: RetrievalTable | None
    paths: tuple[Path, ...]
    index: dict[Path, int]

    def facts(self) -> dict[str, dict[str, int | float]]:
        """How much there is to score: counts of `pairs` and of the `search`, and the least FAR that `pairs` support.

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
                "least_far": least_far(different),
            }
        if table := self.retrieval:
            met = table.encounters or table.paths
            rows = list(zip(table.identities, met, table.is_query, strict=True))
            images = Counter(identity for identity, _, is_query in rows if not is_query)
            junk = Counter((identity, encounter) for identity, encounter, is_query in rows if not is_query)
            found["search"] = {
                "queries": sum(table.is_query),
                "gallery": len(rows) - sum(table.is_query),
                "identities": len(set(table.identities)),
                "without_match": sum(q and images[i] == junk[i, e] for i, e, q in rows),
            }
        return found


def read_labelled(data: Path) -> Labelled:
    """Read `data/test/labels.csv` and `data/retrieval.csv`. Raises NoseprintError where there is neither.

    The identities of the pairs' images, over which the bootstrap draws, come from retrieval.csv where it names them
    all, else from the pairs: images joined by same-pairs are one identity.
    """
    labels, retrieval = read_labels(data, "test"), read_retrieval(data)
    if labels is None and retrieval is None:
        raise NoseprintError(
            f"{data} carries no labels to score against: add test/labels.csv (imageA,imageB,label) "
            "or retrieval.csv (folder,role,identity,image)"
        )
    pairs, same = labels if labels else (None, ())
    paths: list[Path] = [pairs.folder / name for name in pairs.names()] if pairs else []
    paths += list(retrieval.paths) if retrieval else []
    paths = list(dict.fromkeys(paths))
    empty = np.zeros(0, np.intp)
    clusters = (empty, empty)
    if pairs:
        known = dict(zip(retrieval.paths, retrieval.identities, strict=True)) if retrieval else {}
        named = [[known.get(pairs.folder / name) for name in side] for side in (pairs.image_a, pairs.image_b)]
        if None in named[0] or None in named[1]:
            clusters = identity_clusters(pairs, np.array(same))
        else:
            number = {identity: i for i, identity in enumerate(dict.fromkeys(known.values()))}
            clusters = (np.array([number[i] for i in named[0] if i]), np.array([number[i] for i in named[1] if i]))
    return Labelled(
        pairs, np.array(same, bool), clusters, retrieval, tuple(paths), {path: row for row, path in enumerate(paths)}
    )
