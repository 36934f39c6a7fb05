"""Lists of images on the web: two formats, and one message for each fault."""

import json
from pathlib import Path

import pytest

from noseprint.errors import DataError, NoseprintError
from noseprint.importing.fetch_list import Entry, read_lists

URL = "http://example.org/1.jpg"


def csv_list(folder: Path, *rows: str, header: str = "id,url,class") -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def json_list(folder: Path, images: object) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps({"images": images}))
    return path


def problems(path: Path, split: str = "train") -> list[str]:
    with pytest.raises(DataError) as raised:
        read_lists({split: path})
    return [str(fault) for fault in raised.value.faults]


def test_json_and_csv_say_the_same(tmp_path):
    images = [{"id": 7, "url": URL, "class": 3}, {"id": "b", "url": "https://example.org/x?y=1", "class": "4"}]
    expected = [Entry("train", "7", URL, "3", ""), Entry("train", "b", "https://example.org/x?y=1", "4", "")]
    assert read_lists({"train": json_list(tmp_path, images)}) == expected
    path = csv_list(tmp_path, f"3,{URL},7", "4,https://example.org/x?y=1,b", header="Class,url,id")
    assert read_lists({"train": path}) == expected


def test_test_has_no_class(tmp_path):
    path = json_list(tmp_path, [{"id": 7, "url": URL}])
    assert read_lists({"test": path}) == [Entry("test", "7", URL, "", "")]
    assert Entry("test", "7", URL, "", "").folder == "test"
    assert Entry("train", "7", URL, "3", "").folder == "train/3"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f",{URL},cat", "id '' is empty"),
        (f"../a,{URL},cat", "holds a slash"),
        (f"..,{URL},cat", "begins with a dot"),
        (f"a\\b,{URL},cat", "holds a slash, a backslash"),
        (f"{'a' * 201},{URL},cat", "is longer than 200 bytes"),
        (f"a,{URL},", "id 'a' has no class"),
        (f"a,{URL},x/y", "class 'x/y' holds a slash"),
        ("a,,cat", "id 'a' has no URL"),
        ("a,ftp://example.org/a.jpg,cat", "must begin with http://, https:// or file://"),
        ("a,http:///a.jpg,cat", "names no host"),
        ("a,http://[1/a.jpg,cat", "cannot be read"),
        ("a,http://example.org:99999/,cat", "cannot be read"),
    ],
)
def test_a_fault_is_one_message(tmp_path, row, problem):
    found = problems(csv_list(tmp_path, row, f"z,{URL},dog"))
    assert len(found) == 1
    assert problem in found[0]
    assert "line 2" in found[0]


def test_an_empty_list_is_a_fault(tmp_path):
    for path in (json_list(tmp_path, []), csv_list(tmp_path)):
        assert problems(path) == [f"{path}: lists no image: get the list again, or leave it out"]


def test_all_faults_come_at_once(tmp_path):
    rows = [f"a,{URL},cat,1234", f"a,{URL},cat,", f"b,{URL},Cat,", f"b,{URL},,"]
    found = problems(csv_list(tmp_path, *rows, header="id,url,class,sha256"))
    assert [text.partition(": ")[2].partition(":")[0] for text in found] == [
        "id 'a' has the sha256 '1234', which is not 64 hexadecimal digits",
        "id 'b' has no class",
        "classes differ by case, blanks or punctuation only",
    ]


def test_an_id_twice_is_named_with_its_place(tmp_path):
    found = problems(csv_list(tmp_path, *[f"{k},{URL},c" for k in "abab"]))
    assert [text.partition("list.csv, ")[2] for text in found] == [
        f"line {line}: id {name!r} is listed twice, first on line {line - 2}: each image needs its own"
        for line, name in ((4, "a"), (5, "b"))
    ]
    found = problems(json_list(tmp_path, [{"id": 7, "url": URL, "class": 3}] * 2))
    assert "image 2: id '7' is listed twice, first on image 1" in found[0]


def test_a_list_that_is_no_file_is_one_message(tmp_path):
    assert "there is no such list: check its path" in problems(tmp_path / "none.csv")[0]
    assert "is not a plain file: name another list" in problems(tmp_path)[0]


def test_some_classes_in_test_are_a_fault(tmp_path):
    assert "1 of 2 images have no class (b)" in problems(csv_list(tmp_path, f"a,{URL},cat", f"b,{URL},"), "test")[0]


def test_a_class_of_val_needs_training_images(tmp_path):
    train = csv_list(tmp_path, f"a,{URL},cat", f"b,{URL},dog")
    val = json_list(tmp_path, [{"id": "c", "url": URL, "class": "cow"}])
    with pytest.raises(DataError, match=r"1 classes have no training image \(cow\)"):
        read_lists({"train": train, "val": val})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 1: is not JSON"),
        ("[]", 'has no list "images"'),
        ('{"images": {}}', 'has no list "images"'),
        ('{"images": [3]}', "image 1 is not"),
        ('{"images": [{"id": [1], "url": "http://a/"}]}', "image 1 is not"),
        ('{"images": [{"id": 1}]}', "image 1: id '1' has no URL"),
    ],
)
def test_odd_json_is_one_message(tmp_path, text, problem):
    path = tmp_path / "list.json"
    path.write_text(text)
    found = problems(path, "test")
    assert len(found) == 1
    assert problem in found[0]


def test_a_list_without_the_columns_and_no_list(tmp_path):
    assert "needs id and url" in problems(csv_list(tmp_path, "1,2", header="name,link"))[0]
    assert "no such list" in problems(tmp_path / "none.json")[0]
    with pytest.raises(NoseprintError, match="--train LIST"):
        read_lists({})
