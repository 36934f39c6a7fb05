import os
import subprocess
import sys

import pytest

from noseprint.errors import NoseprintError
from noseprint.step_inputs import hash_inputs


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.jpg").write_bytes(b"12")
    (folder / "sub" / "A*1.jpg").write_bytes(b"1")
    return folder


def test_each_input_and_the_order_change_the_hash(tmp_path, images):
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x")
    other.write_text("x")
    hashes = [
        hash_inputs(),
        hash_inputs(text=["a"]),
        hash_inputs(text=["ab", "c"]),
        hash_inputs(text=["a", "bc"]),
        hash_inputs(text=["c", "ab"]),
        hash_inputs(paths=[file]),
        hash_inputs(paths=[other]),
        hash_inputs(paths=[file, other]),
        hash_inputs(paths=[images]),
        hash_inputs(paths=[images, images]),
        hash_inputs(paths=[images / "sub"]),
    ]
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 64 for text in hashes)


@pytest.mark.parametrize("name", ["new.jpg", "b.jpg", "sub/A*1.jpg"])
def test_the_hash_of_a_folder_depends_on_names_and_sizes(images, name):
    before = hash_inputs(paths=[images])
    (images / name).write_bytes(b"another length")
    assert hash_inputs(paths=[images]) != before


def test_hidden_files_times_and_location_do_not_change_the_hash(images, tmp_path):
    before = hash_inputs(paths=[images])
    (images / ".DS_Store").write_bytes(b"1")
    (images / ".cache").mkdir()
    (images / ".cache" / "x.jpg").write_bytes(b"1")
    (images / "b.jpg").write_bytes(b"34")
    os.utime(images / "b.jpg", (0, 0))
    moved = tmp_path / "moved"
    images.rename(moved)
    assert hash_inputs(paths=[moved]) == before


def test_links_are_followed_once_and_may_lead_nowhere(images, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (images / "class").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(images)
    (images / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    before = hash_inputs(paths=[images])
    (elsewhere / "new.jpg").write_bytes(b"1")
    after = hash_inputs(paths=[images])
    (tmp_path / "gone.jpg").write_bytes(b"1")
    assert len({before, after, hash_inputs(paths=[images])}) == 3


def test_the_program_prints_the_hash_or_names_what_is_missing(images, tmp_path):
    def program(*args):
        command = [sys.executable, "-m", "noseprint.step_inputs", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True)

    file = tmp_path / "a.py"
    file.write_text("x")
    expected = hash_inputs(text=["--small"], paths=[file, images])
    assert program("--text=--small", file, images).stdout == expected + "\n"
    missing = tmp_path / "no.csv"
    with pytest.raises(NoseprintError, match=r"no\.csv: cannot be read"):
        hash_inputs(paths=[missing])
    result = program(missing)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{missing}: cannot be read (No such file or directory)\n"
    assert program("--tex", "x").returncode == 2
