from pathlib import Path

import pytest

from noseprint.data.encounters import count_encounters, encounter_problem, group_times, parse_gap
from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError


def grouped(stamps, gap, identities=None):
    """The number of the encounter of each photograph, in order of first appearance."""
    names = group_times(identities or ["a"] * len(stamps), stamps, parse_gap(gap))
    return [list(dict.fromkeys(names)).index(name) for name in names]


def table(identities, encounters, column="date"):
    paths = tuple(Path(f"{n}.jpg") for n in range(len(identities)))
    return ImageTable(paths, tuple(identities), tuple(encounters), encounter_column=column)


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        *(("30min", [0, 0, 1, 2]), ("1h", [0, 0, 0, 1]), ("1d", [0, 0, 0, 0]), ("day", [0, 0, 0, 1])),
        *(("10 s", [0, 1, 2, 3]), ("0.5 hours", [0, 0, 1, 2]), ("2 weeks", [0, 0, 0, 0])),
    ],
)
def test_a_pause_longer_than_the_gap_begins_an_encounter(gap, expected):
    assert grouped(["2024-05-01 10:00", "2024-05-01 10:30", "2024-05-01 11:01", "2024-05-02 09:00"], gap) == expected


def test_each_individual_has_its_own_encounters_in_order_of_time_and_unknown_ones_stay():
    stamps = ["2024-05-01 10:20", "2024-05-01 10:00", "", "2024-05-01 10:40", "2024-05-01 10:59"]
    names = group_times(["a", "a", "a", "a", "b"], stamps, parse_gap("20min"))
    assert names == [stamps[1], stamps[1], "", stamps[1], stamps[4]]


@pytest.mark.parametrize(
    "stamps",
    [
        ("2024:05:01 10:00:00", "2024:05:01 10:00:09"),
        ("2024-05-01T10:00:00Z", "2024-05-01T12:00:09+02:00"),
        ("2024-05-01T10:00:00.123456789", "2024-05-01 10:00:09"),
        ("2024-05-01T10:00:00Z", "2024-05-01 10:00:09 UTC"),
        ("20240501_100000", "20240501100009"),
        ("2024/5/1 9:59", "2024.05.01 10.00.00"),
        ("1.5.2024 10:00", "01.05.24 10:01"),
        ("13/5/2024 10:00", "13/05/2024 10:01:00"),
        ("5/13/2024 9:59 AM", "5/13/2024 10:00:30 a.m."),
        ("1 May 2024 10:00", "May 1, 2024 10:01"),
        ("1714557600", "1714557609000"),
        ("2024-05-01_10-00-00", "2024-05-01 10h01"),
    ],
)
def test_time_stamps_are_read_however_they_are_written(stamps):
    assert grouped(stamps, "2min") == [0, 0]
    assert grouped(stamps, "1s") == [0, 1]


def test_a_day_is_that_of_the_place():
    stamps = ["2024-05-01T23:30-08:00", "2024-05-01T22:30-08:00", "2024-05-02T01:00-08:00"]
    assert grouped(stamps, "day") == [0, 0, 1]


def test_day_and_month_may_be_exchanged_where_the_encounters_are_the_same():
    assert grouped(["01/05/2024 10:00", "01/05/2024 10:05", "01/06/2024 10:05"], "30min") == [0, 0, 1]
    with pytest.raises(NoseprintError, match="is '01/05/2024 23:50' 01 May or 05 January"):
        grouped(["01/05/2024 23:50", "02/05/2024 00:05"], "30min")
    assert grouped(["30/05/2024 23:50", "31/05/2024 00:05"], "30min") == [0, 0]


@pytest.mark.parametrize("zoned", ["2024-05-01T10:00Z", "2024-05-01T12:00:00+02:00", "2024-05-01 10:00:00 UTC"])
def test_times_of_which_only_some_have_a_time_zone_are_refused(zoned):
    with pytest.raises(NoseprintError, match=r"has a time zone, and '2024-05-01 12:00:09' has none.*write all with"):
        grouped([zoned, "2024-05-01 12:00:09"], "30min")
    assert grouped([zoned, "2024-05-03"], "30min") == [0, 1]  # a day has no time to be exchanged


def test_what_is_no_time_stamp_is_named():
    with pytest.raises(NoseprintError, match=r"2 of 3 encounters are not time stamps.*'north', '17'"):
        grouped(["2024-05-01", "north", "17"], "1h")


@pytest.mark.parametrize("gap", ["30", "0h", "-1h", "500ms", "3 months", "1e3d", "", "h", "nan h"])
def test_other_gaps_are_refused(gap):
    with pytest.raises(NoseprintError, match=r"--encounter-gap .*such as 30min, 1h or 1d, or day"):
        parse_gap(gap)
    with pytest.raises(NoseprintError, match="too long"):
        parse_gap("99999999999d")


def test_encounters_are_counted_for_each_individual_and_without_those_not_known():
    found = table("aabbbb", ["x", "x", "x", "\0003", "", "5.jpg"])
    assert count_encounters(found) == (2, 3)
    assert count_encounters(ImageTable((Path("a"),), ("a",))) == (0, 0)


def test_time_stamps_of_bursts_are_a_problem_and_days_are_none():
    identities = [str(n // 4) for n in range(40)]
    stamps = [f"2024-05-{1 + n % 4 // 2:02} 10:00:{n:02}" for n in range(40)]
    problem = encounter_problem(table(identities, stamps))
    assert "the column 'date' gives 40 encounters for 40 photographs" in problem
    assert "--encounter-gap 30min would make 20 of them" in problem
    assert encounter_problem(table(identities, [stamp[:10] for stamp in stamps])) is None
    assert encounter_problem(table(identities, [f"2024-05-{1 + n % 28:02}" for n in range(40)])) is None
    assert encounter_problem(table(identities, [f"2024-05-01 {n % 24:02}:00" for n in range(40)])) is None


def test_a_constant_column_and_one_of_names_are_a_problem():
    identities = [str(n // 4) for n in range(40)]
    assert "the column 'camera' has one value only, 'north'" in encounter_problem(
        table(identities, ["north"] * 40, "camera")
    )
    assert "40 encounters for 40 photographs" in encounter_problem(table(identities, [f"IMG {n}" for n in range(40)]))
    assert encounter_problem(table(identities, ["x", "y"] * 20)) is None
    assert encounter_problem(table([str(n) for n in range(40)], ["x"] * 40)) is None  # nothing to compare
    assert encounter_problem(ImageTable((Path("a"),), ("a",))) is None
    assert encounter_problem(table(identities, [f"{n}.jpg" for n in range(40)])) is None  # an import's unknown ones
