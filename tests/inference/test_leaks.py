import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, photograph_hashes, split_holdout
from noseprint.data.tables import PairTable, RetrievalTable, read_retrieval, read_train
from noseprint.inference.evaluation import evaluate_members
from noseprint.inference.labelled_data import LabelledData, read_labelled_data
from noseprint.inference.leaks import find_leaks, learned_photographs, leave_out, trained_on
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights


def copy(source, to):
    """Save again, a little smaller and brighter."""
    image = cv2.resize(cv2.imread(str(source)), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(to), np.clip(image * 1.05, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])


@pytest.fixture
def data(demo, tmp_path):
    return Path(shutil.copytree(demo, tmp_path / "data"))


def leaks_of(data, pseudo=Path("none.csv")):
    return find_leaks(read_labelled_data(data), learned_photographs(data, pseudo))


def query_and_gallery(data):
    """A query and a gallery image of another identity."""
    table = read_retrieval(data)
    query = table.is_query.index(True)
    others = zip(table.paths, table.identities, table.is_query, strict=True)
    return table.paths[query], next(p for p, i, is_query in others if not is_query and i != table.identities[query])


def test_the_demo_has_no_leaks(data):
    assert leaks_of(data) == leaks_of(data, data / "nothing.csv")
    assert leaks_of(data).to_json() == {"learned": [], "copies": [], "compared": []}


@pytest.mark.parametrize("how", [copy, shutil.copyfile])
def test_copies_of_training_photographs_are_found(data, how):
    taught, (query, found) = learned_photographs(data, Path("none.csv"))[5], query_and_gallery(data)
    how(taught, query)
    assert leaks_of(data).copies == ((query, taught),)
    shutil.copyfile(query, found)  # a copy of a copy is a copy too, and the two are compared
    leaks = leaks_of(data)
    assert set(leaks.copies) == {(query, taught), (found, taught)}
    assert {frozenset(couple) for couple in leaks.compared} == {frozenset((query, found))}


def test_copies_that_are_compared_are_found(data):
    query, found = query_and_gallery(data)
    copy(query, found)
    assert {frozenset(couple) for couple in leaks_of(data).compared} == {frozenset((query, found))}
    (data / "retrieval.csv").unlink()
    pairs = read_labelled_data(data).pairs
    a, b = next((a, b) for a, b in zip(pairs.image_a, pairs.image_b, strict=True) if a != b)
    copy(pairs.folder / a, pairs.folder / b)
    compared = {frozenset(couple) for couple in leaks_of(data).compared}
    assert frozenset((pairs.folder / a, pairs.folder / b)) in compared
    asked = {frozenset((pairs.folder / x, pairs.folder / y)) for x, y in zip(pairs.image_a, pairs.image_b, strict=True)}
    assert compared <= asked


def test_pseudo_labelled_photographs_and_their_copies_are_found(data, tmp_path):
    with (data / "retrieval.csv").open("a", newline="") as file:
        names = sorted(path.name for path in (data / "validation" / "images").iterdir())[:2]
        csv.writer(file).writerows([("validation", "query", "v1", names[0]), ("validation", "gallery", "v1", names[1])])
    one, other = (data / "validation" / "images" / name for name in names)
    write_csv(tmp_path / "pseudo.csv", ("dog ID", "nose print image"), [("p0", names[0])])
    assert leaks_of(data, tmp_path / "pseudo.csv").learned == (one,)
    copy(one, other)
    leaks = leaks_of(data, tmp_path / "pseudo.csv")
    assert leaks.copies == ((other, one),)
    assert leaks.compared == ((one, other),)


def test_a_folder_with_only_a_test_split_has_no_learned_photographs(data, tmp_path):
    write_csv(tmp_path / "pseudo.csv", ("dog ID", "nose print image"), [("p0", "a.jpg")])
    for folder in ("train", "validation"):
        shutil.rmtree(data / folder)
    assert learned_photographs(data, tmp_path / "pseudo.csv") == ()


def weights_of(path, held_out, **more):
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    extra = {"training": '{"holdout": 0.2}'} | ({"held_out": holdout_hash(held_out)} if held_out else {}) | more
    save_weights(path, network, extra=extra)
    return path


def test_the_hold_out_shows_whether_a_network_was_trained_on_a_folder(data, tmp_path):
    table = read_train(data)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    here = weights_of(tmp_path / "here.safetensors", held_out)
    elsewhere = weights_of(tmp_path / "elsewhere.safetensors", ["another"])
    silent = weights_of(tmp_path / "silent.safetensors", None)
    assert trained_on(data, [here, silent, tmp_path / "none.safetensors"])
    assert not trained_on(data, [here, elsewhere])
    victim = sorted(held_out)[0]  # left out of training by --skip-bad
    rest = weights_of(tmp_path / "rest.safetensors", held_out - {victim})
    assert not trained_on(data, [rest])
    for path, identity in zip(table.paths, table.identities, strict=True):
        if identity == victim:
            path.write_bytes(b"")
    assert trained_on(data, [rest])
    lines = (data / "train" / "train_data.csv").read_text().splitlines()[:3]
    (data / "train" / "train_data.csv").write_text("\n".join(lines) + "\n")
    assert trained_on(data, [silent])
    assert not trained_on(data, [here])  # too few identities to hold any out
    (data / "train" / "train_data.csv").unlink()
    assert not trained_on(data, [silent])


