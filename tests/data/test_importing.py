"""`noseprint import`: from folders or a table to a data folder, without changing the user's files."""

import csv
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from noseprint.commands.import_photographs import Import
from noseprint.data.decoding import decode
from noseprint.data.tables import read_labels, read_pairs, read_retrieval, read_train
from noseprint.errors import NoseprintError
from noseprint.inspection.check import check


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(demo, tmp_path):
    """A folder for each of 12 dogs, one of them with a single photograph, named as people name them."""
    folder = tmp_path / "photos"
    for path, identity in zip(read_train(demo).paths, read_train(demo).identities, strict=True):
        own = folder / f"Réx, {identity}" / ("2024" if identity == "3" else "")
        own.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own / f"{len(list(own.iterdir())) + 1}.JPG")
    (folder / "Réx, 0" / ".DS_Store").write_bytes(b"x")
    single = sorted((folder / "Réx, 11").iterdir())
    for path in single[1:]:
        path.unlink()
    return folder


@pytest.fixture
def table(photos, tmp_path):
    """The same as a table with semicolons, relative paths and a column for encounters."""
    found = sorted(path for path in photos.rglob("*.JPG"))
    lines = [
        f'{k};photos/{path.relative_to(photos).as_posix()};"{path.relative_to(photos).parts[0]}";{k % 2 or ""}'
        for k, path in enumerate(found)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["no;Path;Individual;encounter", *lines, ""]), encoding="utf-8-sig")
    return path


def test_folders_become_a_data_folder_without_findings(photos, tmp_path, capsys):
    before, target = everything(photos), tmp_path / "new" / "data"
    Import(photos, target)()
    assert everything(photos) == before
    assert "train.sh --check --data" in capsys.readouterr().out
    report = check(target)
    assert (report.faults, report.remarks) == ([], [])
    imported = rows(target / "imported.csv")
    assert len(imported) == len(before) - 1
    assert len({row["image"].casefold() for row in imported}) == len(imported)
    split_of = {row["identity"]: row["folder"] for row in imported}
    for row in imported:
        assert row["folder"] == split_of[row["identity"]]
        copy = target / row["folder"] / "images" / row["image"]
        assert copy.read_bytes() == before[str(tmp_path.joinpath(row["original"]).relative_to(photos))]
        assert copy.name.isascii()
    whose = {row["image"]: row["identity"] for row in imported}
    train, (pairs, same) = read_train(target), read_labels(target, "test")
    assert {path.name: identity for path, identity in zip(train.paths, train.identities, strict=True)} == {
        row["image"]: row["identity"] for row in imported if row["folder"] == "train"
    }
    assert read_pairs(target, "test") == pairs
    assert tuple(whose[a] == whose[b] for a, b in zip(pairs.image_a, pairs.image_b, strict=True)) == same
    assert len(read_pairs(target, "validation"))
    search = read_retrieval(target)
    assert {path.name for path in search.paths} == {r["image"] for r in imported if r["folder"] == "test"}
    queried = {i for i, q in zip(search.identities, search.is_query, strict=True) if q}
    assert queried == {i for i, s in split_of.items() if s == "test"}
    assert not (target / "skipped.csv").exists()


def test_a_table_with_any_separator_gives_encounters(table, tmp_path, capsys):
    Import(table, tmp_path / "data")()
    assert "image 'Path', identity 'Individual', encounter 'encounter'" in capsys.readouterr().out
    for name in ("train/train_data.csv", "retrieval.csv"):
        found = rows(tmp_path / "data" / name)
        assert list(found[0])[-1] == "encounter"
        assert all(row["encounter"] for row in found)  # an unknown one is the photograph's own name
        assert len({row["encounter"] for row in found}) > 2
    assert {row["encounter"] for row in rows(tmp_path / "data" / "imported.csv")} == {"", "1"}
    assert check(tmp_path / "data").faults == []


def test_inner_folders_may_be_encounters(photos, tmp_path):
    Import(photos, tmp_path / "data", encounter_folders=True)()
    assert {row["encounter"] for row in rows(tmp_path / "data" / "imported.csv")} == {"", "2024"}


def test_the_same_seed_gives_the_same_bytes_and_link_makes_hard_links(photos, tmp_path):
    for name, seed, link in (("a", 0, False), ("b", 0, True), ("c", 1, False)):
        Import(photos, tmp_path / name, seed=seed, link=link)()
    assert everything(tmp_path / "a") == everything(tmp_path / "b") != everything(tmp_path / "c")
    for name, links in (("a", 1), ("b", 2)):
        assert {path.stat().st_nlink for path in (tmp_path / name / "train" / "images").iterdir()} == {links}


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
    parts = ("5 files cannot be used", "(and the copies: 1)", "notes.txt", "is HEIC", "magick mogrify", "stray.jpg")
    assert [part for part in parts if part not in str(error.value)] == []
    assert "'Réx, 4' and 'Réx, 5'" in str(error.value)
    assert everything(tmp_path) == before


