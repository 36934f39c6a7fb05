"""Tables that users bring: CSV of all kinds, Excel files, and which column is what."""

import pandas as pd
import pytest

from noseprint.errors import DataError
from noseprint.importing import source_tables
from noseprint.importing.source_tables import (
    ENCOUNTER_COLUMNS,
    IDENTITY_COLUMNS,
    IMAGE_COLUMNS,
    SourceRow,
    SourceTable,
    examine_identities,
    examine_images,
    find_column,
    read_source_table,
)


def table(names, rows=(), path="table.csv"):
    return SourceTable(path, names, [SourceRow(line, row) for line, row in enumerate(rows, start=2)])


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("class", "individual_name"), "individual_name"),
        (("label", "Individual No."), "Individual No."),
        (("name", "individualID"), "individualID"),
        (("species", "id", "ear tag"), "ear tag"),
        (("id", "Eartag"), "Eartag"),
        (("id", "EAR_TAG_NUMBER"), "EAR_TAG_NUMBER"),
        (("id", "tag"), "tag"),
        (("class", "animal-id"), "animal-id"),
        (("class", "animal_name"), "animal_name"),
        (("id", "Marked Individual"), "Marked Individual"),
        (("id", "individual-local-identifier"), "individual-local-identifier"),
        (("class", "okapi_id"), "okapi_id"),
        (("class", "Whale Name"), "Whale Name"),
        (("individual_id", "individual_name"), "individual_id"),
        (("image_id", "species_name", "camera_id", "observer name", "label"), "label"),
        (("individual count", "individual sex", "name"), "name"),
        (("label", "class"), "class"),
    ],
)
def test_the_identity_is_the_most_specific_column(names, taken):
    found = table(names)
    assert names[find_column(found, None, IDENTITY_COLUMNS, what="identity")] == taken
    assert names[find_column(found, taken.upper(), IDENTITY_COLUMNS, what="identity")] == taken


@pytest.mark.parametrize(
    "name", ["filePath", "Image Name", "img", "photo_id", "relative path", "media", "file-name", "imagefile"]
)
def test_columns_of_images(name):
    assert find_column(table(("note", name)), None, IMAGE_COLUMNS, what="image") == 1


def test_a_column_that_the_user_names_is_the_one_in_the_same_case():
    assert find_column(table(("ID", "id")), "id", (), what="identity") == 1
    assert find_column(table(("ID", "id")), "ID", (), what="identity") == 0


def test_two_columns_of_one_name_are_refused_if_they_differ():
    found = table(("name", "file", "name"), [("Rex", "1", "Rex"), ("Rex", "2", "Luna")])
    for given in (None, "name"):
        with pytest.raises(DataError, match=r"line 3: 2 columns are named 'name', and they differ \('Rex', 'Luna'\)"):
            find_column(found, given, IDENTITY_COLUMNS, what="identity")
    equal = table(("name", "file", "name"), [("Rex", "1", "Rex")])
    assert find_column(equal, None, IDENTITY_COLUMNS, what="identity") == 0


def test_columns_that_nobody_can_guess():
    for guesses, what in ((IDENTITY_COLUMNS, "identity"), (ENCOUNTER_COLUMNS, "encounter")):
        with pytest.raises(DataError, match=f"which column is the {what}.* the columns are 'who', 'camera id'"):
            find_column(table(("who", "camera id")), None, guesses, what=what)


def rows(columns, *, count=24):
    values = {"path": lambda k: f"{k}.jpg", "one": lambda _: "dog", "each": str, "few": lambda k: str(k % 3),
              "who": lambda k: f"dog {k // 2}", "empty": lambda _: ""}  # fmt: skip
    return [[values[column](k) for column in columns] for k in range(count)]


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("one", "has one value only, 'dog'"),
        ("empty", "has no value that names an individual"),
        ("each", "has a different value in each of the 24 rows"),
        ("few", "has 3 values that repeat, and 10 are needed"),
    ],
)
def test_a_guessed_identity_that_cannot_be_one_is_refused_and_the_others_named(kind, seen):
    found = table(("path", "class", "whose", "note"), rows(("path", kind, "who", "one")))
    with pytest.raises(DataError) as error:
        examine_identities(found, 1, 0)
    assert f"the column 'class' was taken for the identity because of its name, but it {seen}" in str(error.value)
    assert str(error.value).endswith("(or this one, if it is right). Others: 'whose' (12 values repeat)")
    assert "--identity-column" in str(error.value)


