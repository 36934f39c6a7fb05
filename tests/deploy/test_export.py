import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from noseprint.calibration.curves import Platt
from noseprint.data.datasets import PlainImages
from noseprint.data.transforms import A
from noseprint.deploy import export as export_module
from noseprint.deploy.export import export
from noseprint.errors import NoseprintError
from noseprint.models.classifier import ClassifierNet
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.onnx_model import convert_to_onnx, run_onnx
from noseprint.models.openvino_runtime import cosine_to_torch
from noseprint.models.weights import fingerprint, load_network, save_weights

from ..in_process import noseprint

WITHOUT_NOSEPRINT = """
import runpy, sys
from pathlib import Path
sys.modules.update(noseprint=None, torch=None, timm=None, albumentations=None, PIL=None)
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
"""
RUN_IT = """
runpy.run_path(sys.argv[0], run_name="__main__")
"""
READ_ALL = """
import numpy as np
read = runpy.run_path(sys.argv[0], run_name="example")["read"]
pixels, refusals = {}, []
for path in sys.argv[2:]:
    try:
        pixels[path] = read(path)
    except SystemExit as refusal:
        refusals.append(str(refusal))
np.savez(sys.argv[1], **pixels)
print(*refusals, sep=chr(10))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=48, pretrained=False)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(path, network, extra={"recipe": "swin224_stage2", "calibration": Platt(9.5, -4.0).to_json()})
    return path


@pytest.fixture(scope="module", params=["openvino", "onnx"])
def bundle(request, weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / request.param
    lines = export(weights, out, onnx=request.param == "onnx")
    assert [re.sub(r"(0\.99999|1\.00000)\d\d", "1", line) for line in lines] == [
        "lowest cosine to torch on two test images: 1 (0.99999 is required)"
    ]
    return out


def run_example(bundle: Path, *photographs: Path) -> subprocess.CompletedProcess:
    code = WITHOUT_NOSEPRINT + RUN_IT
    command = [sys.executable, "-c", code, str(bundle / "example.py"), *map(str, photographs)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_example_answers_as_noseprint_does_without_noseprint(bundle, weights, demo):
    photographs = sorted((demo / "test" / "images").iterdir())[:2]
    done = run_example(bundle, *photographs)
    assert done.returncode == 0, done.stderr
    network = load_network(weights)
    a, b = embed_images(network, photographs, transform=A.Resize(48, 48), device=torch.device("cpu"), workers=0)
    answer = json.loads(done.stdout)
    assert answer["similarity"] == pytest.approx(float(a @ b), abs=1e-5)
    assert answer["probability"] == pytest.approx(float(Platt(9.5, -4.0).probability(a @ b)), abs=1e-4)


def write_all_kinds(folder: Path) -> list[Path]:
    """Photographs of every kind: turned by EXIF, grey, palette, CMYK, alpha, 16 and 12 bits, compressed TIFF, ..."""
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8), (60, 40))
    photograph = Image.fromarray(pixels)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("jpg", "png", "webp", "tif"):
            photograph.save(folder / f"turned{orientation}.{suffix}", exif=exif)
    alpha = photograph.copy()
    alpha.putalpha(Image.fromarray(pixels[..., 0]))
    for mode, suffixes in {"L": "jpg png tif", "P": "png tif bmp", "1": "png tif", "CMYK": "jpg tif"}.items():
        for suffix in suffixes.split():
            photograph.convert(mode).save(folder / f"{mode}.{suffix}")
    for suffix in ("png", "webp", "tif"):
        alpha.save(folder / f"alpha.{suffix}")
    alpha.convert("LA").save(folder / "grey alpha.png")
    photograph.convert("P").save(folder / "transparent.png", transparency=0)
    for name, compression in (("lzw", "tiff_lzw"), ("jpeg", "jpeg"), ("deflate", "tiff_adobe_deflate")):
        photograph.save(folder / f"{name}.tif", compression=compression)
    for suffix in ("png", "tif"):
        cv2.imwrite(str(folder / f"rgb16.{suffix}"), pixels.astype(np.uint16) * 257)
        cv2.imwrite(str(folder / f"grey16.{suffix}"), pixels[..., 0].astype(np.uint16) * 257)
        cv2.imwrite(str(folder / f"grey12.{suffix}"), pixels[..., 0].astype(np.uint16) * 16)
        cv2.imwrite(str(folder / f"rgb10.{suffix}"), pixels.astype(np.uint16) * 4)
    photograph.save(folder / "progressive 犬.jpg", progressive=True)
    photograph.resize((48, 48)).save(folder / "exact.png")
    # Files that noseprint refuses.
    for suffix in ("png", "tif", "gif", "webp"):
        photograph.save(folder / f"several.{suffix}", save_all=True, append_images=[photograph.rotate(180)])
    (folder / "cut.jpg").write_bytes((folder / "turned1.jpg").read_bytes()[:-300])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("<html>")
    return sorted(folder.iterdir())


def test_the_example_reads_every_kind_of_photograph_as_noseprint_does(bundle, tmp_path):
    """To the last bit; and it refuses the same files."""
    (tmp_path / "kinds").mkdir()
    photographs = write_all_kinds(tmp_path / "kinds")
    read_all = [sys.executable, "-c", WITHOUT_NOSEPRINT + READ_ALL, str(bundle / "example.py")]
    done = subprocess.run([*read_all, tmp_path / "read.npz", *photographs], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expected, refused = {}, []
    for path in photographs:
        try:
            expected[path] = PlainImages([path], transform=A.Resize(48, 48))[0].numpy()
        except NoseprintError:
            refused.append(path)
    assert (len(expected), len(refused)) == (60, 7)
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == list(map(str, refused))
    with np.load(tmp_path / "read.npz") as read:
        assert set(read) == set(map(str, expected))
        assert [path.name for path, pixels in expected.items() if not np.array_equal(read[str(path)], pixels)] == []


def test_the_example_refuses_what_opencv_may_read_differently(bundle, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.avif")
    shutil.copy(Path(__file__).parents[1] / "data" / "sideways.heic", tmp_path / "b.heic")
    for name, kind in (("a.avif", "AVIF"), ("b.heic", "HEIC")):
        done = run_example(bundle, tmp_path / name, tmp_path / name)
        assert done.returncode == 1
        assert f"is {kind}, which this program does not read: convert it to JPEG" in done.stderr


def test_the_example_refuses_a_pipe(bundle, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    done = run_example(bundle, tmp_path / "pipe.jpg", tmp_path / "pipe.jpg")
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'pipe.jpg'}: is not a regular file\n")


@pytest.mark.parametrize(
    ("photographs", "says"), [([], "python example.py A.jpg B.jpg"), (["gone.jpg"] * 2, "gone.jpg")]
)
def test_the_example_says_what_it_needs(bundle, photographs, says):
    done = run_example(bundle, *map(Path, photographs))
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    assert says in done.stderr


def test_the_bundle_describes_its_weights(bundle, weights):
    about = json.loads((bundle / "bundle.json").read_text())
    assert about["fingerprint"] == fingerprint(weights)
    assert (about["recipe"], about["image_size"], about["weights"]) == ("swin224_stage2", 48, "float32")
    model = ("model.onnx",) if bundle.name == "onnx" else ("model.bin", "model.xml")
    assert {path.name for path in bundle.iterdir()} - {"__pycache__"} == {  # running the example makes it
        *("README.md", "bundle.json", "example.py", "image_headers.py", "opencv_image.py", "read_photograph.py", *model)
    }


def test_the_two_formats_have_the_same_description(weights, tmp_path):
    export(weights, tmp_path / "openvino")
    export(weights, tmp_path / "onnx", onnx=True)
    assert (tmp_path / "onnx" / "bundle.json").read_bytes() == (tmp_path / "openvino" / "bundle.json").read_bytes()


def test_the_onnx_model_takes_any_batch_and_says_nothing_of_this_machine(weights, tmp_path, demo):
    export(weights, tmp_path / "bundle", onnx=True)
    data = (tmp_path / "bundle" / "model.onnx").read_bytes()
    assert not re.findall(rb"[\w/]+\.py\b|stack_trace|/site-packages", data)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (given,), (gives,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, 48, 48])
    assert (gives.name, gives.type, gives.shape[1:]) == ("embedding", "tensor(float)", [512])
    photographs = sorted((demo / "test" / "images").iterdir())[:5]
    images = torch.stack([PlainImages(photographs, transform=A.Resize(48, 48))[i] for i in range(5)])
    expected = load_network(weights).embed(images).detach().numpy()
    for rows in (1, 2, 5):
        got = session.run(None, {"images": images[:rows].numpy()})[0]
        np.testing.assert_allclose(got, expected[:rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_vit.r160_in1k", "swin_tiny_patch4_window7_224.ms_in22k"])
def test_other_families_of_backbones_become_onnx(backbone):
    torch.manual_seed(0)
    network = SupConNet(backbone, descriptors="SMG", dim=9, image_size=64, pretrained=False).eval()
    run = run_onnx(convert_to_onnx(network))
    assert cosine_to_torch(lambda images: torch.cat([run(image[None]) for image in images]), network) > 0.99999


@pytest.mark.parametrize("onnx", [False, True])
@pytest.mark.parametrize("fault", ["wrong", "not finite"])
def test_an_export_that_computes_something_else_is_refused(weights, tmp_path, monkeypatch, onnx, fault):
    wrong = torch.nn.functional.normalize(torch.ones(1, 512)) * (1 if fault == "wrong" else torch.nan)
    monkeypatch.setattr(export_module, "convert_to_onnx", lambda _: b"a model")
    name = "run_onnx" if onnx else "compile_model"
    monkeypatch.setattr(export_module, name, lambda *_: lambda images: wrong.expand(len(images), -1))
    with pytest.raises(NoseprintError, match=r"gives other embeddings than torch .lowest .* \(0\.99999 is required"):
        export(weights, tmp_path / "bundle", onnx=onnx)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_runtime_the_export_says_that_nothing_was_compared(weights, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        export_module.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    monkeypatch.setattr(export_module, "convert_to_onnx", lambda _: b"a model")
    lines = export(weights, tmp_path / "bundle", onnx=True)
    assert lines == ["not compared with torch: onnxruntime is not installed (pip install noseprint[onnx])"]
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == b"a model"


def test_a_model_that_the_runtime_cannot_run_is_refused(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "convert_to_onnx", lambda _: b"no model")
    with pytest.raises(NoseprintError, match=r"ONNX Runtime cannot run the exported test_efficientnet\.r160_in1k \("):
        export(weights, tmp_path / "bundle", onnx=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--onnx"], ["--torchscript"]])
def test_the_command_writes_the_same_bytes_each_time(weights, tmp_path, options):
    for name in ("one", "two"):
        command = [sys.executable, "-m", "noseprint", "export", str(weights), str(tmp_path / name), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].startswith(f"{tmp_path / name} is written. Try it: python ")
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes(), file.name


def test_int8_needs_photographs(weights, tmp_path):
    done = noseprint("export", weights, tmp_path / "out", "--int8")
    assert (done.returncode, done.stderr.startswith("error: --int8 and --data DIR go together")) == (1, True)
    assert not (tmp_path / "out").exists()


def test_int8_is_for_openvino(weights, tmp_path, demo):
    done = noseprint("export", weights, tmp_path / "out", "--onnx", "--int8", "--data", demo)
    assert (done.returncode, "--int8 quantises for OpenVINO" in done.stderr) == (1, True)


def test_a_classifier_is_exported_by_its_recipe(tmp_path):
    network = ClassifierNet(
        "test_efficientnet.r160_in1k", heads={"label": ("cat", "dog")}, image_size=32, pretrained=False
    )
    save_weights(tmp_path / "classifier.safetensors", network, extra={})
    with pytest.raises(NoseprintError, match=r"holds a classifier.*recipes/style_mobile are exported by its train\.sh"):
        export(tmp_path / "classifier.safetensors", tmp_path / "bundle")


def test_an_existing_folder_is_left_alone(weights, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NoseprintError, match="already exists"):
        export(weights, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing_behind(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "FORMAT", object())  # not JSON: it fails after the model was written
    with pytest.raises(TypeError):
        export(weights, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(weights, tmp_path, demo, monkeypatch):
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(NoseprintError, match=r"nncf is not installed: pip install noseprint\[deploy\]"):
        export(weights, tmp_path / "bundle", int8=demo)
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NoseprintError, match=r"onnx and onnxscript are not installed: pip install noseprint\[onnx\]"):
        export(weights, tmp_path / "bundle", onnx=True)


def test_int8_prints_its_cost_and_keeps_embeddings_at_length_1(weights, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "CALIBRATION_IMAGES", 8)
    cost = export(weights, tmp_path / "bundle", int8=demo)
    assert cost[0].startswith("int8 against float32 on ")
    assert any(line.startswith("int8 ") and "ROC AUC" in line for line in cost[1:])
    photographs = sorted((demo / "test" / "images").iterdir())[:1] * 2
    answer = json.loads(run_example(tmp_path / "bundle", *photographs).stdout)
    assert answer["similarity"] == pytest.approx(1, abs=1e-5)
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["weights"] == "int8"
    model = (tmp_path / "bundle" / "model.xml").read_text()
    assert "FakeQuantize" in model
