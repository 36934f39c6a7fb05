import csv
import shutil

import numpy as np
import pytest

from noseprint.calibration.curves import Platt
from noseprint.commands.fuse import Fuse
from noseprint.data.tables import read_pairs
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.inference.evaluation import evaluate_tables
from noseprint.inference.infer import infer
from noseprint.inference.infer_options import InferOptions
from noseprint.inference.similarity_table import read_similarities
from noseprint.models.weights import load_network


@pytest.fixture(scope="module")
def network(tmp_path_factory, write_weights):
    return load_network(write_weights(tmp_path_factory.mktemp("weights") / "best.safetensors"))


@pytest.fixture
def damaged(demo, tmp_path):
    """A data folder with a broken and a missing test photograph, and their names."""
    data = shutil.copytree(demo, tmp_path / "data")
    pairs = read_pairs(data, "test")
    broken, missing = pairs.image_a[0], pairs.image_b[3]
    (pairs.folder / broken).write_bytes((pairs.folder / broken).read_bytes()[:300])
    (pairs.folder / missing).unlink()
    return data, {broken, missing}


def run(network, data, results, **options):
    chosen = InferOptions(data=data, workers=0, device="cpu", engine="torch", **options)
    infer(network, transforms=[A.Resize(32, 32)], calibration=Platt(9.0, -6.0), results=results, options=chosen)
    with (results / "similarity.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_with_a_skipped_photograph_have_no_answer(network, demo, damaged, tmp_path, capsys):
    data, bad = damaged
    whole = run(network, demo, tmp_path / "whole")
    assert not (tmp_path / "whole" / "similarity.skipped.csv").exists()
    rows = run(network, data, tmp_path / "rest", skip_bad=True)
    assert [(row["imageA"], row["imageB"]) for row in rows] == [(row["imageA"], row["imageB"]) for row in whole]
    for row, complete in zip(rows, whole, strict=True):
        if bad & {row["imageA"], row["imageB"]}:
            assert (row["prediction"], row["probability"]) == ("", "")
        else:
            assert float(row["prediction"]) == pytest.approx(float(complete["prediction"]), abs=1e-5)
            assert float(row["probability"]) == pytest.approx(float(complete["probability"]), abs=1e-4)
    with (tmp_path / "rest" / "similarity.skipped.csv").open(newline="") as file:
        assert {row["image"].rpartition("/")[2] for row in csv.DictReader(file)} == bad
    assert "2 of " in capsys.readouterr().err


def test_without_skip_bad_all_broken_photographs_are_named(network, demo, tmp_path):
    data = shutil.copytree(demo, tmp_path / "data")
    names = read_pairs(data, "test").names()[:3]
    for name in names:
        (data / "test" / "images" / name).write_bytes(b"")
    with pytest.raises(NoseprintError, match=r"3 of \d+ photographs cannot be read") as error:
        run(network, data, tmp_path / "results")
    assert all(f"{name}: is empty" in str(error.value) for name in names)
    assert not (tmp_path / "results" / "similarity.csv").exists()
    for name in read_pairs(data, "test").names():
        (data / "test" / "images" / name).write_bytes(b"")
    with pytest.raises(NoseprintError, match="every pair has a photograph that cannot be read"):
        run(network, data, tmp_path / "results", skip_bad=True)


def test_answers_that_are_missing_stay_missing_when_members_are_fused_and_scored(network, damaged, tmp_path, capsys):
    data, bad = damaged
    run(network, data, tmp_path / "one", skip_bad=True)
    run(network, data, tmp_path / "two", skip_bad=True)
    tables = {name: tmp_path / name / "similarity.csv" for name in ("one", "two")}
    Fuse(tuple(tables.values()), data / "test" / "test_data.csv", tmp_path / "final.csv")()
    pairs = read_pairs(data, "test", missing_ok=True)
    missing = np.array([bool(bad & {a, b}) for a, b in zip(pairs.image_a, pairs.image_b, strict=True)])
    np.testing.assert_array_equal(np.isnan(read_similarities(tmp_path / "final.csv")["prediction"]), missing)
    assert f"{missing.sum()} of {len(missing)} pairs have no answer" in capsys.readouterr().err
    for name in bad:
        (data / "test" / "images" / name).touch()
    evaluation = evaluate_tables(tables, data)
    assert f"Not scored: {missing.sum()} of {len(missing)} test pairs" in evaluation.labelled.remarks[-1]
    assert len(evaluation.similarity["ensemble"]) == np.sum(~missing)
    assert evaluation.scores["ensemble"].auc == evaluation.scores["one"].auc
