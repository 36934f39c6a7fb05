"""`fit` trains any task, such as one that knows nothing of embeddings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from noseprint.models.weights_header import read_header

from ..processes import run_script
from . import classification


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes that differ in brightness."""
    folder, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        (folder / name).mkdir()
        for number in range(20):
            cv2.imwrite(str(folder / name / f"{number}.jpg"), rng.integers(low, low + 128, (40, 40, 3), np.uint8))
    return folder


def test_classes_are_learned_and_the_most_accurate_weights_kept(folder, tmp_path, capsys):
    classification.train(folder, tmp_path, epochs=6, lr=2e-2, ema_epochs=0.2, optimizer="adamw", warmup=0.0)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(record["accuracy"] for record in records) >= 0.9
    assert "hold-out accuracy" in capsys.readouterr().out
    header = read_header(tmp_path / "best.safetensors")
    assert header.kind == "classifier"
    assert header.heads == {"class": ("dark", "light")}


def test_a_classifier_resumes_to_the_same_bits(folder, tmp_path):
    classification.train(folder, tmp_path / "whole")
    with pytest.raises(SystemExit):
        classification.train(folder, tmp_path / "cut", stop_at=5)  # in the second phase
    classification.train(folder, tmp_path / "cut")
    whole, cut = ((tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_two_processes_train_the_classifier_that_one_would(folder, tmp_path):
    script = str(Path(classification.__file__))
    run_script(script, folder, tmp_path / "two", log=tmp_path, ranks=2)
    classification.train(folder, tmp_path / "one")
    one, two = (load_file(tmp_path / name / "best.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-2, atol=1e-3, err_msg=key)
