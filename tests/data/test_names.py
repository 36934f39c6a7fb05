import unicodedata

import pytest

from noseprint.data.names import (
    SimilarFiles,
    alike_form,
    alike_groups,
    alike_text,
    count_text,
    disk_form,
    is_missing,
    positions,
    rounded_numbers,
    rounded_text,
)

MISSING = [
    *("", " ", "NA", "N/A", "n.a.", "<NA>", "#N/A", "nan", "NaN", "-nan", "NaT", "None", "none", "NULL", "nil"),
    *("unknown", "Unknown ", "(unknown)", "unknown?", "UNKNOWN\u00a0", "un\u00adknown", "\uff35\uff2e\uff2b"),
    *("-1.0", "-999.00", r"\N", "new_whale", "New individual", "unknown zebra", "Unidentified (male)", "unknown-calf"),
    *("unidentified", "Not known", "not-identified", "no id", "No_ID", "unknown individual", "unnamed", "TBD"),
    *(
        "?",
        "??",
        "\uff1f",
        "-",
        "--",
        "\u2014",
        "____",
        "...",
        "*",
        "\u200b",
        "\u3000",
        "\u3164",
        "-1",
        "-999",
        "#REF!",
    ),
]
NAMES = ["0", "7", "x", "A", "Nana", "Nanook", "Noname2", "unknown 1", "Rex?", "NA12", "\u72ac", "\U0001f436", "-1e9"]
NAMES += ["N", "1.0", "Newt", "unknown A", "unknown zebra 2"]


@pytest.mark.parametrize("name", MISSING)
def test_missing_values_are_recognised_however_they_are_written(name):
    assert is_missing(name)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_not_missing(name):
    assert not is_missing(name)


def test_further_words_are_compared_as_a_person_compares_them():
    assert not is_missing("unbekannt ")
    assert is_missing("unbekannt ", ("Unbekannt", "0"))
    assert is_missing("000", ("Unbekannt", "0"))
    assert is_missing("NA", ("Unbekannt",))
    assert not is_missing("100", ("0",))


@pytest.mark.parametrize(
    "names",
    [
        ("7", "007", "7.0", "07.00", "\uff17", "\u0667"),
        ("Rex", "rex", "REX", "r\u200bex", "\uff32\uff45\uff58", "Rex\u00a0", "\ufeffRex", "R\u00adex"),
        ("Rex 7", "rex_007", "REX-7", "Rex\u30007", "Rex7", "Rex\u202f07", "Rex\t7"),
        ("O'Brien", "o\u2019brien", "O\u00b4Brien"),
        (unicodedata.normalize("NFC", "Zo\u00eb"), unicodedata.normalize("NFD", "zo\u00eb")),
        ("-1", "-01"),
        ("1 2", "1_2", "01-02"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u2764\ufe0f", "\u2764"),
        ("Rex", "Rex?", "rex.", "'Rex'", "\u201eRex\u201c", "(REX)", "Rex (?)", "Rex *", "rex,"),
        ("7", "#7", "#007", "7.", "[7]", "'7"),
    ],
)
def test_names_that_a_person_takes_for_the_same_are_alike(names):
    assert len(set(map(alike_form, names))) == 1
    assert alike_groups(("another", *names, "another")) == [tuple(sorted(names))]


@pytest.mark.parametrize(
    "names",
    [
        *(("1", "-1"), ("1", "10"), ("12", "1 2"), ("1 12", "11 2"), ("1.5", "1.05"), ("1.5", "15"), ("1/2", "12")),
        *(
            ("Rex", "Rex 2"),
            ("Rex", "R x"),
            ("Zoe", "Zo\u00eb"),
            ("0", "00a"),
            ("St. Rex", "Rex"),
            ("-7", "7"),
            ("B+", "B"),
        ),
    ],
)
def test_names_that_a_person_tells_apart_are_not_alike(names):
    assert alike_groups(names) == []


def test_a_number_of_any_length_can_be_compared():
    assert alike_groups(["1" * 10_000, "0" + "1" * 10_000, "1" * 9_999]) == [("0" + "1" * 10_000, "1" * 10_000)]


def test_numbers_that_a_spreadsheet_has_rounded_are_found():
    rounded = ["9,85112E+14", "9.85112E+14", "9.85112e+14", "9E+14"]
    exact = ["985112003456789", "985112003456789.0", "1e10", "9.8", "E+14", "9.85112E+14b"]
    assert rounded_numbers([*rounded, *exact, rounded[0]]) == rounded
    assert "'9,85112E+14', '9.85112E+14'" in rounded_text(rounded)


def test_columns_are_found_by_their_exact_name_before_another_case():
    assert positions("id", ["ID", "x", "id"]) == [2]
    assert positions("Id", ["ID", "x", "id"]) == [0, 2]
    assert positions("y", ["ID"]) == []


def test_messages_show_how_names_differ():
    accents = [unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD")]
    assert alike_text([("007", "7"), ("Rex", "R\u200bex"), accents]) == (
        "'007' and '7'; 'Rex' and 'R\\u200bex'; '\\xe9' and 'e\\u0301'"
    )
    assert alike_text([("a", "A")] * 101).endswith("; and 1 more")
    assert count_text(["?", "NA", "", "NA"]) == "'NA' (2), empty (1), '?' (1)"


def test_a_disk_ignores_case_and_the_unicode_form_but_not_zeros():
    assert disk_form("\u00c9.JPG") == disk_form("e\u0301.jpg")
    assert disk_form("1.jpg") != disk_form("01.jpg")


def test_a_similar_file_is_found_in_similar_folders(tmp_path):
    (tmp_path / "Photos" / "Rex").mkdir(parents=True)
    found = tmp_path / "Photos" / "Rex" / "IMG 1.JPG"
    found.touch()
    similar = SimilarFiles()
    for path in ("photos/rex/img 1.jpg", "Photos/REX/IMG_001.JPG", "photos/../photos/rex/img 1.jpg"):
        assert similar.find(tmp_path / path).samefile(found)
    assert similar.find(tmp_path / "photos" / "rex" / "img 2.jpg") is None
    assert similar.find(tmp_path / "photos" / "rex" / "img 1.jpg" / "x") is None
    assert similar.find(tmp_path / ("x" * 300)) is None
