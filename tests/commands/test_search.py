import csv
import shutil
from dataclasses import replace

import cv2
import pytest

from noseprint.commands.embed import Embed
from noseprint.commands.search import Search
from noseprint.data.tables import read_train
from noseprint.errors import NoseprintError
from noseprint.inference.gallery import read_gallery, write_gallery


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory, write_weights):
    """A folder with a gallery of the demo's training photographs, and the weights of two networks."""
    folder = tmp_path_factory.mktemp("gallery")
    for name in "ab":
        write_weights(folder / f"{name}.safetensors", seed=ord(name))
    Embed(demo / "train" / "images", (folder / "a.safetensors",), folder / "g.safetensors", device="cpu")()
    return folder


def found(folder, query, out, **options):
    Search(query=query, gallery=folder / "g.safetensors", out=out, device="cpu", **options)()
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_photograph_finds_itself_and_its_identity(demo, folder, tmp_path, capsys):
    table, query = demo / "train" / "train_data.csv", demo / "train" / "images"
    rows = found(folder, query, tmp_path / "f.csv", identities=table, top=3)
    first = [row for row in rows if row["rank"] == "1"]
    with table.open(newline="") as file:
        identity = {row["nose print image"]: row["dog ID"] for row in csv.DictReader(file)}
    assert all(row["image"] == row["query"] and row["identity"] == identity[row["image"]] for row in first)
    assert len(rows) == 3 * len(identity)
    assert list(rows[0]) == ["query", "rank", "image", "similarity", "identity"]
    best = first[0]["image"]
    line = f"{best}: most similar to {best}, {first[0]['identity']} (1.000, the same photograph)"
    assert line in capsys.readouterr().out.splitlines()
    indexed = found(folder, query, tmp_path / "i.csv", index=True, top=1)
    assert [row["image"] for row in indexed] == [row["image"] for row in first]
    assert (folder / "g.faiss.safetensors").is_file()


def test_mistakes_are_reported_and_nothing_is_written(demo, folder, tmp_path):
    one = next(path for path in sorted((demo / "train" / "images").iterdir()))
    out, gallery = tmp_path / "out.csv", folder / "g.safetensors"
    table = tmp_path / "table.csv"
    table.write_text("dog ID,nose print image\n1,nobody.jpg\n")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "empty").mkdir()
    for message, query, options in (
        ("embedded with other weights", one, {"weights": (folder / "b.safetensors",)}),
        ("no such weights file", one, {"weights": (tmp_path / "none.safetensors",)}),
        ("--top 0", one, {"top": 0}),
        ("names none of the", one, {"identities": table}),
        ("broken.jpg", tmp_path / "broken.jpg", {}),
        ("has no photographs", tmp_path / "empty", {}),
        ("no such photograph or folder", tmp_path / "nothing.jpg", {}),
        ("ends in .csv", one, {"out": one}),
        ("cannot be written", one, {"out": table / "out.csv"}),
        ("would be lost", one, {"out": table, "identities": table}),
    ):
        before = {path: path.read_bytes() for path in (one, gallery, table)}
        with pytest.raises(NoseprintError, match=message):
            found(folder, query, **{"out": out, **options})
        assert before == {path: path.read_bytes() for path in before}
    assert not out.exists()


