import os
import shutil
import unicodedata

import pytest

from noseprint.data.tables import read_labels, read_pairs, read_retrieval, read_train
from noseprint.errors import DataError, NoseprintError

from .conftest import HEADER, rewrite


def test_a_missing_table_and_a_missing_image_folder_are_reported(data):
    (data / "train" / "train_data.csv").unlink()
    with pytest.raises(NoseprintError, match=r"train_data\.csv: the table is missing"):
        read_train(data)
    shutil.rmtree(data / "validation" / "images")
    with pytest.raises(NoseprintError, match="there is no such folder: put the validation photographs there"):
        read_pairs(data, "validation")


@pytest.mark.parametrize(
    ("table", "rows", "message"),
    [
        ("test/labels.csv", "A*n1.jpg,b 2.jpg,1\nb 2.jpg,A*n1.jpg,0\n", "line 3: label 0 contradicts line 2"),
        ("test/labels.csv", "A*n1.jpg,b 2.jpg,1\nb 2.jpg,b 2.jpg,0\n", "different from itself"),
        ("test/labels.csv", "A*n1.jpg,b 2.jpg,yes\n", "line 2: label 'yes'"),
        ("test/labels.csv", "A*n1.jpg,b 2.jpg,1\n", "both labels"),
        ("test/labels.csv", "", "both labels"),
        ("retrieval.csv", "test,query,9,b 2.jpg\ntest,gallery,9,b 2.jpg\n", "test/b 2.jpg is already listed on line 2"),
        ("retrieval.csv", "test,probe,9,b 2.jpg\n", "must be query, gallery or both, not 'probe'"),
        ("retrieval.csv", "test,query,9,b 2.jpg\n", "both query and gallery"),
        ("retrieval.csv", "", "both query and gallery"),
    ],
)
def test_labels_and_a_search_that_cannot_be_scored_are_rejected(data, table, rows, message):
    labels = table == "test/labels.csv"
    header = "imageA,imageB,label\n" if labels else "folder,role,identity,image\n"
    (data / table).write_text(header + rows)
    with pytest.raises(NoseprintError, match=message):
        read_labels(data, "test") if labels else read_retrieval(data)


def test_faults_in_encounters_are_reported_with_all_others(data):
    (data / "train" / "train_data.csv").write_text(
        "dog ID,nose print image,encounter\n,A*n1.jpg,\n7,none.jpg,1\n7,b 2.jpg\n8,b 2.jpg,2,3\n"
    )
    with pytest.raises(DataError) as error:
        read_train(data)
    found = [(fault.line, fault.problem) for fault in error.value.faults]
    assert found[0] == (2, "dog ID is empty")
    assert (found[1][0], "is missing" in found[1][1]) == (3, True)
    assert found[2] == (4, "2 fields, expected 3 (dog ID,nose print image,encounter)")
    assert (found[3][0], "4 fields, the header has 3" in found[3][1]) == (5, True)
    (data / "retrieval.csv").write_text("folder,role,identity,image,encounter\ntest,query,,b 2.jpg,\nx,y,9,b 2.jpg,1\n")
    with pytest.raises(DataError) as error:
        read_retrieval(data)
    assert [fault.line for fault in error.value.faults] == [2, 3, 3]


def faults_of(data, text, encoding="utf-8", **options):
    """The faults that `read_train` reports for a table with this text, as (line, problem)."""
    table = data / "train" / "train_data.csv"
    table.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        read_train(data, **options)
    assert all(fault.file == table for fault in caught.value.faults)
    return [(fault.line, fault.problem) for fault in caught.value.faults]


