import csv
import shutil

import pytest

from noseprint.data.csv_rows import write_csv
from noseprint.data.tables import (
    ImageTable,
    RetrievalTable,
    image_folder,
    read_labels,
    read_pairs,
    read_pseudo,
    read_retrieval,
    read_train,
)
from noseprint.errors import DataError, NoseprintError

from .conftest import HEADER, rewrite


def test_the_challenge_layout_is_read(data):
    table = read_train(data)
    assert table.identities == ("7", "7", "8")
    assert [path.name for path in table.paths] == ["A*n1.jpg", "b 2.jpg", "ü.jpg"]
    pairs = read_pairs(data, "test")
    assert (pairs.image_a, pairs.image_b) == (("A*n1.jpg", "A*n1.jpg"), ("b 2.jpg", "A*n1.jpg"))
    assert pairs.names() == ("A*n1.jpg", "b 2.jpg")


@pytest.mark.parametrize(
    "encoded", ["\ufeffdog ID,nose print image\r\n7,b 2.jpg\r\n\r\n", "dog ID,nose print image\n7 , b 2.jpg "]
)
def test_byte_order_mark_crlf_blank_lines_and_spaces_are_ignored(data, encoded):
    rewrite(data / "train" / "train_data.csv", encoded)
    table = read_train(data)
    assert table.identities == ("7",)
    assert table.paths[0].name == "b 2.jpg"


def test_the_test_folder_of_the_published_archive_is_accepted(data):
    (data / "test" / "images").rename(data / "test" / "test")
    assert image_folder(data, "test") == data / "test" / "test"
    assert len(read_pairs(data, "test")) == 2


def test_labels_and_retrieval_are_optional_and_checked(data):
    assert read_labels(data, "test") is None
    assert read_retrieval(data) is None
    (data / "test" / "labels.csv").write_text("imageA,imageB,label\nA*n1.jpg,b 2.jpg,1\nü.jpg,A*n1.jpg,0\n", "utf-8")
    _, same = read_labels(data, "test")
    assert same == (True, False)
    (data / "retrieval.csv").write_text(
        "folder,role,identity,image\ntest,query,9,b 2.jpg\ntrain,gallery,9,ü.jpg\n", "utf-8"
    )
    table = read_retrieval(data)
    assert table.is_query == (True, False)
    assert table.paths[1] == data / "train" / "images" / "ü.jpg"


def test_pseudo_identities_are_validation_images_and_may_be_empty(data):
    table = data / "pseudo.csv"
    with pytest.raises(NoseprintError, match="run pseudo_produce"):
        read_pseudo(table, data)
    table.write_text("dog ID,nose print image\n")
    assert len(read_pseudo(table, data)) == 0
    table.write_text("dog ID,nose print image\npseudo-0000,b 2.jpg\n")
    assert read_pseudo(table, data) == ImageTable((data / "validation" / "images" / "b 2.jpg",), ("pseudo-0000",))


def test_an_encounter_column_is_read_where_there_is_one(data):
    assert read_train(data).encounters is None
    table = data / "train" / "train_data.csv"
    table.write_text("dog ID,nose print image,encounter,weather\n7,A*n1.jpg,2024-05-01,sun\n8,b 2.jpg,north gate,\n")
    found = read_train(data)
    assert found.identities == ("7", "8")
    assert found.encounters == ("2024-05-01", "north gate")
    assert found.where([False, True]).encounters == ("north gate",)
    assert found.where([False, False]) == ImageTable((), (), ())
    assert (found + found).encounters is None
    for header, encounter in (
        ("weather,Encounter", "1"),
        ("camera,weather,encounter", "1"),
        ("camera,weather", "north"),
        ("camera,Date", "1"),
        ("place,weather", None),
    ):
        rest = "north,1,1" if header.count(",") == 2 else "north,1"
        table.write_text(f"dog ID,nose print image,{header}\n7,A*n1.jpg,{rest}\n")
        assert read_train(data).encounters == (encounter and (encounter,)), header
    search = data / "retrieval.csv"
    search.write_text("folder,role,identity,image,note,date\ntest,query,9,b 2.jpg,,a\ntest,gallery,9,A*n1.jpg,,b\n")
    found = read_retrieval(data)
    assert found.encounters == ("a", "b")
    assert found.where([True, False]) == RetrievalTable(found.paths[:1], ("9",), (True,), ("a",))


