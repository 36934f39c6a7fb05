import csv

import numpy as np
import pytest
import torch
from PIL import Image

from noseprint.calibration.curves import Platt
from noseprint.calibration.quality_limits import MEASURES, Limit, Limits
from noseprint.errors import DataError, NoseprintError
from noseprint.importing.data_folder import IMPORTED_HEADER
from noseprint.inference import search as module
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.inference.nearest import expand_queries
from noseprint.inference.photograph_records import check_photographs
from noseprint.inference.search import Match, read_identities, search_gallery, write_matches
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights
from noseprint.models.weights_header import fingerprint

NAMES = ("train/images/a1.jpg", "train/images/a2.jpg", "test/images/b1.jpg", "validation/images/c1.jpg")
IDENTITIES = dict(zip(NAMES, "aabc", strict=True))
QUERY = np.array([[0.96, 0.28, 0, 0]], np.float32)
GALLERY = np.eye(4, dtype=np.float32)
CURVE = Platt(10.0, -5.0)


class FakeVerifier:
    """The part of a verifier that a search uses."""

    caution, calibration = None, CURVE
    quality = Limits(0.01, 10, *(Limit(None, ()) for _ in MEASURES))

    def __init__(self, paths):
        self.members = [type("Member", (), {"fingerprint": fingerprint(path)}) for path in paths]


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Searches for one query in a gallery of four images, made by the first `members` of two networks."""
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for path, extra in zip(paths, ({"calibration": CURVE.to_json()}, {"recipe": "two"}), strict=True):
        save_weights(path, network, extra=extra)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "q.jpg")

    def search(*, members=1, verifier_of=0, query=QUERY, names=NAMES, matrix=GALLERY, records=None, **options):
        monkeypatch.setattr(module, "embed_photographs", lambda *_, **__: query)
        files = tuple((path, fingerprint(path)) for path in paths[:members])
        gallery = GalleryEmbeddings(matrix, names, files, "", tmp_path, records)
        verifier = FakeVerifier(paths[:verifier_of]) if verifier_of else None
        result = search_gallery(tmp_path / "q.jpg", gallery, verifier=verifier, device=torch.device("cpu"), **options)
        search.result = result
        return result.matches

    return search


def write_table(path, rows, header=("dog ID", "nose print image")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def imported(tmp_path):
    rows = [(f"/x/{name[-6]}.JPG", name[-6], "", *name.split("/images/")) for name in NAMES]
    return write_table(tmp_path / "imported.csv", rows, IMPORTED_HEADER)


def test_the_calibration_of_a_single_network_gives_probabilities(search):
    matches = search(identities=IDENTITIES)
    assert [(match.image, match.rank, match.identity) for match in matches] == [
        (name, rank, IDENTITIES[name]) for rank, name in enumerate(NAMES, start=1)
    ]
    a, b, none = (np.exp(10 * 0.96 - 5) + np.exp(10 * 0.28 - 5)) / 2 / 3, np.exp(-5.0) / 3, 1.0
    total = a + 2 * b + none  # a counts by the mean of its two images; there are three individuals
    np.testing.assert_allclose([match.probability for match in matches], np.array([a, a, b, b]) / total, rtol=1e-5)
    assert matches[0].none == pytest.approx(none / total, rel=1e-5)


def test_images_without_an_identity_are_individuals_of_their_own(search):
    few = {NAMES[0]: "a", NAMES[1]: "a"}
    assert search(identities=few)[0].none == pytest.approx(search(identities=IDENTITIES)[0].none)
    four = np.exp([10 * 0.96 - 5, 10 * 0.28 - 5, -5, -5]).sum() / 4
    assert search()[0].none == pytest.approx(1 / (1 + four), rel=1e-5)
    assert [match.identity for match in search(identities=few)] == ["a", "a", "", ""]


def test_several_networks_need_the_calibration_of_a_verifier(search):
    assert search(members=2)[0].probability is None
    assert search(members=2, verifier_of=2)[0].probability == search()[0].probability
    with pytest.raises(NoseprintError, match="the verifier was made with other networks than the gallery"):
        search(members=1, verifier_of=2)


def test_the_number_of_results_changes_no_probability(search):
    (only,) = search(identities=IDENTITIES, top=1)
    first = search(identities=IDENTITIES)[0]
    assert (only.probability, only.none) == (first.probability, first.none)


def test_an_expanded_query_has_no_probability(search):
    matches = search(expand=2)
    assert matches[0].probability is None
    assert matches[0].similarity == (GALLERY @ expand_queries(QUERY, GALLERY, k=2)[0]).max()
    with pytest.raises(NoseprintError, match="--expand -1"):
        search(expand=-1)
    with pytest.raises(NoseprintError, match="--top 0"):
        search(top=0)


def test_the_very_picture_in_the_gallery_is_the_same_individual(search, tmp_path):
    _, records = check_photographs(tmp_path, ["q.jpg"], skip_bad=False, skipped_csv=None)
    same = np.concatenate([np.zeros((1, 32), np.uint8), records, np.zeros((2, 32), np.uint8)])
    for rows in (same, None):  # without records, a cosine of 1 within the rounding
        query = QUERY if rows is not None else np.array([[0, 1 - 2e-7, 0, 0]], np.float32)
        matches = search(identities=IDENTITIES, records=rows, query=query)
        probability = {match.image: match.probability for match in matches}
        assert probability[NAMES[1]] > 0.999
        assert matches[0].none < 1e-6
    two = dict(zip(NAMES, "abbc", strict=True))
    same[0] = same[1]  # the same picture under two names
    probability = {match.image: match.probability for match in search(identities=two, records=same)}
    assert probability[NAMES[0]] == pytest.approx(0.5)
    assert probability[NAMES[1]] == pytest.approx(0.5)


def test_a_similar_picture_is_judged_by_the_calibration(search, tmp_path):
    records = np.zeros((4, 32), np.uint8)
    (first, *_) = search(identities=IDENTITIES, query=GALLERY[:1], records=records)
    a, b = (np.exp(5) + np.exp(-5)) / 2, np.exp(-5)  # of two images, and of one
    assert first.probability == pytest.approx(a / (3 + a + 2 * b), rel=1e-5)


def test_no_similarity_is_above_one(search):
    matrix = np.full((4, 512), 1 / np.sqrt(512), np.float32) * np.float32(1 + 1e-7)
    matches = search(query=matrix[:1], matrix=matrix)
    assert np.einsum("nd,nd->n", matrix, matrix).max() > 1
    assert [match.similarity for match in matches] == [1.0] * 4


def test_only_known_columns_are_written(tmp_path):
    write_matches(tmp_path / "a.csv", [Match("q.jpg", 1, "a.jpg", 0.5)])
    assert (tmp_path / "a.csv").read_text() == "query,rank,image,similarity\nq.jpg,1,a.jpg,0.5\n"
    write_matches(tmp_path / "a.csv", [Match("q.jpg", 1, "a.jpg", 0.5, "Rex", 0.25, 0.75)])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "q.jpg,1,a.jpg,0.5,Rex,0.25,0.75"
    write_matches(tmp_path / "a.csv", [Match(q, 1, "a.jpg", 0.5, "Rex", 0.25, 0.75) for q in "ac"], skipped=["b"])
    lines = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert lines == ["a,1,a.jpg,0.5,Rex,0.25,0.75", "b,,,,,,", "c,1,a.jpg,0.5,Rex,0.25,0.75"]


def test_an_import_names_images_in_two_ways(tmp_path):
    assert read_identities(imported(tmp_path), NAMES) == {
        key: name[-6] for name in NAMES for key in (name, name.rsplit("/", 1)[1])
    }


def test_an_import_is_checked_like_other_tables(tmp_path):
    table = imported(tmp_path)
    text = table.read_text()
    table.write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    assert read_identities(table, NAMES)[NAMES[0]] == "a"
    for changed, message in (
        (text.replace(",train,", ",,", 1), "line 2: folder is empty"),
        (text + "/x/y.JPG,b,,train,a1.jpg\n", "line 6: image 'a1.jpg' already has identity 'a'"),
        (text.replace(",", ";"), "semicolons"),
    ):
        table.write_text(changed)
        with pytest.raises(DataError, match=message):
            read_identities(table, NAMES)


def test_images_of_unknown_individuals_have_no_identity(tmp_path, capsys):
    table = imported(tmp_path)
    text = table.read_text()
    table.write_text(text.replace(",a,", ",,", 1).replace(",b,", ",NA,").replace(",c,", ",Fremd,"))
    found = read_identities(table, NAMES, unknown=("fremd",))
    assert {name: found.get(name) for name in NAMES} == {NAMES[0]: None, NAMES[1]: "a", NAMES[2]: None, NAMES[3]: None}
    assert "3 gallery images show unknown individuals: empty (1), 'Fremd' (1), 'NA' (1)" in capsys.readouterr().err
    assert read_identities(table, NAMES)[NAMES[3]] == "Fremd"
    labelled = write_table(tmp_path / "t.csv", [("", NAMES[0]), ("?", NAMES[1]), ("b", NAMES[2]), ("b", NAMES[3])])
    assert set(read_identities(labelled, NAMES)) == set(NAMES[2:])


def test_alike_names_of_individuals_are_told(tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [("7", NAMES[0]), ("007", NAMES[1]), ("b", NAMES[2]), ("c", NAMES[3])])
    assert len(set(read_identities(table, NAMES).values())) == 4
    assert "alike names count as different individuals: '007' and '7'" in capsys.readouterr().err


def test_names_may_have_backslashes_and_alike_ones_are_named(tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [(name[-6], name.replace("/", "\\")) for name in NAMES])
    assert read_identities(table, NAMES) == IDENTITIES
    write_table(table, [(name[-6], name.replace("images", "Images")) for name in NAMES])
    with pytest.raises(NoseprintError, match=f"the first of them is '{NAMES[0]}'; the table has 'train/Images/a1.jpg'"):
        read_identities(table, NAMES)
    write_table(table, [("a", NAMES[0].upper()), *((name[-6], name) for name in NAMES[1:])])
    read_identities(table, NAMES)
    assert f"such as '{NAMES[0]}'; the table has '{NAMES[0].upper()}'" in capsys.readouterr().err


def test_identities_of_other_images_are_refused(tmp_path, capsys):
    table = write_table(tmp_path / "t.csv", [("a", NAMES[0])])
    assert read_identities(table, NAMES) == {NAMES[0]: "a"}
    assert "no identity for 3 of 4 gallery images" in capsys.readouterr().err
    with pytest.raises(NoseprintError, match="names none of the 1 gallery images"):
        read_identities(table, ["b.jpg"])


def test_photographs_and_individuals_that_the_gallery_lacks_are_named(tmp_path, capsys):
    read_identities(imported(tmp_path), NAMES)
    assert capsys.readouterr().err == ""
    read_identities(imported(tmp_path), NAMES[1:3])  # of a, one of two; of c, none
    told = capsys.readouterr()
    assert told.out == ""
    assert "imported.csv names 2 photographs that are not in the gallery, such as 'train/images/a1.jpg'" in told.err
    assert "The gallery has no photograph of 1 individuals (c), so they cannot be found: embed their" in told.err
    read_identities(imported(tmp_path), NAMES[1:])
    assert "cannot be found" not in capsys.readouterr().err


def test_a_query_below_the_verifiers_limits_gets_no_probability(search, tmp_path, monkeypatch):
    sharp = Limit(5.0, ())  # the query is one colour
    monkeypatch.setattr(FakeVerifier, "quality", Limits(0.01, 10, Limit(None, ()), sharp, Limit(None, ())))
    matches = search(members=2, verifier_of=2, identities=IDENTITIES)
    assert {(match.probability, match.none) for match in matches} == {(None, None)}
    assert search.result.shortfalls.keys() == {"q.jpg"}
    assert "too blurred" in search.result.shortfalls["q.jpg"]
    known = Match("z.jpg", 1, "a.jpg", 0.5, "Rex", 0.25, 0.75)
    write_matches(tmp_path / "a.csv", [*matches, known])
    first, *_, last = csv.DictReader((tmp_path / "a.csv").open(newline=""))
    assert (first["probability"], first["none"], last["probability"]) == ("", "", "0.25")