def test_every_fault_in_a_table_is_found(data):
    rows = '7,b 2.jpg\n8\n\n,b.jpg\n"7"x,y\n9,../x.jpg\n9,none.jpg\n7,a,b.jpg\n7,b 2.jpg\n8,b 2.jpg\n'
    found = faults_of(data, HEADER + rows)
    assert [line for line, _ in found] == [3, 5, 6, 7, 8, 9, 10, 11]
    expected = [
        "1 fields, expected 2",
        "dog ID is empty",
        "quotes",
        "'../x.jpg' is not a plain file name",
        "'none.jpg' is missing",
        "3 fields, the header has 2: put quotes",
        "line 2, under the same identity",
        "line 2, under identity '7'",
    ]
    assert all(text in problem for text, (_, problem) in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("text", "encoding", "line", "message"),
    [
        ("", "utf-8", 1, "the header is ''"),
        (HEADER, "utf-8", None, "no images below the header"),
        (HEADER + "7,a\\b.jpg\n", "utf-8", 2, "not a plain file name"),
        ("dog ID;nose print image\n7;b 2.jpg\n", "utf-8", 1, "separated by semicolons: save the table with commas"),
        ("dog ID\tnose print image\n7\tb 2.jpg\n", "utf-8", 1, "separated by tabs"),
        ("sep=;\ndog ID;nose print image\n", "utf-8", 1, "the first line is 'sep=;', which is for Excel: delete it"),
        ("PK\3\4 and so on", "utf-8", None, "is an Excel or OpenDocument file: save it as CSV in UTF-8"),
        ("nose print image,dog ID\nb 2.jpg,7\n", "utf-8", 1, "the header is 'nose print image,dog ID'"),
        ("7,b 2.jpg\n", "utf-8", 1, "the header is '7,b 2.jpg', expected"),
        (HEADER + "7,ü.jpg\n", "utf-16", 1, "the table is UTF-16: save it as UTF-8"),
        ("\ufeff" + HEADER, "utf-16-be", 1, "the table is UTF-16"),
        (HEADER + "7,ü.jpg\n", "utf-16-le", 1, "the table is UTF-16"),
        (HEADER + "7,b 2.jpg\n8,ü.jpg\n", "cp1252", 3, "'ü.jpg' (read as Latin-1) is not UTF-8"),
        (HEADER + "7,b 2\0.jpg\n", "utf-8", 2, r"'b 2\x00.jpg' holds a NUL"),
        (HEADER + '7,"b\r2.jpg"\n', "utf-8", 2, r"'b\r2.jpg' holds a carriage return"),
        (HEADER + "7,b 2.jpg" + "x" * 200_000 + "\n", "utf-8", 2, "a line has 131072 characters or more"),
        ("7" * 200_000, "utf-8", 1, "a line has 131072 characters or more"),
        (HEADER + '7,"b 2.jpg\n' + "8,ü.jpg\n" * 9, "utf-8", 2, "unexpected end of data: check the quotes"),
        (HEADER + '7,"b' + "\n" * 140_000, "utf-8", 2, "field limit"),
    ],
)
def test_other_formats_are_reported_with_the_fix(data, text, encoding, line, message):
    (found,) = faults_of(data, text, encoding)
    assert found[0] == line
    assert message in found[1]