def test_weights_of_version_0_1_which_held_out_fewer_were_trained_on_the_same_folder(sixty, tmp_path, write_weights):
    before = split_holdout(read_train(sixty, missing_ok=True).identities, share=0.05, at_least=0)
    path = write_weights(tmp_path / "old.safetensors", training='{"holdout": 0.05}', held_out=holdout_hash(before))
    assert trained_on(sixty, [path])


def test_other_photographs_under_the_same_names_are_other_data(data, tmp_path):
    table = read_train(data)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    photographs = table.where(identity in held_out for identity in table.identities)
    path = weights_of(tmp_path / "w.safetensors", held_out, held_out_photographs=photograph_hashes(photographs))
    assert trained_on(data, [path])
    for number, photograph in enumerate(photographs.paths):
        if number > len(photographs) // 2:
            assert not trained_on(data, [path])
            break
        assert trained_on(data, [path])
        photograph.write_bytes(photograph.read_bytes() + b"0")


def test_a_photograph_that_cannot_be_decoded_is_ignored(data):
    learned_photographs(data, Path("none.csv"))[0].write_bytes(b"")
    leaks_of(data)


def small(encounters=None):
    paths = tuple(map(Path, "abcdef"))
    table = RetrievalTable(paths, tuple("111222"), (True, False, False) * 2, encounters)
    pairs = PairTable(Path(), ("a", "b", "a", "c"), ("b", "c", "d", "e"))
    sides = np.arange(4), np.arange(4) + 1
    return LabelledData(pairs, np.array([1, 1, 0, 0], bool), sides, table, paths, {p: k for k, p in enumerate(paths)})


def test_leave_out_removes_photographs_and_comparisons():
    rest, keep = leave_out(small(), photographs=[Path("d")], compared=[(Path("b"), Path("a"))])
    assert keep.tolist() == [False, True, False, True]
    assert rest.pairs == PairTable(Path(), ("b", "c"), ("c", "e"))
    assert rest.same.tolist() == [True, False]
    assert rest.clusters[1].tolist() == [2, 4]
    assert rest.retrieval.paths == tuple(map(Path, "abcef"))
    assert rest.paths == small().paths
    same, c = rest.retrieval.encounters[:2], rest.retrieval.encounters[2]
    assert same[0] == same[1] != c


def test_encounters_are_merged_within_an_identity_only():
    table, _ = leave_out(small(tuple("xyzxyz")), compared=[(Path("a"), Path("b"))])
    a, b, c, d, e, f = table.retrieval.encounters
    assert a == b
    assert len({a, c, d, e, f}) == 5


def test_near_copies_in_a_leave_one_out_search_are_compared(data):
    table = read_retrieval(data)
    text = (data / "retrieval.csv").read_text().replace("query", "both").replace("gallery", "both")
    (data / "retrieval.csv").write_text(text)
    one, other = table.where(table.is_gallery).paths[:2]
    copy(one, other)
    assert {frozenset(couple) for couple in leaks_of(data).compared} == {frozenset((one, other))}


def test_pairs_or_search_become_none_if_too_little_is_left():
    rest, keep = leave_out(small(), photographs=[Path("a"), Path("d")])
    assert keep.tolist() == [False, True, False, True]
    assert (rest.retrieval, rest.counts().keys()) == (None, {"pairs"})
    rest, keep = leave_out(small(), photographs=[Path("c")])
    assert keep.tolist() == [True, False, True, False]
    rest, _ = leave_out(small(), photographs=[Path("d"), Path("e")])
    assert rest.pairs is None
    assert rest.retrieval is not None


def test_scores_without_copies_equal_those_of_a_folder_without_them(data, tmp_path):
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    save_weights(tmp_path / "w.safetensors", network, extra={})
    learned, query = learned_photographs(data, Path("none.csv")), query_and_gallery(data)[0]
    copy(learned[0], query)
    members, device = {"one": tmp_path / "w.safetensors"}, torch.device("cpu")
    found = evaluate_members(members, data, device=device, learned=learned)
    assert found.without_learned == {}
    for table in (data / "retrieval.csv", data / "test" / "labels.csv"):
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(line for line in lines if query.name not in line))
    clean = evaluate_members(members, data, device=device)
    assert found.without_copies["one"] == clean.scores["one"]
    assert found.without_copies["one"] != found.scores["one"]
    assert found.to_json()["data"]["leaks"]["copies"] == [[str(query), str(learned[0])]]
