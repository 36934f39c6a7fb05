import shutil
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from noseprint.data.tables import PairTable, RetrievalTable
from noseprint.errors import NoseprintError
from noseprint.inference.labelled_data import LabelledData, NothingToScoreError, read_labelled_data

SEARCH = RetrievalTable(
    paths=tuple(map(Path, "abcdef")),
    identities=("1", "1", "2", "2", "3", "1"),
    is_query=(True, False, True, False, True, False),
)


def labelled(pairs=None, same=(), retrieval=None):
    rows = np.arange(len(same))
    return LabelledData(pairs, np.array(same, bool), (rows, rows + 1), retrieval, SEARCH.paths, {})


def test_counts_of_pairs_and_search():
    assert labelled(PairTable(Path(), ("a", "b"), ("b", "c")), (True, False)).counts() == {
        "pairs": {"same": 1, "different": 1, "images": 3, "identities": 3, "least_fmr": 30}
    }
    search = {"queries": 3, "gallery": 3, "identities": 3, "without_match": 1}
    assert labelled(retrieval=SEARCH).counts() == {"search": search}


def test_a_gallery_image_from_the_query_encounter_is_no_match():
    table = RetrievalTable(SEARCH.paths, SEARCH.identities, SEARCH.is_query, ("x", "x", "x", "x", "x", "y"))
    assert labelled(retrieval=table).counts()["search"]["without_match"] == 2


@pytest.fixture
def data(demo, tmp_path):
    """Photographs a and b show identity 1, c and d show identity 2; no table names the rest of the demo folder."""
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


def test_a_pair_is_scored_once_and_self_pairs_are_not_scored(data):
    assert read_labelled_data(data).remarks == ()
    write_pairs(data, "aa1", "ab1", "ac0", "ba1", "ca0", "bd0", "ab1", "dd1", "aa1")
    found = read_labelled_data(data)
    assert found.pairs.image_a == ("a.jpg", "a.jpg", "b.jpg")
    assert found.pairs.image_b == ("b.jpg", "c.jpg", "d.jpg")
    assert found.same.tolist() == [True, False, False]
    assert found.counts()["pairs"]["different"] == 2
    repeated, self_pairs = found.remarks
    assert repeated.startswith("3 rows of ")
    assert self_pairs.startswith("3 rows of ")
    assert "such as a.jpg" in self_pairs
    write_pairs(data, "aa1", "ac0")
    with pytest.raises(NoseprintError, match=r"labels\.csv: .*two different photographs"):
        read_labelled_data(data)


def test_labels_that_contradict_the_identities_are_reported(data):
    write_pairs(data, "ac0", "bd1", "ab0", "cd1")
    (remark,) = read_labelled_data(data).remarks
    assert "2 of the 4 pairs" in remark
    assert "The first is b.jpg and d.jpg: label 1, identities '1' and '2'" in remark
    write_search(data, "a1", "b1")
    (remark,) = read_labelled_data(data).remarks
    assert "1 of the 1 pairs" in remark


@pytest.mark.parametrize(
    ("rows", "encounters", "column", "message"),
    [
        (("a1", "b1", "c2", "d2"), "xxxx", "Date", "according to the column Date of"),
        (("a1", "b1", "c2", "d2"), "xxyy", "camera", "according to the column camera of"),
        (("a1", "b1", "c2", "d2"), "xxxx", "camera", "the column 'camera' has one value only, 'x'"),
        (("a1", "b3", "c2", "d4"), "xyxy", "date", "has the identity of any of its 2 queries"),
    ],
)
def test_a_search_without_matches_is_left_out(data, rows, encounters, column, message):
    write_search(data, *rows, encounters=encounters, column=column)
    found = read_labelled_data(data)
    assert found.retrieval is None
    assert len(found.pairs)
    assert message in found.remarks[-1]
    assert str(data / "retrieval.csv") in found.remarks[-1]
    (data / "test" / "labels.csv").unlink()
    with pytest.raises(NothingToScoreError, match="Not searched"):
        read_labelled_data(data)


def test_images_without_an_encounter_are_encounters_of_their_own(data):
    write_search(data, "a1", "b1", "c2", "d2", encounters=("", "", "x", "x"))
    found = read_labelled_data(data)
    assert found.counts()["search"]["without_match"] == 1
    write_search(data, "a1", "b1", "c2", "d2")
    assert read_labelled_data(data).retrieval.encounters is None


def test_a_query_finds_neither_itself_nor_its_encounter(data):
    folder = data / "test" / "images"
    write_search(data, "a1", "b1", "c2", "d2")
    table = (data / "retrieval.csv").read_text().replace("query", "both").replace("gallery", "both")
    (data / "retrieval.csv").write_text(table.replace("both,2,d.jpg", "both,3,d.jpg"))
    counts = read_labelled_data(data).counts()["search"]
    assert counts == {"queries": 4, "gallery": 4, "identities": 3, "without_match": 2}
    (data / "retrieval.csv").write_text(table.replace("a.jpg,", "a.jpg,x").replace("b.jpg,", "b.jpg,x"))
    counts = read_labelled_data(data).counts()["search"]
    assert (counts["without_match"], counts["same_encounter"]) == (2, 2)
    assert read_labelled_data(data).retrieval.paths[0] == folder / "a.jpg"


def test_missing_and_alike_identities_of_a_search_are_reported(data):
    write_search(data, "a1", "b1", "c2", "d2")
    table = (data / "retrieval.csv").read_text()
    (data / "retrieval.csv").write_text(table.replace("2,c", "?,c").replace("2,d", "01,d"))
    unknown, alike = read_labelled_data(data).remarks
    assert unknown.startswith("Not searched: 1 photographs of ")
    assert "'?' (1)" in unknown
    assert "'01' and '1'" in alike


def test_each_photograph_is_listed_once(demo):
    found = read_labelled_data(demo)
    assert len(set(found.paths)) == len(found.paths)
    assert [found.paths[found.index[path]] for path in found.paths] == list(found.paths)
    assert found.counts()["search"]["without_match"] == 0