def test_broken_queries_are_named_at_once_or_get_empty_rows(demo, folder, tmp_path, capsys):
    queries = tmp_path / "queries"
    queries.mkdir()
    good = sorted((demo / "train" / "images").iterdir())[:2]
    shutil.copy(good[0], queries / "a.jpg")
    shutil.copy(good[1], queries / "c.jpg")
    for name in ("b.jpg", "d.jpg"):
        (queries / name).write_bytes(good[0].read_bytes()[:300])
    out = tmp_path / "f.csv"
    with pytest.raises(NoseprintError, match="2 of 4 photographs cannot be read") as error:
        found(folder, queries, out)
    assert all(name in str(error.value) for name in ("b.jpg", "d.jpg"))
    assert not out.exists()
    rows = found(folder, queries, out, skip_bad=True, top=1)
    assert [(row["query"], row["rank"], row["image"], row["similarity"] != "") for row in rows] == [
        ("a.jpg", "1", good[0].name, True),
        ("b.jpg", "", "", False),
        ("c.jpg", "1", good[1].name, True),
        ("d.jpg", "", "", False),
    ]
    with (tmp_path / "f.skipped.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [str(queries / name) for name in ("b.jpg", "d.jpg")]
    told = capsys.readouterr()
    assert "2 of 4 photographs cannot be read and are left out" in told.err
    assert told.out.splitlines()[-1] == f"4 rows: {out}"


@pytest.fixture(scope="module")
def probable(campaign, tmp_path_factory):
    """A gallery that a verifier gives probabilities for: photographs of two individuals, and their table."""
    folder = tmp_path_factory.mktemp("probable")
    table = read_train(campaign.data)
    first, second = sorted(set(table.identities))[:2]
    (folder / "photos").mkdir()
    for path, identity in zip(table.paths, table.identities, strict=True):
        if identity in (first, second):
            shutil.copy(path, folder / "photos" / path.name)
    Embed(folder / "photos", tuple(campaign.weights.values()), folder / "g.safetensors", device="cpu")()
    rows = [(i, path.name) for path, i in zip(table.paths, table.identities, strict=True) if i in (first, second)]
    return folder, rows


def write_table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("dog ID", "nose print image"), *rows])
    return path


def test_a_photograph_of_the_gallery_certainly_shows_its_individual(campaign, probable, tmp_path):
    folder, rows = probable
    table = write_table(tmp_path / "t.csv", rows)
    copy = tmp_path / "copy.png"  # the same pixels in another file
    identity, name = rows[0]
    cv2.imwrite(str(copy), cv2.imread(str(folder / "photos" / name), cv2.IMREAD_COLOR))
    best, *_ = found(folder, copy, tmp_path / "f.csv", identities=table, verifier=campaign.path)
    assert (best["image"], best["identity"]) == (name, identity)
    assert float(best["probability"]) > 0.999
    assert float(best["none"]) < 0.001
    assert float(best["similarity"]) <= 1


def test_an_individual_under_two_names_is_named(campaign, probable, tmp_path, capsys):
    folder, rows = probable
    twin = folder / "photos" / rows[0][1]
    photos = tmp_path / "photos"
    shutil.copytree(folder / "photos", photos)
    shutil.copy(twin, photos / "twin.jpg")
    Embed(photos, tuple(campaign.weights.values()), tmp_path / "g.safetensors", device="cpu")()
    table = write_table(tmp_path / "t.csv", [*rows, ("under another name", "twin.jpg")])
    capsys.readouterr()
    best, *_ = found(tmp_path, twin, tmp_path / "f.csv", identities=table, verifier=campaign.path)
    assert float(best["probability"]) == pytest.approx(0.5, abs=0.01)
    told = capsys.readouterr().err
    assert "Each of these pairs is perhaps one individual under two names" in told
    assert f"{rows[0][0]} and under another name (probability 1.000)" in told


def test_a_gallery_whose_photographs_changed_is_searched_with_a_note(probable, tmp_path, capsys):
    folder, rows = probable
    shutil.copytree(folder / "photos", tmp_path / "photos")
    read = read_gallery(folder / "g.safetensors")
    write_gallery(tmp_path / "g.safetensors", replace(read, folder=tmp_path / "photos"))
    query = tmp_path / "photos" / rows[0][1]
    found(tmp_path, query, tmp_path / "f.csv")
    assert capsys.readouterr().err == ""
    (tmp_path / "photos" / rows[1][1]).unlink()
    found(tmp_path, query, tmp_path / "f.csv")
    assert "photographs in the gallery are gone since it was embedded, such as" in capsys.readouterr().err
