"""What `noseprint import` refuses or leaves out, and how it says so."""

import errno
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from noseprint.commands.import_photographs import Import
from noseprint.data.decoding import decode
from noseprint.errors import NoseprintError
from noseprint.inspection.check import check

from .conftest import everything, rows


def add_faults(photos):
    (photos / "Réx, 0" / "notes.txt").write_text("a good dog")
    (photos / "Réx, 1" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (photos / "stray.jpg").write_bytes((photos / "Réx, 2" / "1.JPG").read_bytes() + b"\0")
    shutil.copy(photos / "Réx, 4" / "1.JPG", photos / "Réx, 5" / "stolen.jpg")
    shutil.copy(photos / "Réx, 6" / "1.JPG", photos / "Réx, 6" / "again.jpg")


def test_all_unusable_files_are_listed_at_once_and_nothing_is_written(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("noseprint.data.decoding.can_decode", lambda kind: kind != "HEIC")
    add_faults(photos)
    before = everything(tmp_path)
    with pytest.raises(NoseprintError) as error:
        Import(photos, tmp_path / "data")()
    summary = "5 files cannot be used", "(copies are left out, too: 1)"
    parts = (*summary, "notes.txt", "is HEIC", "magick mogrify", "stray.jpg")
    assert [part for part in parts if part not in str(error.value)] == []
    assert "'Réx, 4' and 'Réx, 5'" in str(error.value)
    assert everything(tmp_path) == before


def test_skip_bad_leaves_unusable_files_out_and_lists_them_with_the_copies(photos, tmp_path, capsys):
    add_faults(photos)
    Import(photos, tmp_path / "data", skip_bad=True)()
    assert "Skipped: 5 unusable files and 1 copies, listed in" in capsys.readouterr().out
    listed = {row["image"].rpartition("/")[2]: row["problem"] for row in rows(tmp_path / "data" / "skipped.csv")}
    assert set(listed) == {"notes.txt", "phone.heic", "stray.jpg", "stolen.jpg", "1.JPG", "again.jpg"}
    assert any("is the same file as" in problem and "left out" in problem for problem in listed.values())
    assert check(tmp_path / "data").faults == []
    for row in rows(tmp_path / "data" / "imported.csv"):
        decode(tmp_path / "data" / row["folder"] / "images" / row["image"])


def test_a_source_one_folder_too_deep_gives_one_message(photos, tmp_path, monkeypatch):
    own = photos / "Réx, 6"
    with pytest.raises(NoseprintError) as error:
        Import(own, tmp_path / "data")()
    assert str(error.value) == f"{own} holds files, but no folder for each individual: did you mean {photos}?"
    monkeypatch.chdir(own)
    with pytest.raises(NoseprintError, match=f"did you mean {photos}"):
        Import(Path(), tmp_path / "data")()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\nx,y\n", {}, "which column is the image"),
        ("path,b\nx,y\n", {}, "which column is the identity"),
        ("path,id\nx,y\n", {"identity_column": "dog"}, "there is no column 'dog'"),
        ("path,id\nx.jpg,y\n", {}, r"table.csv, line 2: there is no photograph .*x.jpg"),
        ("path,id\n,y\n", {}, "line 2: there is no photograph"),
        ("path,id\nx.jpg,\n", {}, "line 2: there is no photograph"),
        ("path,id\nx.jpg,y,z\n", {}, "3 fields, the header has 2"),
        ('path,id\nx.jpg,"y\n', {}, "line 2.*check the quotes"),
        ("path,id\nx.jpg,y\x07\n", {}, "control character"),
        ("path,id\n", {}, "no photographs below the header"),
        ("", {}, "which column is the image"),
        ("path,id\nx,Ré\n", {}, "UTF-8"),
    ],
)
def test_faults_in_a_table_are_reported(tmp_path, text, options, message):
    (tmp_path / "table.csv").write_text(text, encoding="latin-1")
    with pytest.raises(NoseprintError, match=message):
        Import(tmp_path / "table.csv", tmp_path / "data", **options)()
    assert not (tmp_path / "data").exists()