def test_rows_whose_identity_is_missing_are_left_out(data):
    table = data / "train" / "train_data.csv"
    table.write_text("dog ID,nose print image,date\n7,A*n1.jpg,a\nNA,b 2.jpg,b\n7,ü.jpg,c\n", encoding="utf-8")
    found = read_train(data)
    assert (found.identities, found.encounters) == (("7", "7"), ("a", "c"))
    assert [path.name for path in found.paths] == ["A*n1.jpg", "ü.jpg"]
    assert found.unknown == {data / "train" / "images" / "b 2.jpg": "NA"}
    shutil.copy(table, data / "pseudo.csv")
    assert read_pseudo(data / "pseudo.csv", data).unknown == {data / "validation" / "images" / "b 2.jpg": "NA"}
    table.write_text(f"{HEADER}?,A*n1.jpg\nunknown,b 2.jpg\n", encoding="utf-8")
    with pytest.raises(DataError, match="every identity is missing"):
        read_train(data)
    table.write_text(f"{HEADER}?,none.jpg\n7,b 2.jpg\n8,b 2.jpg\n", encoding="utf-8")  # still checked
    with pytest.raises(DataError) as error:
        read_train(data)
    assert [fault.line for fault in error.value.faults] == [2, 4]


def test_a_search_leaves_out_what_nobody_knows(data):
    search = data / "retrieval.csv"
    rows = "test,query,9,b 2.jpg\ntest,gallery,9,A*n1.jpg\n"
    search.write_text(f"folder,role,identity,image\n{rows}test,gallery,unknown,ü.jpg\n", encoding="utf-8")
    found = read_retrieval(data)
    assert found.identities == ("9", "9")
    assert found.is_gallery == (False, True)
    assert found.unknown == {data / "test" / "images" / "ü.jpg": "unknown"}
    search.write_text("folder,role,identity,image\ntest,query,?,b 2.jpg\ntest,gallery,NA,A*n1.jpg\n")
    with pytest.raises(DataError, match="every identity is missing"):
        read_retrieval(data)
    search.write_text("folder,role,identity,image\ntest,query,9,b 2.jpg\ntest,gallery,NA,A*n1.jpg\n")
    with pytest.raises(DataError, match="both query and gallery"):
        read_retrieval(data)


def test_an_image_may_be_both_query_and_gallery(data):
    search = data / "retrieval.csv"
    search.write_text(
        "folder,role,identity,image\ntest,both,9,b 2.jpg\ntest,both,9,A*n1.jpg\ntest,query,9,ü.jpg\n", "utf-8"
    )
    found = read_retrieval(data)
    assert found.is_query == (True, True, True)
    assert found.is_gallery == (True, True, False)
    assert found.where([False, True, True]).is_gallery == (True, False)
    search.write_text("folder,role,identity,image\ntest,query,9,b 2.jpg\ntest,gallery,9,b 2.jpg\n")
    with pytest.raises(DataError, match="on line 2: delete one row, and give the other the role both"):
        read_retrieval(data)


def test_a_missing_encounter_is_an_encounter_of_its_own(data):
    table = data / "train" / "train_data.csv"
    table.write_text("dog ID,nose print image,date\n7,A*n1.jpg,NaN\n7,b 2.jpg,unknown\n")
    assert read_train(data).encounters is None
    table.write_text("dog ID,nose print image,date\n7,A*n1.jpg,nan\n7,b 2.jpg,nan\n7,ü.jpg,0\n", encoding="utf-8")
    assert read_train(data).encounters == ("\x000", "\x001", "0")
    assert read_train(data).encounter_column == "date"