def test_a_guessed_identity_that_may_be_one_is_accepted():
    for kinds in (("path", "who", "few"), ("path", "few", "one")):  # of few individuals the import itself will tell
        examine_identities(table(("path", "class", "note"), rows(kinds)), 1, 0)
    examine_identities(table(("path", "class"), rows(("path", "one"), count=1)), 1, 0)


def test_a_guessed_image_column_without_files_is_refused_if_another_has_them():
    found = table(("image", "photo on disk", "whose"), rows(("each", "path", "who")))
    with pytest.raises(DataError, match=r"'image' was taken for the image.*'photo on disk' \(24 of 24 are files\)"):
        examine_images(found, 0, lambda name: name.endswith(".jpg"))
    examine_images(found, 0, lambda _: False)  # wrong paths: each row will tell


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;", "\ufeffsep=;"])
def test_a_first_line_that_names_the_separator_is_read(tmp_path, first):
    path = tmp_path / "table.csv"
    path.write_text(f"{first}\r\nfile, name;dog\r\na,b;rex\r\n\r\nc;luna;x\r\n", encoding="utf-8", newline="")
    found = read_source_table(path)
    assert list(found.names) == ["file, name", "dog"]
    assert [(row.line, row.fields) for row in found.rows] == [(3, ["a,b", "rex"]), (5, ["c", "luna", "x"])]
    assert found.header_line == 2


def test_row_names_of_r_have_a_column_without_a_name(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text('"file" "dog"\n'.replace(" ", "\t") + '"1"\t"a.jpg"\t"rex"\n"2"\t"b.jpg"\t"luna"\n')
    found = read_source_table(path)
    assert list(found.names) == ["", "file", "dog"]
    assert [row.fields for row in found.rows] == [["1", "a.jpg", "rex"], ["2", "b.jpg", "luna"]]
    path.write_text("file,dog\na.jpg,rex,\nb.jpg,luna,\n")  # a spreadsheet's empty last column
    assert list(read_source_table(path).names) == ["file", "dog"]


def test_a_separator_within_quotes_is_none(tmp_path):
    (tmp_path / "table.csv").write_text('"dog, by name";file\nrex;a.jpg\n')
    assert list(read_source_table(tmp_path / "table.csv").names) == ["dog, by name", "file"]


def test_utf_16_without_a_mark_is_told(tmp_path):
    (tmp_path / "table.csv").write_bytes("file,dog\na.jpg,rex\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="is not a table in UTF-8: save it as CSV in UTF-8"):
        read_source_table(tmp_path / "table.csv")


@pytest.mark.parametrize("start", [b"PK\3\4", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_an_excel_file_under_any_name_is_told_without_its_reader(tmp_path, monkeypatch, start):
    def missing(*_, **__):
        raise ImportError("Missing optional dependency 'openpyxl'")

    monkeypatch.setattr(source_tables.pd, "read_excel", missing)
    (tmp_path / "table.csv").write_bytes(start + bytes(60))
    with pytest.raises(DataError, match=r"is an Excel or OpenDocument file: save it as CSV in UTF-8 \(File, Save As\)"):
        read_source_table(tmp_path / "table.csv")


def test_a_damaged_excel_file_is_told(tmp_path):
    (tmp_path / "table.xlsx").write_bytes(b"PK\3\4" + bytes(60))
    with pytest.raises(DataError, match=r"table.xlsx: .*save it as CSV in UTF-8"):
        read_source_table(tmp_path / "table.xlsx")


def test_the_first_sheet_of_an_excel_file_is_read(tmp_path, monkeypatch):
    sheet = pd.DataFrame([["path", " dog "], ["a.jpg", "007"], ["", ""], ["b.jpg", "8"]], dtype=str)
    monkeypatch.setattr(source_tables.pd, "read_excel", lambda *_, **__: {"Dogs": sheet, "Notes": sheet[:0]})
    (tmp_path / "table.xlsx").write_bytes(b"PK\3\4")
    found = read_source_table(tmp_path / "table.xlsx")
    assert (list(found.names), found.note) == (["path", "dog"], "sheet 'Dogs', the first of 2")
    assert [(row.line, list(row.fields)) for row in found.rows] == [(2, ["a.jpg", "007"]), (4, ["b.jpg", "8"])]
