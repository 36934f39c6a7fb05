"""OpenVINO against its oracle, torch."""

import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from noseprint.models import compiled_cache as kept
from noseprint.models import openvino_runtime as runtime
from noseprint.models.network import SupConNet

CONVERT = """
import os, sys
def forbid(event, args):
    speaks = event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)
    if speaks or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("asked the network:", event, args, file=sys.stderr, flush=True)
        os._exit(99)  # of the process that telemetry starts for each message, too
sys.addaudithook(forbid)
from noseprint.models import openvino_runtime as runtime
if sys.argv[1] == "aloud":
    runtime.import_openvino = lambda: __import__("openvino")
runtime.import_openvino()
import nncf, numpy
from noseprint.models.network import SupConNet
model = runtime.convert(SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=32, pretrained=False).eval())
nncf.quantize(model, nncf.Dataset([numpy.zeros((1, 3, 32, 32), "u1")]), subset_size=1)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "noseprint"


@pytest.fixture
def no_bf16(monkeypatch):
    monkeypatch.setitem(runtime.LEAST_COSINE, "bf16", 1.1)


def embedded(network: SupConNet, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network.embed(images)


def test_float32_is_what_torch_computes(tiny, images, no_bf16):
    engine = runtime.open_runtime(tiny.eval())
    assert engine.precision == "f32"
    torch.testing.assert_close(engine(images), embedded(tiny, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("backbone", "size", "descriptors"),
    [("test_vit.r160_in1k", 160, "S"), ("swin_tiny_patch4_window7_224.ms_in22k", 64, "SMG")],
)
def test_transformers_and_all_descriptors(backbone, size, descriptors, no_bf16):
    torch.manual_seed(0)
    network = SupConNet(backbone, descriptors=descriptors, dim=24, image_size=size, pretrained=False).eval()
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    torch.testing.assert_close(runtime.open_runtime(network)(images), embedded(network, images), atol=1e-5, rtol=0)


def test_an_embedding_does_not_depend_on_its_neighbours(tiny, images):
    engine = runtime.open_runtime(tiny.eval())
    together = engine(images)
    assert torch.equal(engine(images.flip(0)), together.flip(0))
    for row, image in zip(together, images, strict=True):
        assert torch.equal(engine(image[None])[0], row)


def test_what_was_kept_gives_the_same_bytes_without_a_conversion(tiny, images, monkeypatch):
    first = runtime.open_runtime(tiny.eval())(images)
    monkeypatch.setattr(runtime, "convert", None)
    assert torch.equal(runtime.open_runtime(tiny)(images), first)


def test_other_weights_are_another_network(tiny, images, no_bf16):
    runtime.open_runtime(tiny.eval())
    with torch.no_grad():
        next(tiny.backbone.parameters()).mul_(1.5)
    torch.testing.assert_close(runtime.open_runtime(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)
    tiny.set_pixel_statistics((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    torch.testing.assert_close(runtime.open_runtime(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("content", ["of another network", "of no network"])
def test_what_was_kept_is_never_believed(tiny, images, cache, content, no_bf16):
    other = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False).eval()
    runtime.open_runtime(other)
    (file,) = cache.iterdir()
    data = kept.recall(file.name)
    runtime.open_runtime(tiny.eval())
    (mine,) = set(cache.iterdir()) - {file}
    kept.keep(mine.name, data if content == "of another network" else b"no network")
    torch.testing.assert_close(runtime.open_runtime(tiny)(images), embedded(tiny, images), atol=1e-5, rtol=0)


def test_a_network_that_openvino_gets_wrong_is_refused(tiny, monkeypatch):
    other = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False).eval()
    wrong = runtime.convert(other)
    monkeypatch.setattr(runtime, "convert", lambda _: wrong)
    with pytest.raises(RuntimeError, match="not those of torch"):
        runtime.open_runtime(tiny.eval())


def told_by(manner: str, home: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, manner],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_openvino_and_nncf_tell_nobody(tmp_path):
    assert "asked the network" not in told_by("muted", tmp_path)
    assert not (tmp_path / "intel").exists()  # telemetry's number for this user


def test_they_would_if_they_were_let(tmp_path):
    assert "asked the network" in told_by("aloud", tmp_path)


def test_telemetry_that_a_program_had_loaded_before_is_muted(monkeypatch):
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
from noseprint.models.openvino_runtime import compile_for_cpu, convert
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
model = convert(SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False).eval())
first, second = compile_for_cpu(model, "f32"), compile_for_cpu(model, "f32")
del first
del second
gc.collect()
signal.raise_signal(signal.SIGUSR1)
"""


def test_a_signal_after_several_networks_does_not_kill_the_process():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
