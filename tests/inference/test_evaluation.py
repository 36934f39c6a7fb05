import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from noseprint.data.tables import read_pairs
from noseprint.errors import NoseprintError
from noseprint.inference.evaluation import (
    FMRS,
    Evaluation,
    evaluate_members,
    evaluate_tables,
    labelled_similarities,
    score_embeddings,
)
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.inference.leaks import leave_out
from noseprint.inference.similarity_table import write_similarities
from noseprint.metrics.similarity import ensemble_embeddings, row_similarities
from noseprint.metrics.verification import roc_auc

CPU = torch.device("cpu")


def identities(demo):
    with (demo / "retrieval.csv").open(newline="") as file:
        return {demo / row["folder"] / "images" / row["image"]: row["identity"] for row in csv.DictReader(file)}


def embeddings_of(demo, labelled, noise):
    """Embeddings that cluster by identity, plus noise."""
    random = np.random.default_rng(0)
    known = identities(demo)
    centres = {identity: random.normal(size=16) for identity in sorted(set(known.values()))}
    rows = np.array([centres[known[path]] for path in labelled.paths]) + noise * random.normal(
        size=(len(labelled.paths), 16)
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_perfect_embeddings_score_one_and_random_ones_score_chance(demo):
    labelled = read_labelled_data(demo)
    known = score_embeddings(embeddings_of(demo, labelled, 0.0), labelled)
    assert (known.auc.value, known.map.value, known.rank_1.value) == (1, 1, 1)
    assert (known.eer.value, known.precision_at_5.value, known.rank_5.value) == (0, 1, 1)
    chance = score_embeddings(embeddings_of(demo, labelled, 100.0), labelled)
    assert chance.auc.low < 0.5 < chance.auc.high
    between = score_embeddings(embeddings_of(demo, labelled, 2.0), labelled)
    assert between.auc.low <= between.auc.value <= between.auc.high
    assert chance.map.value < between.map.value < 1


def test_a_leave_one_out_search_is_scored_as_a_loop_does_it(demo, tmp_path):
    data = shutil.copytree(demo, tmp_path / "data")
    text = (data / "retrieval.csv").read_text().replace("query", "both").replace("gallery", "both")
    (data / "retrieval.csv").write_text(text)
    labelled = read_labelled_data(data)
    x, known = embeddings_of(data, labelled, 2.0), identities(data)
    table = labelled.retrieval
    first = []
    for query in table.paths:
        others = [path for path in table.paths if path != query]
        best = max(others, key=lambda path: x[labelled.index[path]] @ x[labelled.index[query]])
        first.append(known[best] == known[query])
    assert 0 < np.mean(first) < 1
    assert score_embeddings(x, labelled).rank_1.value == pytest.approx(np.mean(first))
    assert labelled.counts()["search"]["gallery"] == len(table.paths)


def test_the_bootstrap_clusters_are_the_identities(demo):
    labelled = read_labelled_data(demo)
    known = identities(demo)
    named = [known[labelled.pairs.folder / name] for name in labelled.pairs.image_a]
    assert len(set(zip(named, labelled.clusters[0], strict=True))) == len(set(named))


def test_the_ensemble_cosine_is_the_mean_of_the_member_cosines():
    random = np.random.default_rng(1)
    members = {n: random.normal(size=(6, 8)).astype(np.float32) for n in ("a", "b", "c")}
    members = {n: e / np.linalg.norm(e, axis=1, keepdims=True) for n, e in members.items()}
    a, b = np.arange(3), np.arange(3, 6)
    expected = np.mean([row_similarities(e, a, b) for e in members.values()], axis=0)
    assert row_similarities(ensemble_embeddings(members), a, b) == pytest.approx(expected, abs=1e-6)


def test_members_are_scored_by_their_weights(tmp_path, demo, write_weights):
    weights = {
        name: write_weights(tmp_path / f"{name}.safetensors", seed=seed) for seed, name in enumerate(("one", "two"))
    }
    found = evaluate_members(weights, demo, device=CPU)
    assert list(found.scores) == list(found.similarity) == ["one", "two", "ensemble"]
    assert all(0 <= of.map.value <= 1 for of in found.scores.values())
    labelled = found.labelled
    assert list(found.embeddings) == ["one", "two"]
    for name, embeddings in (*found.embeddings.items(), ("ensemble", ensemble_embeddings(found.embeddings))):
        assert len(embeddings) == len(labelled.paths)
        assert found.scores[name] == score_embeddings(embeddings, labelled)
        assert found.scores[name].auc.value == roc_auc(found.similarity[name], labelled.same)
        np.testing.assert_array_equal(found.similarity[name], labelled_similarities(embeddings, labelled))
    assert (found.leaks, found.without_copies, found.without_learned) == (None, {}, {})
    stored = json.loads(json.dumps(found.to_json()))
    assert stored["one"]["auc"]["value"] == found.scores["one"].auc.value
    assert stored["data"]["pairs"]["same"] == labelled.same.sum()
    assert set(stored["data"]["unsupported"]) == {
        name for name, fmr in FMRS.items() if fmr < 30 / (~labelled.same).sum()
    }


def test_an_fmr_that_too_few_pairs_support_has_no_score(demo):
    labelled = read_labelled_data(demo)
    scores = score_embeddings(embeddings_of(demo, labelled, 1.0), labelled)
    different = int((~labelled.same).sum())
    for name, fmr in FMRS.items():
        assert (getattr(scores, name) is None) == (different * fmr < 30)
    unsupported = Evaluation(labelled, None).unsupported
    assert "rule of 30" in unsupported["tmr_at_1e_3"]
    assert Evaluation(replace(labelled, pairs=None, same=labelled.same[:0]), None).unsupported == {}


def test_similarity_tables_are_scored_without_a_network(tmp_path, demo):
    labelled = read_labelled_data(demo)
    pairs = read_pairs(demo, "test")
    random = np.random.default_rng(2)
    similarity = labelled.same + random.normal(size=len(pairs))
    write_similarities(tmp_path / "a.csv", pairs, similarity)
    write_similarities(tmp_path / "b.csv", pairs, -similarity)
    found = evaluate_tables({"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"}, demo)
    scores = found.scores
    assert scores["a"].auc.value == pytest.approx(roc_auc(similarity, labelled.same))
    assert scores["b"].auc.value == pytest.approx(1 - scores["a"].auc.value)
    assert scores["ensemble"].auc.value == pytest.approx(0.5)
    assert scores["a"].map is None
    assert found.embeddings == {}


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(NoseprintError, match=r"has no labels .*labels\.csv"):
        read_labelled_data(tmp_path)


def test_photographs_that_cannot_be_read_are_left_out_of_the_scores(demo, tmp_path, write_weights):
    data = shutil.copytree(demo, tmp_path / "data")
    weights = {"one": write_weights(tmp_path / "w.safetensors")}
    labelled = read_labelled_data(data)
    broken, missing, also = labelled.paths[1], labelled.paths[4], labelled.paths[-1]
    broken.write_bytes(broken.read_bytes()[:300])
    also.write_bytes(b"")
    with pytest.raises(NoseprintError, match=f"2 of {len(labelled.paths)} .*--skip-bad") as error:
        evaluate_members(weights, data, device=CPU)
    assert broken.name in str(error.value)
    assert also.name in str(error.value)
    missing.unlink()
    skipped = tmp_path / "s.csv"
    found = evaluate_members(weights, data, device=CPU, skip_bad=True, skipped_csv=skipped, learned=[])
    rest = read_labelled_data(data, missing_ok=True)
    rest, keep = leave_out(rest, photographs={broken, missing, also})
    assert set(found.labelled.paths) == set(labelled.paths) - {broken, missing, also}
    assert found.embeddings["one"].shape[0] == len(labelled.paths) - 3
    assert len(found.similarity["one"]) == keep.sum() < len(keep)
    assert found.labelled.retrieval.paths == rest.retrieval.paths
    assert found.scores["one"].auc.value == pytest.approx(roc_auc(found.similarity["one"], labelled.same[keep]))
    assert f"Not scored: 3 of {len(labelled.paths)} photographs" in found.labelled.remarks[-1]
    assert len(skipped.read_text().splitlines()) == 4
