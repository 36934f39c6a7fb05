import csv

import numpy as np
import pytest
import torch

from noseprint.calibration.curves import Platt
from noseprint.data.importing import IMPORTED_HEADER
from noseprint.errors import DataError, NoseprintError
from noseprint.inference import gallery as embeddings
from noseprint.inference import search as module
from noseprint.inference.gallery import Embeddings, write_embeddings
from noseprint.inference.search import Ensemble, which
from noseprint.models.weights_header import fingerprint

NAMES = ("train/images/a1.jpg", "train/images/a2.jpg", "test/images/b1.jpg", "validation/images/c1.jpg")
QUERY = np.array([0.96, 0.28, 0, 0], np.float32)
GALLERY = np.eye(4, dtype=np.float32)
CURVE = Platt(10.0, -5.0)


@pytest.fixture
def asked(tmp_path, monkeypatch, write_weights):
    """Searches for one drawn query in a gallery of four images; gives what `which` gives and the rows it wrote."""
    extras = {"one": {"calibration": CURVE.to_json()}, "two": {"recipe": "two"}}
    paths = [write_weights(tmp_path / f"{name}.safetensors", **extra) for name, extra in extras.items()]
    (tmp_path / "q.jpg").write_bytes(b"")
    drawn = Embeddings(QUERY[None], ("q.jpg",), (), "")
    monkeypatch.setattr(module, "embed_with", lambda *_, **__: drawn)

    def ask(*, members=1, **options):
        marks = tuple((path, fingerprint(path)) for path in paths[:members])
        mark = embeddings._fingerprint(GALLERY, embeddings._packed(NAMES))
        write_embeddings(tmp_path / "g.safetensors", Embeddings(GALLERY, NAMES, marks, mark))
        out = tmp_path / "found.csv"
        options = {"weights": (), "identities": None, "top": 4, "use_index": False, **options}
        found = which(tmp_path / "q.jpg", tmp_path / "g.safetensors", out=out, device=torch.device("cpu"), **options)
        with out.open(newline="") as file:
            return found, list(csv.DictReader(file))

    ask.marks = lambda number: frozenset(map(fingerprint, paths[:number]))
    return ask


def table(path, rows, header=("dog ID", "nose print image")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def imported(tmp_path):
    rows = [(f"/x/{name[-6]}.JPG", name[-6], "", *name.split("/images/")) for name in NAMES]
    return table(tmp_path / "imported.csv", rows, IMPORTED_HEADER)


def test_one_networks_own_calibration_tells_whose_it_is_and_that_it_may_be_nobodys(asked, tmp_path):
    found, rows = asked(identities=imported(tmp_path))
    assert [row["identity"] for row in rows] == ["a", "a", "b", "c"]
    a, b, none = np.exp(10 * 0.96 - 5) / 3, np.exp(-5.0) / 3, 1.0
    total = a + 2 * b + none  # a's by its better image; three individuals
    np.testing.assert_allclose([row.probability for row in found], np.array([a, a, b, b]) / total, rtol=1e-5)
    assert found[0].none == pytest.approx(none / total, rel=1e-5)
    assert list(rows[0]) == ["query", "rank", "image", "similarity", "identity", "probability", "none"]
    assert float(rows[0]["probability"]) == pytest.approx(a / total, rel=1e-5)


def test_images_that_no_table_names_are_individuals_of_their_own(asked, tmp_path):
    few = table(tmp_path / "t.csv", [("a", NAMES[0]), ("a", NAMES[1])])
    assert asked(identities=few)[0][0].none == pytest.approx(asked(identities=imported(tmp_path))[0][0].none)
    assert asked()[0][0].none > asked(identities=few)[0][0].none  # four individuals, the second like the query, too
    assert [row["identity"] for row in asked(identities=few)[1]] == ["a", "a", "", ""]


def test_several_networks_need_their_verifiers_calibration(asked, tmp_path):
    found, rows = asked(members=2)
    assert (found[0].probability, list(rows[0])) == (None, ["query", "rank", "image", "similarity"])
    ensemble = Ensemble(asked.marks(2), CURVE, tmp_path / "verifier.json")
    assert asked(members=2, ensemble=ensemble)[0][0].probability == asked()[0][0].probability
    with pytest.raises(NoseprintError, match=r"verifier\.json: was made with other networks than .*g\.safetensors"):
        asked(members=1, ensemble=ensemble)


def test_how_many_are_shown_changes_no_probability(asked, tmp_path):
    many = asked(identities=imported(tmp_path))[0]
    (one,) = asked(identities=imported(tmp_path), top=1)[0]
    assert (one.probability, one.none) == (many[0].probability, many[0].none)


def test_an_import_is_read_as_strictly_as_any_table(asked, tmp_path):
    """But the byte order mark of a spreadsheet is none of its faults."""
    table = imported(tmp_path)
    text = table.read_text()
    table.write_text(text, encoding="utf-8-sig")
    assert asked(identities=table)[0][0].identity == "a"
    for changed, says in (
        (text.replace(",a,", ",,", 1), "line 2: identity is empty"),
        (text + "/x/y.JPG,b,,train,a1.jpg\n", "line 6: image 'a1.jpg' has identity 'a' already"),
        (text.replace(",", ";"), "separated by semicolons"),
    ):
        table.write_text(changed)
        with pytest.raises(DataError, match=says):
            asked(identities=table)


def test_a_moved_query_has_no_probability(asked):
    assert asked(expand=1)[0][0].probability is None


def test_names_in_the_train_folder_alone_are_found_in_an_import(tmp_path):
    names = [name.rsplit("/", 1)[1] for name in NAMES]
    assert module._identities(imported(tmp_path), names) == {
        key: name[-6] for name in NAMES for key in (name, name.rsplit("/", 1)[1])
    }
