"""`noseprint import`: from folders or a table to a data folder, without changing the user's files."""

import csv
import errno
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.commands.import_photographs import Import
from noseprint.data.decoding import decode
from noseprint.data.tables import read_labels, read_pairs, read_retrieval, read_train
from noseprint.errors import NoseprintError
from noseprint.inference.search import read_identities
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
    printed = capsys.readouterr().out
    assert "train.sh --check --data" in printed
    assert "at least 15 in the training split" in printed  # there are 8
    report = check(target)
    assert report.faults == []
    assert {remark.kind for remark in report.remarks} == {"single"}
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


def test_numbers_that_a_spreadsheet_has_rounded_are_told(table, tmp_path, capsys):
    table.write_text(table.read_text("utf-8-sig").replace('"Réx, 3"', "9.85112E+14"), encoding="utf-8")
    Import(table, tmp_path / "data")()
    assert "Caution: a program has rounded the numbers of individuals" in capsys.readouterr().out


def test_photographs_of_unknown_individuals_are_in_no_split_but_kept_for_a_gallery(photos, tmp_path, capsys):
    Import(photos, tmp_path / "before")()
    known = everything(tmp_path / "before")
    for name, number in ("unknown", 1), ("NA", 2), ("?", 3), ("Unbekannt", 4):
        (photos / name).mkdir()
        image = (photos / "Réx, 6" / "1.JPG").read_bytes()
        for k in range(number):
            (photos / name / f"{k}.jpg").write_bytes(image + name.encode() + bytes([k]))
    (photos / "NA" / "c.j").write_bytes((photos / "Réx, 6" / "1.JPG").read_bytes())
    Import(photos, tmp_path / "data", unknown=("unbekannt ",))()
    printed = capsys.readouterr().out
    assert "Unknown individuals on 11 photographs: 'Unbekannt' (4), '?' (3), 'NA' (3), 'unknown' (1)" in printed
    assert re.search(r"\nunknown +- +10 +-\n", printed)
    after = everything(tmp_path / "data")
    names = {f"unknown/images/unknown-{number:05d}.jpg" for number in range(63, 73)}
    assert set(after) - set(known) == {*names, "skipped.csv"}  # the copy of a known photograph is skipped
    assert all(after[name] == known[name] for name in known if name != "imported.csv")
    added = rows(tmp_path / "data" / "imported.csv")[len(rows(tmp_path / "before" / "imported.csv")) :]
    assert {(row["identity"], row["folder"]) for row in added} == {("", "unknown")}
    Import(photos, tmp_path / "trained")()
    assert "Unbekannt" in {row["identity"] for row in rows(tmp_path / "trained" / "imported.csv")}


def test_an_encounter_that_is_missing_is_not_known(table, tmp_path):
    Import(table, tmp_path / "before")()
    table.write_text(re.sub(r";$", ";NaN", table.read_text("utf-8-sig"), flags=re.M), encoding="utf-8-sig")
    Import(table, tmp_path / "data")()
    assert everything(tmp_path / "data") == everything(tmp_path / "before")


def test_time_stamps_become_encounters(table, tmp_path, capsys):
    lines = table.read_text("utf-8-sig").splitlines()
    stamped = [
        f"{line.rpartition(';')[0]};2024-05-0{1 + k % 2} 1{k // 40}:{k % 40:02}:{k % 6}0"
        for k, line in enumerate(lines)
    ]
    table.write_text("\n".join([lines[0], *stamped[1:], ""]), encoding="utf-8-sig")
    Import(table, tmp_path / "data")()
    printed = capsys.readouterr().out
    number = len(lines) - 1
    assert f"{number} encounters for {number} photographs.\nCaution: the column 'encounter' gives" in printed
    Import(table, tmp_path / "grouped", encounter_gap="30min")()
    printed = capsys.readouterr().out
    imported = rows(tmp_path / "grouped" / "imported.csv")
    groups = {(row["identity"], row["encounter"]) for row in imported}
    assert f"{len(groups)} encounters for {number} photographs.\nNote: noseprint verify" in printed
    assert len(groups) == 23  # two days of 11 individuals, one of the individual with one photograph
    assert {encounter[:10] for _, encounter in groups} == {"2024-05-01", "2024-05-02"}
    with pytest.raises(NoseprintError, match="such as 30min"):
        Import(table, tmp_path / "new", encounter_gap="30")()
    with pytest.raises(NoseprintError, match="no time stamps are known"):
        Import(table.parent / "photos", tmp_path / "new", encounter_gap="30min")()


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


def test_paths_may_have_backslashes_and_files_that_differ_in_case_are_named(table, tmp_path):
    Import(table, tmp_path / "before")()
    text = table.read_text("utf-8-sig")
    table.write_text(re.sub(r"(?<=\w)/(?=[\wé])", r"\\", text), encoding="utf-8-sig")
    Import(table, tmp_path / "data")()
    assert everything(tmp_path / "data") == everything(tmp_path / "before")
    table.write_text(text.replace("photos/Réx, 0/", "Photos/réx, 0/"), encoding="utf-8-sig")
    with pytest.raises(NoseprintError) as error:
        Import(table, tmp_path / "new")()
    images = sorted((tmp_path / "photos" / "Réx, 0").glob("*.JPG"))
    assert f"{len(images)} files cannot be used" in str(error.value)
    assert all(f"but {path}: write the path as it is on the disk" in str(error.value) for path in images)


