import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from noseprint.data.central_square import CentralSquare
from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import decode
from noseprint.deploy import classifier_answers, classifier_export
from noseprint.deploy.benchmark import contestants
from noseprint.deploy.classifier_answers import answer_photographs, read_bundle, run_graph, run_module
from noseprint.deploy.classifier_export import export_classifier, export_models, write_precisions
from noseprint.deploy.classifier_graph import classifier_in_torch
from noseprint.errors import NoseprintError
from noseprint.models.classifier import ClassifierNet
from noseprint.models.openvino_runtime import import_openvino
from noseprint.models.weights import load_classifier, save_weights

CLASSES = ("cat", "Hündin", 'no "pet"')
SIZE = 48
RUNTIMES = {"float32": ((), ("openvino",)), "int8": ((),)}
"""What the example must do without."""
WITHOUT_NOSEPRINT = """
import runpy, sys
from pathlib import Path
sys.modules.update(noseprint=None, torch=None, timm=None, albumentations=None, PIL=None, **{without!r})
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def scene(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return cv2.resize(rng.integers(0, 256, (3, 3, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network whose answers differ from image to image."""
    torch.manual_seed(0)
    network = ClassifierNet("test_efficientnet.r160_in1k", heads={"label": CLASSES}, image_size=SIZE, pretrained=False)
    rng = np.random.default_rng(1)
    squares = [torch.from_numpy(CentralSquare(SIZE).apply(scene(rng, 60, 60))).permute(2, 0, 1) for _ in range(60)]
    with torch.no_grad():
        features = network.eval().features(torch.stack(squares))
        head = network.heads[0]
        head.weight.copy_(head.weight / features.std(0) * 3)
        head.bias.copy_(-head.weight @ features.mean(0))
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(path, network, extra={})
    return path


network_of = cache(load_classifier)


def torch_answer(weights: Path, image: np.ndarray, temperature: float) -> tuple[str, float]:
    network = network_of(weights)
    pixels = torch.from_numpy(CentralSquare(SIZE).apply(image)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        p = torch.softmax(network(pixels) / temperature, dim=1)[0]
    return CLASSES[int(p.argmax())], float(p.max())


@pytest.fixture(scope="module")
def images(weights, tmp_path_factory) -> ClassTable:
    """Photographs of odd sizes by 12 people; two thirds of the answers that are least sure are wrong."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths, found = [], []
    for number in range(90):
        paths.append(folder / f"{number}.png")
        image = scene(rng, *rng.integers(20, 150, 2).tolist())
        cv2.imwrite(str(paths[-1]), image[..., ::-1])
        found.append(torch_answer(weights, image, 1.0))
    unsure = np.argsort([probability for _, probability in found])[:30]
    wrong = [number in unsure and number % 3 > 0 for number in range(90)]
    labels = [CLASSES[(CLASSES.index(label) + bad) % 3] for (label, _), bad in zip(found, wrong, strict=True)]
    names = tuple(path.name for path in paths)
    groups = tuple(str(number // 8) for number in range(90))
    return ClassTable(tuple(paths), tuple(labels), ("val",) * 90, names, groups)


def export(weights: Path, images: ClassTable, folder: Path, *, take: str = "float32", **options):
    """Export with the precision `take` the only fast one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            classifier_export,
            "relative_times",
            lambda engines, _: {kind: 0.5 if kind == take else 1 for kind in engines},
        )
        patch.setattr(classifier_export, "CALIBRATION_IMAGES", 8)
        patch.setattr("noseprint.deploy.precisions.LEAST_SAME", 0)
        options = {"proof": weights, "train": images, "most_loss": 1.0, **options}
        return export_classifier(weights, folder / "bundle", holdout=images, right=0.85, **options)


