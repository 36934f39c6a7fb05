from pathlib import Path

import numpy as np

from noseprint.data.tables import PairTable, RetrievalTable
from noseprint.evaluation.labelled import Labelled, read_labelled

SEARCH = RetrievalTable(
    paths=tuple(map(Path, "abcdef")),
    identities=("1", "1", "2", "2", "3", "1"),
    is_query=(True, False, True, False, True, False),
)


def labelled(pairs=None, same=(), retrieval=None):
    rows = np.arange(len(same))
    return Labelled(pairs, np.array(same, bool), (rows, rows + 1), retrieval, SEARCH.paths, {})


def test_the_facts_count_what_there_is():
    assert labelled(PairTable(Path(), ("a", "b"), ("b", "c")), (True, False)).facts() == {
        "pairs": {"same": 1, "different": 1, "images": 3, "identities": 3, "least_far": 30}
    }
    search = {"queries": 3, "gallery": 3, "identities": 3, "without_match": 1}
    assert labelled(retrieval=SEARCH).facts() == {"search": search}


def test_a_match_of_the_querys_encounter_is_none():
    table = RetrievalTable(SEARCH.paths, SEARCH.identities, SEARCH.is_query, ("x", "x", "x", "x", "x", "y"))
    assert labelled(retrieval=table).facts()["search"]["without_match"] == 2  # of 2 and of 3; 1 has one of y


def test_every_photograph_is_there_once(demo):
    found = read_labelled(demo)
    assert len(set(found.paths)) == len(found.paths)
    assert [found.paths[found.index[path]] for path in found.paths] == list(found.paths)
    assert found.facts()["search"]["without_match"] == 0
