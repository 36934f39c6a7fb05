"""The table of instances of several domains."""

from dataclasses import replace
from pathlib import Path

import pytest

from noseprint.data.instances import (
    cap_instances,
    describe_instances,
    hold_out_instances,
    read_instances,
    write_instances,
)
from noseprint.errors import DataError, NoseprintError

ROWS = [
    ("images/a0.jpg", "a", "toys", "train", ""),
    ("images/a1.jpg", "a", "toys", "train", ""),
    ("images/b0.jpg", "b", "art", "test", "query"),
    ("images/b1.jpg", "b", "art", "test", "index"),
]


def _write(folder: Path, rows: list[tuple[str, ...]], header: str = "image,identity,domain,part,role") -> Path:
    for row in rows:
        if row[0]:
            (folder / row[0]).parent.mkdir(parents=True, exist_ok=True)
            (folder / row[0]).write_bytes(b"x")
    text = "".join(",".join(row) + "\n" for row in [tuple(header.split(",")), *rows])
    (folder / "images.csv").write_text(text)
    return folder


def test_a_table_is_read_and_written(tmp_path: Path) -> None:
    table = read_instances(_write(tmp_path, ROWS))
    assert table.identities == ("a", "a", "b", "b")
    assert table.domains == ("toys", "toys", "art", "art")
    assert table.roles == ("both", "both", "query", "index")
    assert table.is_query == (True, True, True, False)
    assert table.is_index == (True, True, False, True)
    assert table.part("test").names == ("images/b0.jpg", "images/b1.jpg")
    write_instances(tmp_path / "again.csv", table)
    assert read_instances(tmp_path, table=tmp_path / "again.csv") == table
    assert describe_instances(table).splitlines()[0].startswith("art: train 0 identities, 0 images; val 0")


def test_columns_are_found_by_name_and_only_two_are_needed(tmp_path: Path) -> None:
    rows = [("a", "x.jpg"), ("unknown", "y.jpg")]
    for _, name in rows:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "images.csv").write_text("Identity,File Name\n" + "".join(f"{a},{b}\n" for a, b in rows))
    table = read_instances(tmp_path)
    assert (table.names, table.domains, table.parts) == (("x.jpg",), ("all",), ("train",))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    _write(tmp_path, ROWS)
    bad = [
        *ROWS,
        ("images/a0.jpg", "a", "toys", "train", ""),
        ("images/a2.jpg", "a", "art", "train", ""),
        ("images/b2.jpg", "b", "art", "train", ""),
        ("../out.jpg", "c", "mean of domains", "learn", "seek"),
    ]
    text = "image,identity,domain,part,role\n" + "".join(",".join(row) + "\n" for row in bad)
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_instances(tmp_path)
    told = "\n".join(map(str, error.value.faults))
    for part in (
        "'images/a0.jpg' is already listed on line 2",
        "there is no image",
        "identity 'a' is of the domain 'art' here and 'toys' on line 2",
        "identity 'b' is in train here and in test on line 4",
        "part 'learn' is none of train, val, test",
        "role 'seek' is none of query, index, both",
        "is outside the data folder",
        "domain 'mean of domains': the scores call their mean so",
    ):
        assert part in told


def test_a_table_without_identities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoseprintError, match="is missing: write a table"):
        read_instances(tmp_path)
    with pytest.raises(DataError, match="there is no column identity"):
        read_instances(_write(tmp_path, ROWS, header="image,who,domain,part,role"))


def test_each_domain_holds_out_identities_and_a_small_one_none(tmp_path: Path) -> None:
    rows = [
        (f"{domain}{number}/{image}.jpg", f"{domain}{number}", domain, "train", "")
        for domain, identities in (("toys", 10), ("art", 4), ("pets", 2))
        for number in range(identities)
        for image in range(3)
    ]
    table = hold_out_instances(read_instances(_write(tmp_path, rows)), share=0.2)
    held_out = {
        domain: len(
            {
                i
                for i, d, p in zip(table.identities, table.domains, table.parts, strict=True)
                if d == domain and p == "val"
            }
        )
        for domain in ("toys", "art", "pets")
    }
    assert held_out == {"toys": 2, "art": 1, "pets": 0}
    assert hold_out_instances(table, share=0.5) == table  # a part val is there already
    fewer = hold_out_instances(
        replace(table, parts=("train",) * len(table)).where(d != "art" for d in table.domains), share=0.2
    )
    chosen = {i for i, p in zip(table.identities, table.parts, strict=True) if p == "val"}
    assert {i for i, p in zip(fewer.identities, fewer.parts, strict=True) if p == "val"} <= chosen


def test_identities_are_capped_and_small_ones_left_out(tmp_path: Path) -> None:
    rows = [(f"a/{n}.jpg", "a", "toys", "train", "") for n in range(9)]
    rows += [(f"b/{n}.jpg", "b", "toys", "train", "") for n in range(2)]
    rows += [("c/0.jpg", "c", "toys", "test", "")]
    table = cap_instances(read_instances(_write(tmp_path, rows)), most=5, least=3)
    assert table.identities == ("a",) * 5 + ("c",)