@pytest.mark.parametrize(
    ("held", "named", "message"),
    [
        ("Dog.JPG", "dog.jpg", "'Dog.JPG': they differ in case, space or how accents"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg"), "Unicode NFC or NFD"),
        (" dog.jpg", "DOG.jpg", "they differ in"),
        ("007.jpg", "7.jpg", "leading zeros"),
        ("b\u202f3.jpg", "b 3.jpg", "they differ in case, space"),
    ],
)
def test_a_similar_file_name_is_suggested(data, held, named, message):
    (data / "train" / "images" / held).write_bytes(b"x")
    ((line, problem),) = faults_of(data, HEADER + f"7,{named}\n")
    assert line == 2
    assert message in problem


def test_a_path_to_a_photograph_of_the_folder_is_answered_with_its_name(data):
    for path in ("images\\b 2.jpg", "train/images/b 2.jpg", "C:\\photos\\b 2.jpg"):
        ((_, problem),) = faults_of(data, HEADER + f"7,{path}\n")
        assert problem.endswith(f"write 'b 2.jpg' alone, which lies in {data / 'train' / 'images'}")


def test_an_image_name_cannot_lead_out_of_its_folder(data, tmp_path):
    images = data / "train" / "images"
    (tmp_path / "outside.jpg").write_bytes(b"x")
    (data / "train" / "images2").mkdir()
    (data / "train" / "images2" / "x.jpg").write_bytes(b"x")
    (images / "folder.jpg").mkdir()
    (images / "sub").mkdir()
    (images / "sub" / "x.jpg").write_bytes(b"x")
    os.mkfifo(images / "pipe.jpg")
    for name, target in {
        "absolute.jpg": tmp_path / "outside.jpg",
        "relative.jpg": "../../outside.jpg",
        "sibling.jpg": "../images2/x.jpg",
        "chain.jpg": "relative.jpg",
        "nothing.jpg": "no such file",
        "loop.jpg": "loop.jpg",
        "to_folder.jpg": "sub",
        "inside.jpg": "b 2.jpg",
        "deep.jpg": "sub/x.jpg",
    }.items():
        (images / name).symlink_to(target)
    rewrite(data / "train" / "train_data.csv", HEADER + "7,inside.jpg\n7,deep.jpg\n")
    assert len(read_train(data)) == 2
    expected = {
        "absolute.jpg": "is a link that leaves",
        "relative.jpg": "is a link that leaves",
        "sibling.jpg": "is a link that leaves",
        "chain.jpg": "is a link that leaves",
        "to_folder.jpg": "is not a file",
        "folder.jpg": "is not a file",
        "pipe.jpg": "is not a file",
        "sub/x.jpg": "is not a plain file name",
        str(images / "b 2.jpg"): "is not a plain file name",
        ".": "is not a plain file name",
    }
    absent = {"nothing.jpg": "is missing", "loop.jpg": "is missing"}
    for options, faulty in (({}, expected | absent), ({"missing_ok": True}, expected)):
        table = HEADER + "".join(f"7,{name}\n" for name in (expected | absent))
        found = faults_of(data, table, **options)
        assert len(found) == len(faulty)
        assert all(text in problem for text, (_, problem) in zip(faulty.values(), found, strict=True))


def test_a_missing_image_is_reported_once_and_equal_names_are_one_object(data):
    table = data / "test" / "test_data.csv"
    rewrite(table, "imageA,imageB\n" + "b 2.jpg,gone.jpg\n" * 3 + "ü.jpg,lost.jpg\nü.jpg,x/y.jpg\n")
    says = r"test_data\.csv, line 2: image 'gone\.jpg' is missing from .*\(and 2 more\)"
    with pytest.raises(DataError, match=says) as caught:
        read_pairs(data, "test")
    assert [fault.line for fault in caught.value.faults] == [2, 5, 6]
    rewrite(table, "imageA,imageB\n" + "b 2.jpg,A*n1.jpg\nA*n1.jpg,b 2.jpg\n" * 2)
    pairs = read_pairs(data, "test")
    assert len({id(name) for name in pairs.image_a + pairs.image_b}) == 2


def test_every_fault_in_labels_and_in_a_search_is_found(data):
    rewrite(data / "test" / "labels.csv", "imageA,imageB,label\nü.jpg,ü.jpg,0\nb 2.jpg,ü.jpg,x\nno.jpg,ü.jpg,1\n")
    with pytest.raises(DataError) as caught:
        read_labels(data, "test")
    assert [fault.line for fault in caught.value.faults] == [2, 3, 4]
    rewrite(
        data / "retrieval.csv", "folder,role,identity,image\nx,query,1,a\ntest,probe,1,no.jpg\ntest,query,1,ü.jpg\n"
    )
    with pytest.raises(DataError) as caught:
        read_retrieval(data)
    assert [fault.line for fault in caught.value.faults] == [2, 3, 3]


def test_a_folder_or_a_pipe_in_place_of_a_table_is_rejected(data):
    table = data / "train" / "train_data.csv"
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(DataError, match="the table is not a file"):
        read_train(data)
    table.unlink()
    table.mkdir()
    with pytest.raises(DataError, match="the table is not a file"):
        read_train(data)
