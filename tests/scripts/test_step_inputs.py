import os
import subprocess
import sys

import pytest

from noseprint.errors import NoseprintError
from noseprint.step_inputs import fingerprint


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.jpg").write_bytes(b"12")
    (folder / "sub" / "A*1.jpg").write_bytes(b"1")
    return folder


def test_each_part_counts(tmp_path, images):
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x")
    other.write_text("x")
    prints = [
        fingerprint(),
        fingerprint(text=["a"]),
        fingerprint(text=["ab", "c"]),
        fingerprint(text=["a", "bc"]),
        fingerprint(text=["c", "ab"]),
        fingerprint(files=[file]),
        fingerprint(files=[other]),
        fingerprint(files=[file, other]),
        fingerprint(images=[images]),
        fingerprint(images=[images, images]),
        fingerprint(images=[images / "sub"]),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 64 for text in prints)


@pytest.mark.parametrize("name", ["new.jpg", "b.jpg", "sub/A*1.jpg"])
def test_images_count_with_name_and_size(images, name):
    before = fingerprint(images=[images])
    (images / name).write_bytes(b"another length")
    assert fingerprint(images=[images]) != before


def test_what_does_not_count(images, tmp_path):
    before = fingerprint(images=[images])
    (images / ".DS_Store").write_bytes(b"1")
    (images / ".cache").mkdir()
    (images / ".cache" / "x.jpg").write_bytes(b"1")
    (images / "b.jpg").write_bytes(b"34")
    os.utime(images / "b.jpg", (0, 0))
    moved = tmp_path / "moved"
    images.rename(moved)
    assert fingerprint(images=[moved]) == before


def test_missing_is_refused(tmp_path):
    for missing in ({"files": [tmp_path / "no.csv"]}, {"files": [tmp_path]}, {"images": [tmp_path / "none"]}):
        with pytest.raises(NoseprintError, match="cannot be read"):
            fingerprint(**missing)


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "noseprint.step_inputs", *args], capture_output=True, text=True, check=False
    )


def test_command_line(images, tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x")
    result = command("--text=--small", "--file", str(file), "--images", str(images), str(images))
    assert result.stdout == fingerprint(text=["--small"], files=[file], images=[images, images]) + "\n"
    result = command("--file", str(tmp_path / "no.csv"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    assert "no.csv" in result.stderr
    assert command("--fil", "x").returncode == 2


def test_is_quick_to_start():
    code = "import sys, noseprint.step_inputs; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
