"""OpenVINO compared with torch, and the cache of compiled networks."""

import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from noseprint.models import openvino_runtime as runtime
from noseprint.models.network import SupConNet

CONVERT = """
import os, sys
def forbid(event, args):
    sends = event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)
    if sends or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("asked the network:", event, args, file=sys.stderr, flush=True)
        os._exit(99)  # also in the process that telemetry starts for each message
sys.addaudithook(forbid)
from noseprint.models import openvino_runtime as runtime
if sys.argv[1] == "telemetry on":
    runtime.import_openvino = lambda: __import__("openvino")
runtime.import_openvino()
import nncf, numpy
from noseprint.models.network import SupConNet
model = runtime.convert(SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=32, pretrained=False).eval())
nncf.quantize(model, nncf.Dataset([numpy.zeros((1, 3, 32, 32), "u1")]), subset_size=1)
"""


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "noseprint"


@pytest.fixture
def no_bf16(monkeypatch):
    monkeypatch.setitem(runtime.MIN_COSINE, "bf16", 1.1)


def embedded(network: SupConNet, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network.embed(images)


def test_float32_embeddings_equal_those_of_torch(tiny, images, no_bf16):
    engine = runtime.compile_network(tiny.eval())
    assert engine.precision == "f32"
    torch.testing.assert_close(engine(images), embedded(tiny, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "size", "descriptors"),
    [("test_vit.r160_in1k", 160, "S"), ("swin_tiny_patch4_window7_224.ms_in22k", 64, "SMG")],
)
def test_transformers_and_all_descriptors_equal_torch(backbone, size, descriptors, no_bf16):
    torch.manual_seed(0)
    network = SupConNet(backbone, descriptors=descriptors, dim=24, image_size=size, pretrained=False).eval()
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    torch.testing.assert_close(runtime.compile_network(network)(images), embedded(network, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 0), ("bf16", 1e-7)])
def test_an_embedding_does_not_depend_on_the_rest_of_its_batch(tiny, images, precision, tolerance):
    engine = runtime.compile_model(runtime.convert(tiny.eval()), precision)
    together = engine(images)
    assert torch.equal(engine(images.flip(0)), together.flip(0))
    for row, image in zip(together, images, strict=True):
        torch.testing.assert_close(engine(image[None])[0], row, atol=tolerance, rtol=0)


def test_a_cached_network_gives_the_same_bytes_without_a_conversion(tiny, images, monkeypatch):
    first = runtime.compile_network(tiny.eval())(images)
    monkeypatch.setattr(runtime, "convert", None)
    assert torch.equal(runtime.compile_network(tiny)(images), first)


def test_other_weights_or_statistics_are_another_network_in_the_cache(tiny, images, no_bf16):
    runtime.compile_network(tiny.eval())
    with torch.no_grad():
        next(tiny.backbone.parameters()).mul_(1.5)
    torch.testing.assert_close(runtime.compile_network(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)
    tiny.set_pixel_statistics((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    torch.testing.assert_close(runtime.compile_network(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("content", ["another network", "no network"])
def test_a_cached_network_is_checked_against_torch(tiny, images, cache_folder, content, no_bf16):
    other = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False).eval()
    runtime.compile_network(other)
    (file,) = cache_folder.iterdir()
    data = runtime.read_cache(file.name)
    runtime.compile_network(tiny.eval())
    (mine,) = set(cache_folder.iterdir()) - {file}
    runtime.write_cache(mine.name, data if content == "another network" else b"no network")
    torch.testing.assert_close(runtime.compile_network(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)


def test_a_network_that_openvino_computes_wrongly_is_refused(tiny, monkeypatch):
    other = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False).eval()
    wrong = runtime.convert(other)
    monkeypatch.setattr(runtime, "convert", lambda _: wrong)
    with pytest.raises(RuntimeError, match="differ from those of torch"):
        runtime.compile_network(tiny.eval())


def stderr_with(telemetry: str, home: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, telemetry],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_openvino_and_nncf_send_nothing(tmp_path):
    assert "asked the network" not in stderr_with("telemetry off", tmp_path)
    assert not (tmp_path / "intel").exists()  # where telemetry keeps its number for this user


def test_with_telemetry_on_they_would_send(tmp_path):
    assert "asked the network" in stderr_with("telemetry on", tmp_path)


def test_telemetry_that_the_program_imported_earlier_is_silenced(monkeypatch):
    class TelemetrySender:
        def send(self, backend, message):
            raise AssertionError

    module = ModuleType("openvino_telemetry.utils.sender")
    module.TelemetrySender = TelemetrySender
    monkeypatch.setitem(sys.modules, module.__name__, module)
    runtime.import_openvino()
    TelemetrySender().send(None, {})


SIGNALLED = """
import gc, signal
from noseprint.models.network import SupConNet
from noseprint.models.openvino_runtime import compile_model, convert
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
model = convert(SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False).eval())
first, second = compile_model(model, "f32"), compile_model(model, "f32")
del first
del second
gc.collect()
signal.raise_signal(signal.SIGUSR1)
"""


def test_a_signal_after_several_compiled_networks_does_not_kill_the_process():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"x" * 100, lambda data: data[:-1] + b"x"])
def test_a_damaged_cache_file_is_ignored_and_replaced(cache_folder, damage):
    runtime.write_cache("a", bytes(1000))
    (cache_folder / "a").write_bytes(damage((cache_folder / "a").read_bytes()))
    assert runtime.read_cache("a") is None
    runtime.write_cache("a", b"network")
    assert runtime.read_cache("a") == b"network"
    assert [path.name for path in cache_folder.iterdir()] == ["a"]


def test_the_cache_drops_what_was_unused_for_longest(cache_folder, monkeypatch):
    monkeypatch.setattr(runtime, "CACHE_LIMIT", 3 * 132)
    for age, name in enumerate("abc"):
        runtime.write_cache(name, bytes(100))
        os.utime(cache_folder / name, (age, age))
    assert runtime.read_cache("a")  # now it is the last one used
    runtime.write_cache("d", bytes(100))
    assert {path.name for path in cache_folder.iterdir()} == {"a", "c", "d"}
    runtime.write_cache("e", bytes(1000))  # larger than the limit by itself
    assert {path.name for path in cache_folder.iterdir()} == {"e"}


def test_an_unusable_cache_folder_is_not_an_error(cache_folder, monkeypatch):
    cache_folder.write_text("a file where the folder should be")
    runtime.write_cache("a", b"network")
    assert runtime.read_cache("a") is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    runtime.write_cache("a", b"network")
    assert runtime.read_cache("a") is None


def test_a_relative_xdg_cache_home_is_ignored(monkeypatch):
    """As its specification demands."""
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert runtime.cache_folder().is_absolute()
