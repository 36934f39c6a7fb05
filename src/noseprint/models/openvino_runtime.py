"""The network on a CPU by OpenVINO: the embeddings of `SupConNet.embed`, several times faster."""

import hashlib
import importlib.util
import io
import json
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint import __version__
from noseprint.models.compiled_cache import keep, recall
from noseprint.models.network import SupConNet

LEAST_COSINE = {"bf16": 0.9998, "f32": 0.99999}
"""Below this cosine to torch's float32 embedding of a test image, a precision is not used.

Photographs vary more than the test images: the worst of 625 was four times as far from 1. So bf16 is held to 0.9998 for
theirs to be about 0.9995 on average or better.
"""


def available() -> bool:
    """Whether OpenVINO is installed (the extra `deploy`)."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """The module `openvino`, which sends nothing anywhere.

    It comes with `openvino_telemetry`, which tells Google Analytics of the import and of every conversion unless the
    user has said no. As a module that cannot be imported it is never loaded, and openvino and nncf go without; in a
    program that had loaded it before, it gets a sender that drops every message.
    """
    sender = sys.modules.get("openvino_telemetry.utils.sender")
    if sender is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # the documented way to block an import
    else:
        sender.TelemetrySender.send = lambda *_: None
    import openvino  # noqa: PLC0415 - an extra, and not before it is muted

    return openvino


@cache
def _core() -> Any:
    """OpenVINO itself, once a process.

    Each one gives its thread another stack to handle signals on, and puts the former back when it goes. Of two that go
    in the order they came the second puts back what the first has freed; the next signal then kills the process.
    """
    return import_openvino().Core()


class Runtime:
    """A compiled network: uint8 RGB images (B, 3, H, W) on the CPU -> embeddings (B, D) float32.

    An image's embedding depends neither on its place in the batch nor on the others in it, to the bit.
    """

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self.precision: str = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def __call__(self, images: Tensor) -> Tensor:
        """Embed."""
        found: np.ndarray = self._request.infer([images.numpy()], share_inputs=True)[0]
        return torch.from_numpy(found.copy())  # the request writes the next batch into the same memory


def convert(network: SupConNet) -> Any:
    """`network.embed` as an OpenVINO model: input `images`, uint8 RGB (any batch, 3, H, W); output `embedding`.

    Traced once, by torch.jit: torch.export takes three to five times as long.
    """
    openvino = import_openvino()
    shape = (3, network.image_size, network.image_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that a trace holds for these shapes only, and that torch.jit is old
        example = torch.zeros(2, *shape, dtype=torch.uint8)
        traced = torch.jit.trace(_Embed(network).eval(), example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, input=[([-1, *shape], openvino.Type.u8)])
    model.inputs[0].set_names({"images"})
    model.outputs[0].set_names({"embedding"})
    return model


def compile_for_cpu(model: Any, precision: str) -> Any:
    """Compile an OpenVINO model to compute in "f32" or "bf16"."""
    return _core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, **_settings()})


def open_runtime(network: SupConNet) -> Runtime:
    """Compile `network`, which must be in eval mode, or take up what was kept of an earlier run.

    bf16 where the CPU computes in it (avx512_bf16, amx_bf16) and two test images come out as they do from torch, else
    float32. What was kept is tried on the same images: it is never believed. As many threads as torch has.
    Raises RuntimeError, or what OpenVINO raises, where the network cannot be had this way.
    """
    core = _core()
    name = f"{_key(network, core)}.compiled"
    if data := recall(name):
        try:
            runtime = Runtime(core.import_model(io.BytesIO(data), "CPU", _settings()))
        except RuntimeError:  # of another build of OpenVINO, say
            pass
        else:
            if _agrees(runtime, network):
                return runtime
    model = convert(network)
    own = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    for precision in ("bf16", "f32") if own == "bf16" else ("f32",):
        compiled = compile_for_cpu(model, precision)
        runtime = Runtime(compiled)
        if _agrees(runtime, network):
            keep(name, compiled.export_model().getvalue())
            return runtime
    raise RuntimeError("its embeddings are not those of torch")


class _Embed(nn.Module):
    def __init__(self, network: SupConNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.embed(images)


def _settings() -> dict[str, Any]:
    # Pinned threads of two processes would sit on the same cores.
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }


def _agrees(runtime: Runtime, network: SupConNet) -> bool:
    """Whether two smooth random pictures, the same ones for ever, have the embeddings that torch gives them."""
    coarse = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, size=network.image_size, mode="bilinear").mul(255).byte()
    with torch.inference_mode():
        cosine = (runtime(images) * network.embed(images)).sum(1)
    return bool((cosine >= LEAST_COSINE[runtime.precision]).all())  # not so for NaN


def _key(network: SupConNet, core: Any) -> str:
    """Everything that the compiled network follows from, as 32 hexadecimal digits."""
    processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    versions = [__version__, str(torch.__version__), timm.__version__, import_openvino().__version__]
    build = [network.backbone_name, network.image_size, network.descriptors, network.mean, network.std]
    digest = hashlib.sha256(json.dumps([processor, versions, build]).encode())
    for key, tensor in network.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
