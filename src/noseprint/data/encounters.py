"""Encounters: whether they make sense, and how time stamps become encounters."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, product
from typing import Literal

from noseprint.data.tables import ImageTable, RetrievalTable
from noseprint.errors import NoseprintError

Gap = timedelta | Literal["day"]
"""A new encounter begins after a pause that is longer than this, or with each day."""

BURST = timedelta(minutes=30)
"""Photographs of an individual that follow one another within this time are probably of one encounter."""

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
          "d": 86400, "day": 86400, "w": 604800, "week": 604800}  # fmt: skip
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%Y%m%d", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
_DAY_FIRST = ("%d-%m-%Y", "%d-%m-%y")
_MONTH_FIRST = ("%m-%d-%Y", "%m-%d-%y")
_TIMES = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p", " %H%M%S")
_OWN = 0.9
"""From this share on, nearly each photograph is an encounter of its own."""


def parse_gap(text: str) -> Gap:
    """`30min`, `1h`, `1.5 hours`, `1d`, or `day` for each calendar day. Raises NoseprintError for anything else."""
    text = text.strip().lower()
    if text in ("day", "date"):
        return "day"
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text)
    unit = _UNITS.get(found[2]) or _UNITS.get(found[2].removesuffix("s"), 0) if found and found[2] != "ms" else None
    if not (found and unit and float(found[1]) > 0):
        raise NoseprintError(f"--encounter-gap {text}: give a time with its unit, such as 30min, 1h or 1d, or day")
    try:
        return timedelta(seconds=float(found[1]) * unit)
    except OverflowError:
        raise NoseprintError(f"--encounter-gap {text}: is too long") from None


def group_times(identities: Sequence[str], stamps: Sequence[str], gap: Gap) -> list[str]:
    """Name the encounter of each photograph by the first time stamp in it; "" if its own stamp is "".

    identities, stamps: (N,). Days and times may be written in any usual way: ISO 8601, as in EXIF, with the day or the
    month first, or as seconds since 1970.
    Raises NoseprintError if a stamp is not a time, if only some of the times of day have a time zone, or if the
    encounters depend on whether the day or the month is first.
    """
    distinct = list(dict.fromkeys(filter(None, stamps)))
    readings = [_read_times(distinct, dates) for dates in ((*_DATES, *_DAY_FIRST), (*_DATES, *_MONTH_FIRST))]
    bad = min(([text for text in distinct if text not in times] for times in readings), key=len)
    if bad:
        raise NoseprintError(
            f"{len(bad)} of {len(distinct)} encounters are not time stamps, so they have no gaps: "
            f"{', '.join(map(repr, bad[:5]))}; write them as 2024-05-31 14:30:00, or leave out --encounter-gap"
        )
    clock_times = {_has_zone(text): text for text in distinct if re.search(r" \d+[:h]| \d{6}", _plain(text))}
    if len(clock_times) == 2:
        raise NoseprintError(
            f"{clock_times[True]!r} has a time zone, and {clock_times[False]!r} has none, so the time between them is "
            "not known: write all with a time zone, or none"
        )
    groupings = [_group(identities, stamps, times, gap) for times in readings if len(times) == len(distinct)]
    if any(grouping != groupings[0] for grouping in groupings):
        first, second = readings
        unclear = next(text for text in distinct if first[text] != second[text])
        raise NoseprintError(
            f"is {unclear!r} {first[unclear]:%d %B} or {second[unclear]:%d %B}? The encounters depend on it: write the "
            "time stamps as 2024-05-31 14:30:00"
        )
    return groupings[0] if groupings else list(stamps)


def only_value(encounters: Sequence[str] | None, *, column: str) -> str:
    """For a message: that the column of these encounters (N,) has one value only; "" if it has several, or none."""
    values = {encounter for encounter in encounters or () if encounter and encounter[0] != "\0"}
    return f"the column {column!r} has one value only, {values.pop()!r}" if len(values) == 1 else ""


def count_encounters(table: ImageTable | RetrievalTable) -> tuple[int, int]:
    """The numbers of known encounters in a table, and of photographs in them. One of two individuals counts twice."""
    known = list(_known(table))
    return len(set(known)), len(known)


def encounter_problem(table: ImageTable | RetrievalTable) -> str | None:
    """Why the encounters of a table are useless, and how to fix them; None if they are useful.

    They are useless if they have one value only, if time stamps split bursts, or if nearly each photograph is an
    encounter of its own, whose text is not a day.
    """
    known = list(_known(table))
    identities, encounters = [identity for identity, _ in known], [encounter for _, encounter in known]
    if len(set(identities)) == len(known):  # no individual has two photographs
        return None
    if constant := only_value(encounters, column=table.encounter_column):
        return f"{constant}, so it tells no encounters apart: remove it, or import with --no-encounters"
    number, values = len(set(known)), list(dict.fromkeys(encounters))
    counted = f"the column {table.encounter_column!r} gives {number} encounters for {len(known)} photographs"
    times = max((_read_times(values, (*_DATES, *order)) for order in (_DAY_FIRST, _MONTH_FIRST)), key=len)
    if len(times) == len(values):
        if all(stamp.time() == time() for stamp in times.values()):
            return None
        left = len(set(zip(identities, _group(identities, encounters, times, BURST), strict=True)))
        if left > _OWN * number:
            return None
        return (
            f"{counted}, because each photograph of a burst has its own time stamp: noseprint import --encounter-gap "
            f"30min would make {left} of them (other gaps: 1h, 1d, day)"
        )
    if number < _OWN * len(known):
        return None
    return (
        f"{counted}: write one text for all photographs of an occasion; otherwise photographs of a burst are compared "
        "as if they were from different days"
    )


def _known(table: ImageTable | RetrievalTable) -> Iterator[tuple[str, str]]:
    """Identity and encounter of each photograph whose encounter is known.

    If it is not known, `noseprint import` writes the photograph's own name.
    """
    for path, identity, encounter in zip(table.paths, table.identities, table.encounters or (), strict=False):
        if encounter and encounter[0] != "\0" and encounter != path.name:
            yield identity, encounter


def _group(identities: Sequence[str], stamps: Sequence[str], times: Mapping[str, datetime], gap: Gap) -> list[str]:
    rows_of = defaultdict(list)
    for row, (identity, stamp) in enumerate(zip(identities, stamps, strict=True)):
        if stamp:
            rows_of[identity].append(row)
    names = [""] * len(stamps)
    for rows in rows_of.values():
        rows.sort(key=lambda row: times[stamps[row]])
        names[rows[0]] = stamps[rows[0]]
        for before, row in pairwise(rows):
            one, other = times[stamps[before]], times[stamps[row]]
            starts = one.date() != other.date() if gap == "day" else other - one > gap
            names[row] = stamps[row] if starts else names[before]
    return names


def _read_times(stamps: Iterable[str], dates: Sequence[str]) -> dict[str, datetime]:
    """The time of each of the stamps that is one, in its own time zone or else in UTC."""
    formats = [date + time_of_day for date, time_of_day in product(dates, _TIMES)]
    times = {}
    for stamp in stamps:
        text = _plain(stamp)
        if re.fullmatch(r"\d{10}(\.\d+)?|\d{13}", text):
            times[stamp] = datetime.fromtimestamp(float(text[:10]), UTC)
            continue
        try:
            found = datetime.fromisoformat(text)
            times[stamp] = found if found.tzinfo else found.replace(tzinfo=UTC)
            continue
        except ValueError:
            pass
        for each in formats:
            try:
                times[stamp] = datetime.strptime(text, each).replace(tzinfo=UTC)
            except ValueError:
                continue
            formats.remove(each)  # the next stamp probably has the same format
            formats.insert(0, each)
            break
    return times


def _has_zone(stamp: str) -> bool:
    return bool(re.search(r"(\d ?Z|[+-]\d\d(:?\d\d)?|UTC|GMT)$", stamp.strip().partition(":")[2]))


def _plain(stamp: str) -> str:
    """A time stamp with hyphens in its date, colons in its time, and one space between the two."""
    text = re.sub(r"\s+", " ", re.sub(r"(?<=\d)[T_](?=\d)", " ", stamp.replace(",", " ").strip()))
    text = re.sub(r" ?(UTC|GMT)$| (?=[+-]\d\d:?\d\d$)", "", text)
    text = re.sub(r"^(\d{8}) ?-?(\d{6})$", r"\1 \2", text)
    text = re.sub(r"^(\d{4})[-/.:](\d{1,2})[-/.:](\d{1,2})(?!\d)", r"\1-\2-\3", text)
    text = re.sub(r"^(\d{1,2})[-/](\d{1,2})[-/](\d{2}|\d{4})(?!\d)", r"\1-\2-\3", text)
    text = re.sub(r" (\d\d)[-.h](\d\d)(?:[-.m](\d\d)s?)?$", _with_colons, text)
    return re.sub(r"(?i)([ap])\.m\.?", r"\1m", text)


def _with_colons(time_of_day: re.Match[str]) -> str:
    return " " + ":".join(filter(None, time_of_day.groups()))