def test_unsuitable_sources_and_targets_are_rejected(photos, tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.mkdir()
    Import(photos, full)()  # an empty folder may be the target
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    inside = photos / "data"
    for target, message in (full, "already"), (inside, "lies inside"), (Path(), "current folder"), (inside, "no such"):
        with pytest.raises(NoseprintError, match=message):
            Import(photos if message != "no such" else tmp_path / "nowhere", target)()


def test_too_few_individuals_are_rejected_with_the_number_needed(photos, tmp_path):
    for folder in sorted(photos.iterdir())[5:]:
        shutil.rmtree(folder)
    done = subprocess.run(
        [sys.executable, "-m", "noseprint", "import", str(photos), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "at least 10 are needed: 6 to train" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_individuals_with_alike_names_are_refused_or_merged_or_kept(photos, tmp_path, capsys):
    shutil.copytree(photos / "Réx, 2", photos / "réx,2")
    for path in (photos / "réx,2").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")  # other bytes, so another photograph
    decomposed = photos / unicodedata.normalize("NFD", "Réx, 4")
    if not decomposed.exists():  # on some file systems both names are one
        (photos / "Réx, 3" / "2024").rename(decomposed)
    (photos / "Réx, 5").rename(photos / "5")
    shutil.copytree(photos / "5", photos / "005")
    (photos / "Réx, 6" / "notes.txt").write_text("a good dog")
    before = everything(tmp_path)
    with pytest.raises(NoseprintError) as error:
        Import(photos, tmp_path / "data")()
    assert "'Réx, 2' and 'réx,2'" in str(error.value)
    assert f"{decomposed.name!a} and {'Réx, 4'!a}" in str(error.value)
    assert "'005' and '5'" in str(error.value)
    assert "notes.txt" in str(error.value)
    assert "same file under '005' and '5'" in str(error.value)
    assert everything(tmp_path) == before
    (photos / "Réx, 6" / "notes.txt").unlink()
    Import(photos, tmp_path / "data", merge_alike=True)()
    assert "Taken for one individual each: '005' and '5'" in capsys.readouterr().out
    whose = {row["original"]: row["identity"] for row in rows(tmp_path / "data" / "imported.csv")}
    assert len(set(whose.values())) == 11
    assert {whose[str(path)] for path in (photos / "réx,2").iterdir()} == {"Réx, 2"}  # the first of two as frequent
    shutil.rmtree(photos / "005")
    Import(photos, tmp_path / "kept", keep_alike=True)()
    printed = capsys.readouterr().out
    assert "Kept as different individuals: " in printed
    assert "; 'Réx, 2' and 'réx,2'.\n" in printed
    assert {"Réx, 2", "réx,2"} < {row["identity"] for row in rows(tmp_path / "kept" / "imported.csv")}
    with pytest.raises(NoseprintError, match="contradict"):
        Import(photos, tmp_path / "new", keep_alike=True, merge_alike=True)


def test_a_constant_encounter_column_is_named_as_the_reason(table, tmp_path, capsys):
    text = re.sub(r";\d?$", ";north", table.read_text("utf-8-sig"), flags=re.M).replace("encounter", "camera")
    table.write_text(text, encoding="utf-8-sig")
    with pytest.raises(
        NoseprintError, match=r"11 have two .*: the column 'camera' has one value only, 'north'"
    ) as error:
        Import(table, tmp_path / "data")()
    assert "--no-encounters" in str(error.value)
    Import(table, tmp_path / "data", encounters=False)()
    assert "encounter 'camera'; encounters are not used" in capsys.readouterr().out
    assert "encounter" not in rows(tmp_path / "data" / "retrieval.csv")[0]
    with pytest.raises(NoseprintError, match="--no-encounters contradicts"):
        Import(table, tmp_path / "new", encounters=False, encounter_gap="1h")


def test_one_box_of_two_individuals_and_boxes_that_do_not_fit_are_faults_with_their_lines(frames, tmp_path):
    lines = frames.read_text().splitlines()
    lines[3] = lines[3].replace("[2, 1, 25, 29]", "[42, 1, 25, 29]")
    lines[5] = lines[5].replace("[2, 1, 25, 29]", "[2, 1, 0, 29]")
    lines[7] = lines[7].replace('"[2, 1, 25, 29]"', "")
    frames.write_text("\n".join([*lines, '0.png,dog 5,"[2, 1, 25, 29]"', '0.png,dog 0,"[2, 1, 25, 29]"', ""]))
    with pytest.raises(NoseprintError) as error:
        Import(frames, tmp_path / "data")()
    for message in (
        "frames.csv, line 4: the box [42, 1, 25, 29] as x,y,w,h extends beyond the photograph of 60 x 30 pixels",
        "frames.csv, line 6: the box [2, 1, 0, 29] as x,y,w,h is empty",
        "frames.csv, line 8: there is no box",
        "0.png: is the same file, cut to the same box [2, 1, 25, 29], under 'dog 0' and 'dog 5'",
    ):
        assert message in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_a_confidence_out_of_range_is_rejected(confidence):
    with pytest.raises(NoseprintError, match="--confidence"):
        Import(Path("a"), Path("b"), confidence=confidence)


def test_a_disk_without_hard_links_is_told(photos, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(NoseprintError, match=r"--link: .*cannot be linked into .*data.*leave --link out, or name a"):
        Import(photos, tmp_path / "data", link=True)()
    assert not (tmp_path / "data").exists()


def test_a_link_to_a_folder_is_reported(photos, tmp_path):
    elsewhere = (photos / "Réx, 2").rename(tmp_path / "elsewhere")
    (photos / "Réx, 2").symlink_to(elsewhere)
    with pytest.raises(NoseprintError, match=r"Réx, 2: is a link to a folder"):
        Import(photos, tmp_path / "data")()
    assert not (tmp_path / "data").exists()
