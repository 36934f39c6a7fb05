import shutil

import pytest

from noseprint.data.tables import (
    ImageTable,
    image_folder,
    read_labels,
    read_pairs,
    read_pseudo,
    read_retrieval,
    read_train,
)
from noseprint.errors import NoseprintError


@pytest.fixture
def data(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        for name in ("A*n1.jpg", "b 2.jpg", "ü.jpg"):
            (tmp_path / split / "images" / name).write_bytes(b"x")
    (tmp_path / "train" / "train_data.csv").write_text(
        "dog ID,nose print image\n7,A*n1.jpg\n7,b 2.jpg\n8,ü.jpg\n", encoding="utf-8"
    )
    (tmp_path / "validation" / "valid_data.csv").write_text("imageA,imageB\nb 2.jpg,A*n1.jpg\n")
    (tmp_path / "test" / "test_data.csv").write_text("imageA,imageB\nA*n1.jpg,b 2.jpg\nA*n1.jpg,A*n1.jpg\n")
    return tmp_path


def rewrite(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))


def test_reads_the_challenge_layout(data):
    table = read_train(data)
    assert table.identities == ("7", "7", "8")
    assert [path.name for path in table.paths] == ["A*n1.jpg", "b 2.jpg", "ü.jpg"]
    pairs = read_pairs(data, "test")
    assert (pairs.image_a, pairs.image_b) == (("A*n1.jpg", "A*n1.jpg"), ("b 2.jpg", "A*n1.jpg"))
    assert pairs.names() == ("A*n1.jpg", "b 2.jpg")


@pytest.mark.parametrize(
    "encoded", ["\ufeffdog ID,nose print image\r\n7,b 2.jpg\r\n\r\n", "dog ID,nose print image\n7 , b 2.jpg "]
)
def test_a_byte_order_mark_crlf_blank_lines_and_spaces_change_nothing(data, encoded):
    rewrite(data / "train" / "train_data.csv", encoded)
    table = read_train(data)
    assert table.identities == ("7",)
    assert table.paths[0].name == "b 2.jpg"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header"),
        ("id,image\n7,b 2.jpg\n", "line 1: the header is 'id,image', expected 'dog ID,nose print image'"),
        ("dog ID,nose print image\n", "no images below"),
        ("dog ID,nose print image\n7\n", "line 2: 1 fields"),
        ("dog ID,nose print image\n,b 2.jpg\n", "line 2: 'dog ID' is empty"),
        ("dog ID,nose print image\n7,b 2.jpg\n8,b 2.jpg\n", "line 3: image 'b 2.jpg' stands on line 2 already"),
        ("dog ID,nose print image\n7,none.jpg\n8,nil.jpg\n", r"line 2: .*none.jpg is missing \(and 1 more"),
        ("dog ID,nose print image\n7,../b 2.jpg\n", "not a plain file name"),
        ("dog ID,nose print image\n7,/etc/passwd\n", "not a plain file name"),
        ("dog ID,nose print image\n7,a\\b.jpg\n", "not a plain file name"),
        ("dog ID,nose print image\n7,..\n", "not a plain file name"),
        ('dog ID,nose print image\n7,"b 2.jpg\n', "train_data.csv, line"),
    ],
)
def test_a_broken_table_is_refused_with_file_and_line(data, text, says):
    rewrite(data / "train" / "train_data.csv", text)
    with pytest.raises(NoseprintError, match=says) as caught:
        read_train(data)
    assert "train_data.csv" in str(caught.value)


def test_another_encoding_is_named(data):
    rewrite(data / "train" / "train_data.csv", "dog ID,nose print image\n7,ü.jpg\n", encoding="latin-1")
    with pytest.raises(NoseprintError, match="not UTF-8"):
        read_train(data)


def test_a_missing_table_and_a_missing_image_folder_are_named(data):
    (data / "train" / "train_data.csv").unlink()
    with pytest.raises(NoseprintError, match=r"train_data\.csv is missing"):
        read_train(data)
    shutil.rmtree(data / "validation" / "images")
    with pytest.raises(NoseprintError, match="put the validation photographs there"):
        read_pairs(data, "validation")


def test_the_published_archives_test_folder_is_accepted(data):
    (data / "test" / "images").rename(data / "test" / "test")
    assert image_folder(data, "test") == data / "test" / "test"
    assert len(read_pairs(data, "test")) == 2


def test_labels_and_retrieval_are_optional_and_checked(data):
    assert read_labels(data, "test") is None
    assert read_retrieval(data) is None
    (data / "test" / "labels.csv").write_text("imageA,imageB,label\nA*n1.jpg,b 2.jpg,1\nü.jpg,A*n1.jpg,0\n", "utf-8")
    _, same = read_labels(data, "test")
    assert same == (True, False)
    (data / "test" / "labels.csv").write_text("imageA,imageB,label\nA*n1.jpg,b 2.jpg,yes\n")
    with pytest.raises(NoseprintError, match="line 2: label 'yes'"):
        read_labels(data, "test")
    (data / "retrieval.csv").write_text(
        "folder,role,identity,image\ntest,query,9,b 2.jpg\ntrain,gallery,9,ü.jpg\n", "utf-8"
    )
    table = read_retrieval(data)
    assert table.is_query == (True, False)
    assert table.paths[1] == data / "train" / "images" / "ü.jpg"
    (data / "retrieval.csv").write_text("folder,role,identity,image\ntest,probe,9,b 2.jpg\n")
    with pytest.raises(NoseprintError, match="role 'probe'"):
        read_retrieval(data)


def test_pseudo_identities_are_validation_images_and_may_be_none(data):
    found = data / "pseudo.csv"
    with pytest.raises(NoseprintError, match="run pseudo_produce"):
        read_pseudo(found, data)
    found.write_text("dog ID,nose print image\n")
    assert len(read_pseudo(found, data)) == 0
    found.write_text("dog ID,nose print image\npseudo-0000,b 2.jpg\n")
    assert read_pseudo(found, data) == ImageTable((data / "validation" / "images" / "b 2.jpg",), ("pseudo-0000",))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("A*n1.jpg,b 2.jpg,1\nb 2.jpg,A*n1.jpg,0\n", "line 3: label 0 contradicts line 2"),
        ("A*n1.jpg,b 2.jpg,1\nb 2.jpg,b 2.jpg,0\n", "different from itself"),
        ("A*n1.jpg,b 2.jpg,1\n", "both labels"),
        ("", "both labels"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(data, rows, says):
    (data / "test" / "labels.csv").write_text("imageA,imageB,label\n" + rows)
    with pytest.raises(NoseprintError, match=says):
        read_labels(data, "test")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("test,query,9,b 2.jpg\ntest,gallery,9,b 2.jpg\n", "line 3: test/b 2.jpg stands on line 2"),
        ("test,query,9,b 2.jpg\n", "both query and gallery"),
        ("", "both query and gallery"),
    ],
)
def test_a_search_that_cannot_be_scored_is_refused(data, rows, says):
    (data / "retrieval.csv").write_text("folder,role,identity,image\n" + rows)
    with pytest.raises(NoseprintError, match=says):
        read_retrieval(data)
