import shutil
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from noseprint.data.tables import PairTable, RetrievalTable
from noseprint.errors import NoseprintError
from noseprint.inference.labelled import Labelled, NothingToScoreError, read_labelled

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
        "pairs": {"same": 1, "different": 1, "images": 3, "identities": 3, "least_fmr": 30}
    }
    search = {"queries": 3, "gallery": 3, "identities": 3, "without_match": 1}
    assert labelled(retrieval=SEARCH).facts() == {"search": search}


def test_a_match_of_the_querys_encounter_is_none():
    table = RetrievalTable(SEARCH.paths, SEARCH.identities, SEARCH.is_query, ("x", "x", "x", "x", "x", "y"))
    assert labelled(retrieval=table).facts()["search"]["without_match"] == 2  # of 2 and of 3; 1 has one of y


@pytest.fixture
def data(demo, tmp_path):
    """Two photographs, a and b, of identity 1 and two, c and d, of 2; the others of the demo's folder are not named."""
    folder = Path(shutil.copytree(demo, tmp_path / "data"))
    for name, photo in zip("abcd", sorted((folder / "test" / "images").iterdir()), strict=False):
        photo.rename(photo.with_name(f"{name}.jpg"))
    write_pairs(folder, "ab1", "ac0", "bd0")
    write_search(folder, "a1", "b1", "c2", "d2")
    return folder


def write_pairs(data, *rows):
    lines = [f"{a}.jpg,{b}.jpg,{label}" for a, b, label in rows]
    (data / "test" / "labels.csv").write_text("\n".join(["imageA,imageB,label", *lines]))


def write_search(data, *rows, encounters=(), column="date"):
    """The first and the third are queries."""
    lines = [
        f"test,{'gallery' if n % 2 else 'query'},{identity},{name}.jpg,{encounter}"
        for n, ((name, identity), encounter) in enumerate(zip_longest(rows, encounters, fillvalue=""))
    ]
    (data / "retrieval.csv").write_text("\n".join([f"folder,role,identity,image,{column}", *lines]))


def test_a_pair_is_scored_once_and_a_photograph_not_against_itself(data):
    assert read_labelled(data).remarks == ()
    write_pairs(data, "aa1", "ab1", "ac0", "ba1", "ca0", "bd0", "ab1", "dd1", "aa1")
    found = read_labelled(data)
    assert found.pairs.image_a == ("a.jpg", "a.jpg", "b.jpg")
    assert found.pairs.image_b == ("b.jpg", "c.jpg", "d.jpg")
    assert found.same.tolist() == [True, False, False]
    assert found.facts()["pairs"]["different"] == 2
    repeated, itself = found.remarks
    assert repeated.startswith("3 rows of ")
    assert "3 rows of" in itself
    assert "such as a.jpg" in itself
    write_pairs(data, "aa1", "ac0")
    with pytest.raises(NoseprintError, match=r"labels\.csv: .*two different photographs"):
        read_labelled(data)


def test_labels_that_contradict_the_identities_are_told(data):
    write_pairs(data, "ac0", "bd1", "ab0", "cd1")
    (remark,) = read_labelled(data).remarks
    assert "of 4 pairs" in remark
    assert "2 have a label" in remark
    assert "first b.jpg and d.jpg: label 1, identities '1' and '2'" in remark
    write_search(data, "a1", "b1")
    (remark,) = read_labelled(data).remarks
    assert "of 1 pairs" in remark


@pytest.mark.parametrize(
    ("rows", "encounters", "column", "says"),
    [
        (("a1", "b1", "c2", "d2"), "xxxx", "Date", "by the column Date of"),
        (("a1", "b1", "c2", "d2"), "xxyy", "camera", "by the column camera of"),
        (("a1", "b3", "c2", "d4"), "xyxy", "date", "no gallery row with the identity of one of its 2 queries"),
    ],
)
def test_a_search_that_finds_nothing_leaves_the_pairs(data, rows, encounters, column, says):
    write_search(data, *rows, encounters=encounters, column=column)
    found = read_labelled(data)
    assert found.retrieval is None
    assert len(found.pairs)
    assert says in found.remarks[-1]
    assert str(data / "retrieval.csv") in found.remarks[-1]
    (data / "test" / "labels.csv").unlink()
    with pytest.raises(NothingToScoreError, match="Not searched"):
        read_labelled(data)


def test_an_encounter_that_is_not_told_is_one_of_its_own(data):
    write_search(data, "a1", "b1", "c2", "d2", encounters=("", "", "x", "x"))
    found = read_labelled(data)
    assert found.facts()["search"]["without_match"] == 1
    write_search(data, "a1", "b1", "c2", "d2")
    assert read_labelled(data).retrieval.encounters is None


def test_every_photograph_is_there_once(demo):
    found = read_labelled(demo)
    assert len(set(found.paths)) == len(found.paths)
    assert [found.paths[found.index[path]] for path in found.paths] == list(found.paths)
    assert found.facts()["search"]["without_match"] == 0
