"""`noseprint import`: from folders or a table to a data folder, without changing the user's files."""

import json
import re
import shutil
from pathlib import Path

import pytest

from noseprint.commands.import_photographs import Import
from noseprint.data.decoding import decode
from noseprint.data.tables import read_labels, read_pairs, read_retrieval, read_train
from noseprint.errors import NoseprintError
from noseprint.inference.search import read_identities
from noseprint.inspection.check import check

from .conftest import everything, rows


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


def test_folders_of_a_storage_device_are_no_individuals(photos, tmp_path):
    shutil.copytree(photos / "Réx, 2", photos / "@eaDir" / "Réx, 2")
    Import(photos, tmp_path / "data")()
    assert {row["identity"] for row in rows(tmp_path / "data" / "imported.csv")} == {f"Réx, {n}" for n in range(12)}