def test_an_empty_encounter_is_an_encounter_of_its_own(data):
    table = data / "train" / "train_data.csv"
    table.write_text("dog ID,nose print image,date,camera\n7,A*n1.jpg,,x\n7,b 2.jpg, ,x\n")
    assert read_train(data).encounters is None
    table.write_text("dog ID,nose print image,date\n7,A*n1.jpg,\n7,b 2.jpg,0\n")
    unknown, known = read_train(data).encounters
    assert (unknown[0], known) == ("\0", "0")
    search = data / "retrieval.csv"
    header = "folder,role,identity,image,date\n"
    search.write_text(header + "test,query,9,b 2.jpg,\ntest,gallery,9,A*n1.jpg,\ntrain,gallery,9,A*n1.jpg,a\n")
    assert len(set(read_retrieval(data).encounters)) == 3


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_any_line_end_further_columns_and_any_identity_are_accepted(data, end):
    rows = [f"{HEADER.strip()},breed", "Zoë 3/4,ü.jpg,pug,", "", ",,", '"7, the other","b 2.jpg",', "-1e9,A*n1.jpg,x"]
    rewrite(data / "train" / "train_data.csv", end.join(rows))
    assert read_train(data).identities == ("Zoë 3/4", "7, the other", "-1e9")
    rewrite(data / "train" / "train_data.csv", end.join([*rows, "1,gone.jpg,"]))
    with pytest.raises(DataError, match=r"line 7: image 'gone\.jpg'"):
        read_train(data)


def test_any_name_that_a_file_system_allows_is_accepted(data):
    names = ["line\nbreak.jpg", 'quo"te.jpg', "com,ma.jpg", "*?[x].jpg", "犬.jpg", "'=1+1.jpg", ".hidden"]
    names.append("x" * 251 + ".jpg")
    for name in names:
        (data / "train" / "images" / name).write_bytes(b"x")
    with (data / "train" / "train_data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER.strip().split(","), *(("7", name) for name in names)])
    assert [path.name for path in read_train(data).paths] == names


def test_names_that_differ_in_case_are_two_photographs_if_both_exist(data):
    (data / "train" / "images" / "B 2.JPG").write_bytes(b"y")
    rewrite(data / "train" / "train_data.csv", HEADER + "7,b 2.jpg\n8,B 2.JPG\n")
    assert len(read_train(data)) == 2


def test_the_data_folder_and_the_image_folder_may_be_links(data, tmp_path):
    (data / "train" / "images").rename(tmp_path / "photographs")
    (data / "train" / "images").symlink_to(tmp_path / "photographs")
    (tmp_path / "photographs" / "link.jpg").symlink_to("b 2.jpg")
    (tmp_path / "link").symlink_to(data)
    rewrite(data / "train" / "train_data.csv", HEADER + "7,b 2.jpg\n7,link.jpg\n")
    assert read_train(tmp_path / "link").paths[0] == tmp_path / "link" / "train" / "images" / "b 2.jpg"


def test_missing_images_are_accepted_with_missing_ok(data):
    rewrite(data / "train" / "train_data.csv", HEADER + "7,b 2.jpg\n7,none.jpg\n")
    assert [path.name for path in read_train(data, missing_ok=True).paths] == ["b 2.jpg", "none.jpg"]
    shutil.copy(data / "train" / "train_data.csv", data / "pseudo.csv")
    assert len(read_pseudo(data / "pseudo.csv", data, missing_ok=True)) == 2
    with pytest.raises(DataError, match=r"line 3: image 'none\.jpg' is missing"):
        read_pseudo(data / "pseudo.csv", data)


def test_bytes_of_a_file_name_that_are_not_utf_8_are_escaped(tmp_path):
    write_csv(tmp_path / "table.csv", ("image",), [("\udcff.jpg",)])
    assert (tmp_path / "table.csv").read_bytes() == b"image\n\\udcff.jpg\n"