@pytest.fixture(scope="module", params=["float32", "int8"])
def bundle(request, weights, images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "int8":  # one ONNX is enough: it takes long
            patch.setattr(classifier_export, "is_installed", lambda name: name != "onnx")
        exported = export(weights, images, folder, take=request.param)
    assert exported.taken == request.param
    (folder / "lines.txt").write_text("\n".join(exported.lines))
    write_precisions(folder / "precisions.csv", exported)
    return folder / "bundle"


def run_example(bundle: Path, *arguments: object, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    code = WITHOUT_NOSEPRINT.format(without=dict.fromkeys(without))
    command = [sys.executable, "-c", code, str(bundle / "example.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def odd_photographs(folder: Path) -> list[Path]:
    """A pixel wide, very long, grey, with alpha, turned by EXIF."""
    rng = np.random.default_rng(2)
    for height, width in ((1, 1), (300, 1), (16, 2000), (2, 3), (481, 37)):
        cv2.imwrite(str(folder / f"{width}x{height}.png"), scene(rng, height, width)[..., ::-1])
    photograph = Image.fromarray(scene(rng, 80, 50))
    photograph.convert("L").save(folder / "grey.jpg")
    alpha = photograph.copy()
    alpha.putalpha(100)
    alpha.save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph.save(folder / "turned 犬.jpg", exif=exif)
    return sorted(folder.iterdir())


def test_the_example_answers_as_torch_does_without_noseprint(bundle, weights, tmp_path):
    about, photographs = read_bundle(bundle), odd_photographs(tmp_path)
    exact, answered = about.precision == "float32", []
    for without in RUNTIMES[about.precision]:  # without openvino: ONNX Runtime, which is always float32
        done = run_example(bundle, *photographs, without=without)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert [row[0] for row in rows] == list(map(str, photographs))
        for path, (_, label, printed, *unsure) in zip(photographs, rows, strict=True):
            expected, probability = torch_answer(weights, decode(path), about.temperature)
            p = float(printed)
            if exact or without:
                assert (label, p) == (expected, pytest.approx(probability, abs=2e-4)), path
            assert unsure == (["cannot tell"] if p < about.threshold else [])
            answered.append(not unsure)
            assert len(printed.partition(".")[2]) == 4
    assert 0 < sum(answered) < len(answered)


def test_the_example_checks_itself_and_says_what_it_cannot_read(bundle, tmp_path):
    for without in RUNTIMES[read_bundle(bundle).precision]:
        done = run_example(bundle, "--check", without=without)
        assert (done.returncode, done.stdout) == (0, "8 of 8 answers are as expected\n"), done.stdout + done.stderr
    (tmp_path / "text.jpg").write_text("<html>")
    good = sorted((bundle / "fixture").glob("*.ppm"))[0]
    done = run_example(bundle, tmp_path / "gone.jpg", tmp_path / "text.jpg", good)
    assert (done.returncode, len(done.stdout.splitlines()), len(done.stderr.splitlines())) == (1, 1, 2)
    assert "Traceback" not in done.stderr
    wrong = shutil.copytree(bundle, tmp_path / "wrong")
    expected = json.loads((wrong / "fixture" / "expected.json").read_text(encoding="utf-8"))
    expected["answers"][3][2] += 2 * expected["tolerance"]
    expected["answers"][5][1] = "another"
    (wrong / "fixture" / "expected.json").write_text(json.dumps(expected))
    done = run_example(wrong, "--check")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "6 of 8 answers are as expected")


@pytest.mark.parametrize("bundle", ["float32"], indirect=True)
@pytest.mark.parametrize(
    "case",
    [
        ("bundle.json", b'{"format"', "bundle.json is damaged"),
        ("bundle.json", b'{"precision": "float32", "threshold": 0}', "bundle.json is damaged ('classes')"),
        ("bundle.json", None, "bundle.json is missing"),
        ("model.xml", b'<?xml version="1.0"?>\n<net name="cut off" version="11">', "model.xml or model.bin is damaged"),
        ("model.bin", b"cut off", "model.xml or model.bin is damaged"),
        ("model.bin", None, "model.bin is missing"),
        ("opencv_image.py", None, "opencv_image.py is missing"),
        ("fixture/expected.json", b"[]", "fixture/expected.json is damaged"),
    ],
)
def test_a_damaged_bundle_is_named_in_one_line(bundle, weights, images, tmp_path, case):
    name, content, problem = case
    broken = shutil.copytree(bundle, tmp_path / "broken")
    (broken / name).unlink()
    if content is not None:
        (broken / name).write_bytes(content)
    done = run_example(broken, "--check")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"{broken}: {problem}" in done.stderr
    if name.startswith(("bundle", "model")):
        with pytest.raises(NoseprintError, match=f"{name}.*(is missing|damaged)") as error:
            answer_photographs(broken, images, out=tmp_path / "answer.csv", weights=weights)
        assert "\n" not in str(error.value)
        if (broken / "bundle.json").is_file():
            with pytest.raises(NoseprintError) as error:
                list(contestants(broken))
            assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def program(bundle, tmp_path_factory) -> Path:
    """The C++ example, built against the OpenVINO of this Python as the bundle's CMakeLists.txt says.

    Without cmake, the compiler is called directly, so that only a machine without any compiler leaves this out.
    """
    if not shutil.which("g++"):
        assert not os.environ.get("CI"), "CI must try the C++ example: install g++"
        pytest.skip("there is no C++ compiler (g++)")
    build, openvino = tmp_path_factory.mktemp("build"), Path(import_openvino().__path__[0])
    (library,) = (openvino / "libs").glob("libopenvino.so.*")
    commands = (
        ["cmake", "-B", build, "-S", bundle, "-DCMAKE_BUILD_TYPE=Debug", f"-DOpenVINO_DIR={openvino / 'cmake'}"],
        ["cmake", "--build", build],
    )
    if not shutil.which("cmake"):
        link = [library, f"-Wl,-rpath,{library.parent}"]
        options = ["-std=c++17", f"-I{openvino / 'include'}"]
        commands = (["g++", *options, bundle / "example.cpp", *link, "-o", build / "example"],)
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "example"


def test_the_cpp_example_agrees_with_python_to_the_last_printed_digit(bundle, program, tmp_path):
    rng, images = np.random.default_rng(3), sorted((bundle / "fixture").glob("*.ppm"))
    for height, width in ((1, 1), (300, 1), (16, 2000), (61, 90), (333, 222)):
        images.append(tmp_path / f"{width} x {height}.ppm")
        cv2.imwrite(str(images[-1]), scene(rng, height, width)[..., ::-1])
    done = subprocess.run([program, bundle, *images], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_example(bundle, *images).stdout
    assert len(done.stdout.splitlines()) == 13


def test_the_cpp_example_checks_itself_and_says_what_it_cannot_read(bundle, program, tmp_path):
    done = subprocess.run([program, bundle, "--check"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "8 of 8 answers are as expected\n")
    (tmp_path / "cut.ppm").write_bytes(b"P6\n9 9\n255\nabc")
    (tmp_path / "text.ppm").write_text("<html>")
    (tmp_path / "huge.ppm").write_bytes(b"P6\n999999999 999999999\n255\n")
    faulty = [tmp_path / name for name in ("cut.ppm", "gone.ppm", "huge.ppm", "text.ppm")]
    done = subprocess.run([program, bundle, *faulty], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 4)
    wrong = shutil.copytree(bundle, tmp_path / "wrong")
    text = (wrong / "fixture" / "expected.json").read_text(encoding="utf-8")
    (wrong / "fixture" / "expected.json").write_text(text.replace(CLASSES[1], "?").replace(CLASSES[0], "?"))
    done = subprocess.run([program, wrong, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "expected: ? " in done.stdout
    for name, problem in (("fixture/2.ppm", "2.ppm: cannot be opened"), ("model.bin", "bin is missing or damaged")):
        (wrong / name).unlink()
        done = subprocess.run([program, wrong, "--check"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr.count("\n"), problem in done.stderr) == (1, 1, True)
    assert subprocess.run([program, bundle], capture_output=True).returncode == 2


def test_the_bundle_says_what_it_holds(bundle, weights, images):
    about = read_bundle(bundle)
    with_onnx = ["model.onnx"] if about.precision == "float32" else []
    assert (about.classes, about.image_size, about.images) == (CLASSES, SIZE, 90)
    assert about.accuracy.low < about.accuracy.value < about.accuracy.high
    assert {path.name for path in bundle.iterdir()} - {"__pycache__", "example"} == {
        *("README.md", "bundle.json", "model.xml", "model.bin", *with_onnx, "fixture"),
        *("example.py", "example.cpp", "CMakeLists.txt"),
        *("read_photograph.py", "image_headers.py", "opencv_image.py"),
    }
    model = import_openvino().Core().read_model(bundle / "model.xml")
    assert json.loads(model.get_rt_info(["labels"]).astype(str)) == list(CLASSES)
    assert float(model.get_rt_info(["threshold"]).astype(str)) == (about.threshold or 0)
    for name in with_onnx:
        assert onnx.load(bundle / name).metadata_props[0].key == "labels"
    lines = (bundle.parent / "lines.txt").read_text()
    assert "float32 against torch on 90 held-out photographs: the same class for 90" in lines
    assert ("ONNX against torch on 90 held-out photographs: the same class for 90" in lines) == bool(with_onnx)
    assert all(f"- {line}\n" in (bundle / "README.md").read_text() for line in lines.splitlines())
    assert (bundle.parent / "precisions.csv").read_text().count(",yes\n") == 1
    shapes = {cv2.imread(str(path)).shape for path in (bundle / "fixture").glob("*.ppm")}
    assert len(shapes) == 8


def test_models_for_measurements_have_the_size_that_is_asked_for(weights, images, tmp_path, monkeypatch):
    """In 8 bits, the preprocessing and the head stay in float."""
    monkeypatch.setattr(classifier_export, "CALIBRATION_IMAGES", 8)
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name != "onnx")
    export_models(weights, tmp_path / "a-32", image_size=32, train=images)
    found = sorted(path.name for path in (tmp_path / "a-32").iterdir())
    assert found == ["float32.bin", "float32.xml", "int8.bin", "int8.xml"]
    image = decode(images.paths[0])
    expected = run_module(classifier_in_torch(load_classifier(weights, image_size=32)))(image)
    assert np.abs(run_graph(tmp_path / "a-32" / "float32.xml", "float32")(image) - expected).max() < 1e-4
    model = import_openvino().Core().read_model(tmp_path / "a-32" / "int8.xml")
    quantised = [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]
    users = {use.get_node().get_type_name() for op in quantised for use in op.output(0).get_target_inputs()}
    assert quantised
    assert "Convolution" in users
    assert not users & {"MatMul", "Softmax", "Slice", "Floor"}


def test_photographs_are_answered_in_a_table(bundle, weights, images, tmp_path, monkeypatch):
    about = read_bundle(bundle)
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>")
    more = ClassTable(
        (*images.paths, bad), (*images.labels, "cat"), (*images.splits, "val"), (*images.names, "bad.jpg"), None
    )
    lines = answer_photographs(bundle, more, out=tmp_path / "answer.csv", weights=weights)
    rows = [line.split(",") for line in (tmp_path / "answer.csv").read_text().splitlines()]
    assert rows[0] == ["image", "label", "probability", "decision"]
    assert [row[0] for row in rows[1:]] == list(images.names)
    for *_, probability, decision in rows[1:]:
        assert (decision == "cannot tell") == (float(probability) < about.threshold)
    assert "bad.jpg" in (tmp_path / "answer.skipped.csv").read_text()
    assert lines[0] == f"90 photographs, answered by test_efficientnet.r160_in1k (OpenVINO, {about.precision})."
    assert lines[2].startswith("Right: ")
    monkeypatch.setattr(classifier_answers.openvino_runtime, "is_installed", lambda: False)
    answer_photographs(bundle, images, out=tmp_path / "torch.csv", weights=weights)
    others = [line.split(",") for line in (tmp_path / "torch.csv").read_text().splitlines()]
    if about.precision == "float32":
        assert [row[1] for row in others] == [row[1] for row in rows]
    network = load_classifier(weights)
    with torch.no_grad():
        network.heads[0].bias += 1
    save_weights(tmp_path / "other.safetensors", network, extra={})
    with pytest.raises(NoseprintError, match="these are not the weights of"):
        answer_photographs(bundle, images, out=tmp_path / "torch.csv", weights=tmp_path / "other.safetensors")


def without_numbers(path: Path) -> bytes:
    """The bytes of a file; OpenVINO numbers the models and operations of a process in the order of their making."""
    data = path.read_bytes()
    return re.sub(rb"(Model|_)\d+\b", b"", data) if path.suffix == ".xml" else data


def test_the_same_export_has_the_same_bytes_and_replaces_an_older_one(weights, images, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name not in ("nncf", "onnx"))
    folders = []
    for name in ("one", "one"):
        lines = export(weights, images, tmp_path / name).lines
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        folders.append({path.relative_to(tmp_path / name): without_numbers(path) for path in files})
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["bundle"]
    assert folders[0] == folders[1]
    assert any(line.startswith("int8 is left out: nncf") for line in lines)
    assert any(line.startswith("model.onnx is left out") for line in lines)


def test_a_full_disk_leaves_nothing_or_the_older_bundle(weights, images, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name not in ("nncf", "onnx"))
    monkeypatch.setattr(classifier_export.BUNDLE, "dump_json", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(weights, images, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "older").touch()
    with pytest.raises(ZeroDivisionError):
        export(weights, images, tmp_path)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["older"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_cannot_be_exported_is_refused_and_nothing_written(weights, images, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_export, "is_installed", lambda name: name not in ("nncf", "onnx"))
    with pytest.raises(NoseprintError, match="no image is held out"):
        export(weights, images.where([False] * len(images)), tmp_path)
    other = ClassifierNet("test_efficientnet.r160_in1k", heads={"label": CLASSES}, image_size=32, pretrained=False)
    save_weights(tmp_path / "other.safetensors", other, extra={})
    with pytest.raises(NoseprintError, match="are different networks"):
        export(weights, images, tmp_path / "out", proof=tmp_path / "other.safetensors")
    bad = replace(images, paths=(tmp_path / "gone.png", *images.paths[1:]))
    with pytest.raises(NoseprintError, match=r"1 of 90 photographs cannot be read(.|\n)*gone\.png"):
        export(weights, bad, tmp_path / "out")
    run = classifier_export.run_graph

    def reversed_answers(model, kind):
        compute = run(model, kind)
        return lambda image: compute(image)[::-1].copy()

    monkeypatch.setattr(classifier_export, "run_graph", reversed_answers)
    with pytest.raises(NoseprintError, match=r"answers differently from torch \(float32 against torch on 90 "):
        export(weights, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
