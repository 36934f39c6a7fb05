import csv
import os
import shutil
import unicodedata

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

HEADER = "dog ID,nose print image\n"


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


def test_a_missing_table_and_a_missing_image_folder_are_reported(data):
    (data / "train" / "train_data.csv").unlink()
    with pytest.raises(NoseprintError, match=r"train_data\.csv: the table is missing"):
        read_train(data)
    shutil.rmtree(data / "validation" / "images")
    with pytest.raises(NoseprintError, match="there is no such folder: put the validation photographs there"):
        read_pairs(data, "validation")


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


def test_names_that_differ_in_case_are_two_photographs_if_both_exist(data):
    (data / "train" / "images" / "B 2.JPG").write_bytes(b"y")
    rewrite(data / "train" / "train_data.csv", HEADER + "7,b 2.jpg\n8,B 2.JPG\n")
    assert len(read_train(data)) == 2


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


def test_bytes_of_a_file_name_that_are_not_utf_8_are_escaped(tmp_path):
    write_csv(tmp_path / "table.csv", ("image",), [("\udcff.jpg",)])
    assert (tmp_path / "table.csv").read_bytes() == b"image\n\\udcff.jpg\n"
