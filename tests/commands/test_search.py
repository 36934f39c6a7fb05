import csv

import pytest

from noseprint.commands.embed import Embed
from noseprint.commands.search import Search
from noseprint.errors import NoseprintError


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
