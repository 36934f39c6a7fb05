import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noseprint.data.central_square import CentralSquare
from noseprint.data.class_tables import read_classes
from noseprint.data.holdout import content_hashes
from noseprint.data.prepared import read_prepared
from noseprint.deploy import classifier_export
from noseprint.errors import NoseprintError
from noseprint.importing.prepared_classes import prepare_classes
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import fingerprint, save_weights

FAMILY = Path(__file__).parents[2] / "recipes" / "style_mobile"
COLOURS = {"blue": (20, 20, 220), "green": (20, 220, 20), "red": (220, 20, 20)}


def script(family: Path, name: str):
    spec = importlib.util.spec_from_file_location(Path(name).stem, family / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def family(tmp_path) -> Path:
    """The recipe with a data folder of coloured photographs, prepared, and a student that knows the colours."""
    family, data, rng = tmp_path / "family", tmp_path / "data", np.random.default_rng(0)
    shutil.copytree(FAMILY, family, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
    for number in range(60):
        for split in ("train", "test") if number < 6 else ("train",):
            name = sorted(COLOURS)[number % 3]
            path = data / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(-20, 20, (int(rng.integers(60, 200)), int(rng.integers(60, 200)), 3))
            cv2.imwrite(str(path), np.clip(COLOURS[name] + noise, 0, 255)[..., ::-1].astype(np.uint8))
    prepare_classes(
        read_classes(data),
        family / "prepare/results/small",
        image_size=48,
        usable=lambda table, *, read: [read(path) for path in table.paths] and table,
    )
    torch.manual_seed(0)
    network = ClassifierNet(
        "test_efficientnet.r160_in1k", heads={"label": sorted(COLOURS)}, image_size=48, pretrained=False
    ).eval()
    plain = [torch.tensor(CentralSquare(48).apply(np.full((60, 60, 3), COLOURS[name], np.uint8))) for name in COLOURS]
    with torch.no_grad():
        features = network.features(torch.stack(plain).permute(0, 3, 1, 2))
        centred = features - features.mean(0)
        network.heads[0].weight.copy_(torch.linalg.pinv(centred).T * 5)
        network.heads[0].bias.copy_(-network.heads[0].weight @ features.mean(0))
    train = read_prepared(family / "prepare/results/small").split("train")
    extra = {"trained_images": "".join(content_hashes(train.paths))}
    save_weights(family / "student/results/small/best.safetensors", network, extra=extra)
    return family


def test_the_network_is_exported_and_answers(family, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name not in ("nncf", "onnx"))
    export, answer = script(family, "deploy/export.py"), script(family, "predict/answer.py")
    options = replace(export.SMALL, data=tmp_path / "data")
    (family / "deploy/results/small/earlier-48").mkdir(parents=True)
    export.main(options)
    assert not (family / "deploy/results/small/earlier-48").exists()  # measure.sh would measure it, too
    assert "held-out photographs: the same class for" in capsys.readouterr().out
    results, student = family / "deploy/results/small", family / "student/results/small/best.safetensors"
    assert (results / "precisions.csv").read_text().startswith("precision,accuracy,low,high,loss,")
    assert {path.name for path in (results / "test_efficientnet-48").iterdir()} == {"float32.xml", "float32.bin"}
    about = json.loads((family / "results/small/bundle/bundle.json").read_text())
    assert about["fingerprint"] == about["holdout_of"] == fingerprint(student)
    answer.main(replace(answer.SMALL, data=tmp_path / "data"))
    rows = [line.split(",") for line in (family / "results/small/prediction.csv").read_text().splitlines()]
    assert rows[0] == ["image", "label", "probability", "decision"]
    assert len(rows) == 7
    assert all(name.split("/")[:2] == ["test", label] for name, label, *_ in rows[1:])  # all are right
    assert "Right: 1.0000" in capsys.readouterr().out
    images = {"images": tmp_path / "data" / "test", "out": tmp_path / "own.csv"}
    answer.main(replace(answer.SMALL, data=tmp_path / "gone", **images))
    assert (tmp_path / "own.csv").read_text().count("\n") == 7


def test_the_finished_network_is_judged_by_that_of_the_proof(family, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name not in ("nncf", "onnx"))
    export = script(family, "deploy/export.py")
    student, finish = family / "student/results/small/best.safetensors", family / "finish/results/small"
    (finish / "proof").mkdir(parents=True)
    shutil.copy(student, finish / "proof")
    network = classifier_export.load_classifier(student)
    everything = read_prepared(family / "prepare/results/small").labelled()
    extra = {"trained_images": "".join(content_hashes(everything.paths))}
    with torch.no_grad():
        network.heads[0].bias += 0.01
    save_weights(finish / "best.safetensors", network, extra=extra)
    export.main(replace(export.SMALL, data=tmp_path / "data"))
    about = json.loads((family / "results/small/bundle/bundle.json").read_text())
    assert about["fingerprint"] == fingerprint(finish / "best.safetensors") != about["holdout_of"]
    assert about["holdout_of"] == fingerprint(student)
    shutil.copy(finish / "best.safetensors", finish / "proof")  # it has seen the hold-out
    with pytest.raises(NoseprintError, match="this network learned from"):
        export.main(replace(export.SMALL, data=tmp_path / "data"))
