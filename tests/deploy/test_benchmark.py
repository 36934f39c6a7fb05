import csv
import shutil

import cv2
import numpy as np
import pytest
import torch

from noseprint.commands.benchmark import Benchmark
from noseprint.data.class_tables import read_classes
from noseprint.deploy.benchmark import Contestant, contestants, measure
from noseprint.deploy.classifier_answers import BUNDLE, ClassifierBundle
from noseprint.deploy.classifier_graph import classifier_for_onnx, classifier_for_openvino
from noseprint.deploy.fused_torch import fused
from noseprint.deploy.pareto import HEADER, pareto_lines
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score
from noseprint.models.classifier import ClassifierNet
from noseprint.models.openvino_runtime import has_bf16, import_openvino
from noseprint.models.weights import save_weights

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def network() -> ClassifierNet:
    torch.manual_seed(0)
    network = ClassifierNet(
        "test_efficientnet.r160_in1k", heads={"label": CLASSES}, image_size=32, pretrained=False, freeze_batch_norm=True
    )
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def models(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "test_efficientnet-32"
    folder.mkdir()
    import_openvino().save_model(classifier_for_openvino(network), folder / "float32.xml", compress_to_fp16=False)
    (folder / "model.onnx").write_bytes(classifier_for_onnx(network))
    save_weights(folder / "best.safetensors", network, extra={"recipe": "student"})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, number in (("train", 2), ("test", 12)):
        for at, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for row in range(number):
                image = random.integers(0, 120, (40 + row, 60, 3), np.uint8) + 130 * at
                cv2.imwrite(str(folder / split / name / f"{row}.png"), image.astype(np.uint8))
    return folder


def test_a_fused_network_computes_the_same_without_batch_norm(network):
    lean = fused(network)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in lean.modules())
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(lean(images), network(images), rtol=1e-4, atol=1e-4)