def test_skip_bad_leaves_them_out_and_lists_them_with_the_copies(photos, tmp_path, capsys):
    add_faults(photos)
    Import(photos, tmp_path / "data", skip_bad=True)()
    assert "Skipped: 5 unusable files and 1 copies, listed in" in capsys.readouterr().out
    listed = {row["image"].rpartition("/")[2]: row["problem"] for row in rows(tmp_path / "data" / "skipped.csv")}
    assert set(listed) == {"notes.txt", "phone.heic", "stray.jpg", "stolen.jpg", "1.JPG", "again.jpg"}
    assert any("is the same file as" in problem and "left out" in problem for problem in listed.values())
    assert check(tmp_path / "data").faults == []
    for row in rows(tmp_path / "data" / "imported.csv"):
        decode(tmp_path / "data" / row["folder"] / "images" / row["image"])


def test_the_copy_with_the_shortest_name_is_used(photos, tmp_path):
    own = photos / "Réx, 6"
    for name in ("1 (1).JPG", "0.JPG"):
        shutil.copy(own / "1.JPG", own / name)
    Import(photos, tmp_path / "data")()
    assert [row["image"] for row in rows(tmp_path / "data" / "skipped.csv")] == [
        str(own / "1.JPG"), str(own / "1 (1).JPG")
    ]  # fmt: skip
    used = {row["original"] for row in rows(tmp_path / "data" / "imported.csv")}
    assert str(own / "0.JPG") in used


def test_new_names_keep_letters_and_are_unique(photos, tmp_path):
    for number, name in enumerate(("Müller Hündin 2", "Muller Hundin 2", "犬", "猫")):
        (photos / f"Réx, {number}").rename(photos / name)
    Import(photos, tmp_path / "data")()
    imported = rows(tmp_path / "data" / "imported.csv")
    of = {row["identity"]: row["image"].rpartition("-")[0] for row in imported}
    assert of["Müller Hündin 2"] == of["Muller Hundin 2"] == "Muller-Hundin-2"
    assert of["犬"] == of["猫"] == "individual"
    assert of["Réx, 5"] == "Rex-5"
    assert len({row["image"] for row in imported}) == len(imported)


def test_a_source_one_folder_too_deep_is_one_message(photos, tmp_path, monkeypatch):
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
        ("path,id\nx.jpg,\n", {}, "line 2: the identity is empty"),
        ("path,id\nx.jpg,y,z\n", {}, "3 fields, the header has 2"),
        ('path,id\nx.jpg,"y\n', {}, "line 2.*check the quotes"),
        ("path,id\nx.jpg,y\x07\n", {}, "control character"),
        ("path,id\n", {}, "no photographs below the header"),
        ("", {}, "which column is the image"),
        ("path,id\nx,Ré\n", {}, "UTF-8"),
    ],
)
def test_faults_in_a_table(tmp_path, text, options, message):
    (tmp_path / "table.csv").write_text(text, encoding="latin-1")
    with pytest.raises(NoseprintError, match=message):
        Import(tmp_path / "table.csv", tmp_path / "data", **options)()
    assert not (tmp_path / "data").exists()


def test_targets_that_are_rejected(photos, tmp_path, monkeypatch):
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


def test_identities_that_differ_in_case_or_unicode_form_are_noted(photos, tmp_path, capsys):
    shutil.copytree(photos / "Réx, 2", photos / "réx,2")
    for path in (photos / "réx,2").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")  # other bytes, so another photograph
    decomposed = photos / unicodedata.normalize("NFD", "Réx, 4")
    if not decomposed.exists():  # on some file systems both names are one
        (photos / "Réx, 3" / "2024").rename(decomposed)
    Import(photos, tmp_path / "data")()
    printed = capsys.readouterr().out
    assert "'Réx, 2' and 'réx,2' count as different individuals" in printed
    assert f"{decomposed.name!r} and 'Réx, 4' count as different individuals" in printed


def test_a_link_to_a_folder_is_reported(photos, tmp_path):
    elsewhere = (photos / "Réx, 2").rename(tmp_path / "elsewhere")
    (photos / "Réx, 2").symlink_to(elsewhere)
    with pytest.raises(NoseprintError, match=r"Réx, 2: is a link to a folder"):
        Import(photos, tmp_path / "data")()
    assert not (tmp_path / "data").exists()