def test_any_name_that_a_table_can_hold_is_imported(photos, tmp_path):
    names = [
        "Bild\u30001.jpg",
        "Screenshot at 4.10.23\u202fPM.jpg",
        "\U0001f468\u200d\U0001f469.jpg",
        "\U0001fae9 \ue000.jpg",
    ]
    for number, name in enumerate(names):
        (photos / "Réx, 6" / name).write_bytes((photos / "Réx, 6" / "1.JPG").read_bytes() + bytes([number]))
    Import(photos, tmp_path / "data")()
    assert set(names) < {Path(row["original"]).name for row in rows(tmp_path / "data" / "imported.csv")}
    for name in ("a\x1b.jpg", "a\u2028.jpg", "a\u0085.jpg"):
        (photos / "Réx, 6" / name).write_bytes((photos / "Réx, 6" / "1.JPG").read_bytes() + name.encode())
    with pytest.raises(NoseprintError, match="3 files cannot be used"):
        Import(photos, tmp_path / "new")()


@pytest.fixture
def frames(tmp_path):
    """12 photographs in PNG, on each of which two of 12 dogs sit side by side, and a table with their boxes."""
    lines = ["path,individual,bbox"]
    for k in range(12):
        frame = np.zeros((30, 60, 3), np.uint8)
        frame[:, :30], frame[:, 30:] = 10 * k + 5, 10 * ((k + 1) % 12) + 5  # each dog has its grey
        frame[0, :, 0] = k
        cv2.imwrite(str(tmp_path / f"{k}.png"), frame)
        lines += [f'{k}.png,dog {k},"[2, 1, 25, 29]"', f'{k}.png,dog {(k + 1) % 12},"[32, 1, 25, 29]"']
    path = tmp_path / "frames.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


def test_two_animals_of_one_photograph_are_two_crops(frames, tmp_path, capsys):
    before = everything(tmp_path)
    Import(frames, tmp_path / "data", link=True)()
    printed = capsys.readouterr().out
    assert "24 crops to check; columns: image 'path', identity 'individual'; box 'bbox' as x,y,w,h in pixels" in printed
    assert {name: content for name, content in everything(tmp_path).items() if not name.startswith("data/")} == before
    imported = rows(tmp_path / "data" / "imported.csv")
    assert list(imported[0]) == ["original", "identity", "encounter", "folder", "image", "bbox"]
    assert len(imported) == len({row["image"] for row in imported}) == 24
    for row in imported:
        crop = decode(tmp_path / "data" / row["folder"] / "images" / row["image"])
        number, frame = int(row["identity"].split()[1]), int(Path(row["original"]).stem)
        assert (crop == 10 * number + 5).all()
        assert crop.shape == (29, 25, 3)
        assert row["bbox"] == f"[{2 if number == frame else 32}, 1, 25, 29]"
    assert check(tmp_path / "data").faults == []
    names = [f"{row['folder']}/images/{row['image']}" for row in imported]
    assert read_identities(tmp_path / "data" / "imported.csv", names)[names[5]] == imported[5]["identity"]


def test_crops_of_one_individual_in_one_photograph_are_one_encounter(frames, tmp_path):
    with frames.open("a") as file:
        file.writelines(f'{k}.png,dog {k},"[4, 3, 20, 20]"\n' for k in range(12))
    Import(frames, tmp_path / "data")()
    imported = rows(tmp_path / "data" / "imported.csv")
    photograph = {row["image"]: (row["identity"], row["original"]) for row in imported}
    assert len(imported) == 36
    for split in ("validation", "test"):
        pairs, same = read_labels(tmp_path / "data", split)
        assert any(same)
        assert all(photograph[a] != photograph[b] for a, b in zip(pairs.image_a, pairs.image_b, strict=True))
    search = read_retrieval(tmp_path / "data")
    roles = {}
    for path, is_query in zip(search.paths, search.is_query, strict=True):
        assert roles.setdefault(photograph[path.name], is_query) == is_query


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


def test_coco_with_individuals_is_a_source(frames, tmp_path, capsys):
    table = rows(frames)
    annotations = [
        {"id": k, "image_id": row["path"], "category_id": 1, "bbox": json.loads(row["bbox"]), "name": row["individual"]}
        for k, row in enumerate(table)
    ]
    images = [{"id": f"{k}.png", "file_name": f"{k}.png", "width": 60, "height": 30} for k in range(12)]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    Import(frames, tmp_path / "from_table")()
    Import(tmp_path / "coco.json", tmp_path / "from_coco")()
    assert "COCO, columns: image 'file_name', identity 'name'; box 'bbox' as x,y,w,h" in capsys.readouterr().out
    assert everything(tmp_path / "from_coco") == everything(tmp_path / "from_table")


def test_without_boxes_nothing_is_cropped(photos, frames, tmp_path):
    Import(photos, tmp_path / "data")()
    assert list(rows(tmp_path / "data" / "imported.csv")[0])[-1] == "image"
    with pytest.raises(NoseprintError, match="is the same file under 'dog 0' and 'dog 1'"):
        Import(frames, tmp_path / "whole", crop=False)()


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_a_confidence_out_of_range_is_rejected(confidence):
    with pytest.raises(NoseprintError, match="--confidence"):
        Import(Path("a"), Path("b"), confidence=confidence)


def test_folders_of_a_storage_device_are_no_individuals(photos, tmp_path):
    shutil.copytree(photos / "Réx, 2", photos / "@eaDir" / "Réx, 2")
    Import(photos, tmp_path / "data")()
    assert {row["identity"] for row in rows(tmp_path / "data" / "imported.csv")} == {f"Réx, {n}" for n in range(12)}


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