def test_a_folder_of_models_is_measured_by_every_engine(models, data, tmp_path, capsys):
    Benchmark(models=(models,), data=data, rounds=2, out=tmp_path)()
    with (tmp_path / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    precisions = [("torch", "float32"), ("torch-fused", "float32"), ("openvino", "float32"), ("onnxruntime", "float32")]
    precisions += [("openvino-fixed", "float32")]
    if has_bf16():
        precisions += [("openvino", "bf16"), ("openvino-fixed", "bf16")]
    assert {(row["engine"], row["precision"]) for row in rows} == set(precisions)
    assert {(row["network"], row["size"]) for row in rows} == {("test_efficientnet", "32")}
    assert len({row["accuracy"] for row in rows if row["precision"] == "float32"}) == 1
    for row in rows:
        assert 0 < float(row["latency_ms_median"]) <= float(row["latency_ms_p95"])
        assert float(row["images_per_s"]) > 0
    out = capsys.readouterr().out
    assert "24 photographs, 1 thread, 2 rounds" in out
    assert sum(line.startswith("*") for line in out.splitlines()) >= 1
    assert cv2.imread(str(tmp_path / "pareto.png")) is not None


def test_with_a_fixed_size_the_answers_are_the_same_for_any_number_of_sizes(models, monkeypatch):
    monkeypatch.setattr("noseprint.deploy.benchmark.MOST_SIZES", 2)
    any_size, fixed = (one for one in contestants(models / "float32.xml") if one.precision == "float32")
    for side in (40, 41, 42, 40):
        image = np.random.default_rng(side).integers(0, 256, (side, 50, 3), np.uint8)
        np.testing.assert_allclose(fixed.run(image), any_size.run(image), atol=1e-5)


class Clock:
    """A contestant that answers by rule and takes the time it is told."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("noseprint.deploy.benchmark.time.perf_counter", lambda: self.now)

    def contestant(self, name, *, seconds, answers):
        calls = []

        def run(image):
            self.now += seconds
            calls.append(image)
            return answers(image)

        one = Contestant(name, 32, "float32", "torch", run, CLASSES)
        return one, calls


def test_latency_accuracy_rate_front_and_score_are_what_the_clock_says(data, monkeypatch):
    clock = Clock(monkeypatch)
    right = lambda image: np.array([0.9, 0.1]) if image.mean() < 125 else np.array([0.1, 0.9])  # noqa: E731
    good, _ = clock.contestant("good", seconds=0.02, answers=right)
    slow, _ = clock.contestant("slow", seconds=0.05, answers=right)
    fast, calls = clock.contestant("fast", seconds=0.01, answers=lambda image: np.array([0.6, 0.4]))
    images = read_classes(data).split("test")
    measured, decoding = measure([good, slow, fast], images, rounds=2)
    assert [round(one.median_ms, 6) for one in measured] == [20, 50, 10]
    assert [one.accuracy.value for one in measured] == [1.0, 1.0, 0.5]
    assert [round(one.images_per_s, 6) for one in measured] == [50, 20, 100]
    assert [one.on_front for one in measured] == [True, False, True]
    assert len(calls) == 3 * len(images)
    assert decoding == 0
    assert measured[0].score(weight=0.3, enough=100) == pytest.approx(0.7 + 0.15)
    assert measured[2].score(weight=0.3, enough=50) == pytest.approx(0.35 + 0.3)
    lines = list(pareto_lines(measured, weight=0.3, enough=100))
    assert [line[:6] for line in lines[1:]] == ["* good", "  slow", "* fast"]


def test_what_cannot_be_measured_is_named(models, data, tmp_path, network):
    (tmp_path / "embedding").mkdir()
    (tmp_path / "embedding" / "bundle.json").write_text('{"format": "noseprint bundle 2"}')
    with pytest.raises(NoseprintError, match=r"this bundle holds an embedding network"):
        list(contestants(tmp_path / "embedding"))
    with pytest.raises(NoseprintError, match=r"gone: no such file or folder"):
        list(contestants(tmp_path / "gone"))
    with pytest.raises(NoseprintError, match=r"holds no bundle\.json"):
        list(contestants(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(NoseprintError):
        list(contestants(tmp_path / "a.txt"))
    (tmp_path / "a.xml").write_text("x")
    with pytest.raises(NoseprintError, match=r"a\.xml: "):
        list(contestants(tmp_path / "a.xml"))
    (tmp_path / "a.onnx").write_text("x")
    with pytest.raises(NoseprintError, match=r"a\.onnx: "):
        list(contestants(tmp_path / "a.onnx"))
    (found, *_) = contestants(models / "best.safetensors")
    with pytest.raises(NoseprintError, match="has other classes than test_efficientnet"):
        measure([found, Contestant("other", 32, "float32", "torch", found.run, ("cat", "owl"))], read_classes(data))
    with pytest.raises(NoseprintError, match="--most 0"):
        Benchmark(models=(models,), data=data, most=0)
    with pytest.raises(NoseprintError, match="name bundles"):
        Benchmark(models=(), data=data)


def test_a_bundle_keeps_its_precision_when_the_folder_above_or_its_model_is_named(models, tmp_path):
    folder = tmp_path / "exports" / "bundle"
    folder.mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        (folder / f"model{suffix}").write_bytes((models / f"float32{suffix}").read_bytes())
    about = ClassifierBundle(
        version="0", fingerprint="f", backbone="test_efficientnet.r160_in1k", image_size=32, input="", classes=CLASSES,
        precision="int8", temperature=1.0, right=0.95, threshold=None, answered=1.0, images=1,
        accuracy=Score(1.0, 1.0, 1.0), holdout_of="h",
    )  # fmt: skip
    (folder / "bundle.json").write_bytes(BUNDLE.dump_json(about))
    for path in (folder, tmp_path / "exports", folder / "model.xml"):
        assert [(one.precision, one.size) for one in contestants(path)] == 2 * [("int8", 32)]
    shutil.copytree(tmp_path / "exports", tmp_path / "older")
    shutil.copy(models / "model.onnx", tmp_path / "older" / "bundle" / "model.onnx")
    for folder in ("exports", "older"):
        assert {one.network for one in contestants(tmp_path / folder)} == {f"test_efficientnet in {folder}/bundle"}
