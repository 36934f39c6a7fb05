import os

import pytest

from noseprint.models import compiled_cache as kept


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "noseprint"


def test_what_is_kept_is_recalled(folder):
    assert kept.recall("a") is None
    kept.keep("a", b"network")
    assert kept.recall("a") == b"network"
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 100])
def test_what_is_damaged_is_not_recalled(folder, damage):
    kept.keep("a", b"network")
    (folder / "a").write_bytes(damage)
    assert kept.recall("a") is None
    kept.keep("a", b"network")
    assert kept.recall("a") == b"network"


def test_one_flipped_bit_is_damage(folder):
    kept.keep("a", bytes(1000))
    data = bytearray((folder / "a").read_bytes())
    data[500] ^= 1
    (folder / "a").write_bytes(data)
    assert kept.recall("a") is None


def test_what_was_used_longest_ago_goes(folder, monkeypatch):
    monkeypatch.setattr(kept, "LIMIT", 3 * 132)
    for age, name in enumerate("abc"):
        kept.keep(name, bytes(100))
        os.utime(folder / name, (age, age))
    assert kept.recall("a")  # which is a use
    kept.keep("d", bytes(100))
    assert {path.name for path in folder.iterdir()} == {"a", "c", "d"}
    kept.keep("e", bytes(1000))  # larger than the limit by itself
    assert {path.name for path in folder.iterdir()} == {"e"}


def test_a_cache_out_of_reach_harms_nothing(folder, monkeypatch):
    folder.write_text("a file where the folder should be")
    kept.keep("a", b"network")
    assert kept.recall("a") is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    kept.keep("a", b"network")
    assert kept.recall("a") is None


def test_a_relative_cache_home_is_ignored_as_its_specification_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert kept.cache_folder().is_absolute()
