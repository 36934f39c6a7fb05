"""Runs a network on a CPU with OpenVINO: what `Network.outputs` computes, several times as fast.

Compiled networks are cached in the user's cache folder, to save time. Failures of the cache are ignored.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.models.network import Network
from noseprint.models.traced import trace
from noseprint.version import __version__

MIN_COSINE = {"bf16": 0.9998, "f32": 0.99999}
"""A precision is not used if its embedding of a test image, or a classifier's logits or features, has a lower cosine to
torch's in float32.

Photographs vary more than the test images: the cosine of the worst of 625 was four times as far from 1. With 0.9998
for the test images in bf16, photographs reach about 0.9995 or better on average.
"""
CACHE_LIMIT = 2 * 2**30
"""Bytes that the cache folder may hold. Above this, the least recently used files are deleted, but never the newest."""


def is_installed() -> bool:
    """Whether OpenVINO is installed (the extra `deploy`)."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Import `openvino` with its telemetry off.

    It comes with `openvino_telemetry`, which reports the import and each conversion to Google Analytics unless the user
    has opted out. Here that module cannot be imported, and openvino and nncf do without it. If the program imported it
    earlier, its sender is replaced by one that drops all messages.
    """
    sender = sys.modules.get("openvino_telemetry.utils.sender")
    if sender is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # the documented way to block an import
    else:
        sender.TelemetrySender.send = lambda *_: None
    import openvino  # noqa: PLC0415 - an extra, and only after its telemetry is off

    return openvino


class CompiledNetwork:
    """Computes a network's outputs (B, D) float32 of uint8 RGB images (B, 3, H, W) on the CPU.

    The output of an image is the same whatever the rest of its batch is: to the last bit in float32; in bf16, on a CPU
    with AMX, up to a rounding of the last bit.
    """

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self.precision: str = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def __call__(self, images: Tensor) -> Tensor:
        """Compute."""
        outputs: np.ndarray = self._request.infer([images.numpy()], share_inputs=True)[0]
        return torch.from_numpy(outputs.copy())  # the next batch is written into the same memory


def convert(network: Network) -> Any:
    """`network.outputs` as an OpenVINO model: input `images`, uint8 RGB (any batch, 3, H, W); output `embedding`.

    Traced by torch.jit: torch.export takes three to five times as long.
    """
    openvino = import_openvino()
    shape = (3, network.image_size, network.image_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = openvino.convert_model(trace(network), input=[([-1, *shape], openvino.Type.u8)])
    model.inputs[0].set_names({"images"})
    model.outputs[0].set_names({"embedding"})
    return model


def compile_model(model: Any, precision: str, *, streams: bool = False) -> CompiledNetwork:
    """Compile an OpenVINO model for the CPU, to compute in "f32" or "bf16". streams: for many requests at a time."""
    options = {"INFERENCE_PRECISION_HINT": precision, **_settings()}
    if streams:
        options["PERFORMANCE_HINT"] = "THROUGHPUT"
    return CompiledNetwork(_core().compile_model(model, "CPU", options))


def compile_network(network: Network) -> CompiledNetwork:
    """Compile `network`, which must be in eval mode, or take it from the cache.

    It computes in bf16 if the CPU supports that (avx512_bf16, amx_bf16) and two test images get the same outputs as
    in torch (see MIN_COSINE), otherwise in float32. A network from the cache is tested on the same images. It uses as
    many threads as torch. Raises RuntimeError, or an error of OpenVINO, if OpenVINO cannot compute this network.
    """
    core = _core()
    name = f"{_cache_key(network, core)}.compiled"
    if data := read_cache(name):
        try:
            cached = CompiledNetwork(core.import_model(io.BytesIO(data), "CPU", _settings()))
        except RuntimeError:  # from another build of OpenVINO, say
            pass
        else:
            if _matches_torch(cached, network):
                return cached
    model = convert(network)
    default = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    for precision in ("bf16", "f32") if default == "bf16" else ("f32",):
        compiled = compile_model(model, precision)
        if _matches_torch(compiled, network):
            write_cache(name, compiled.compiled.export_model().getvalue())
            return compiled
    raise RuntimeError("its outputs differ from those of torch")


def cache_folder() -> Path:
    """The folder `noseprint` in $XDG_CACHE_HOME if that is an absolute path, otherwise in ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "noseprint"


def read_cache(name: str) -> bytes | None:
    """The data cached under `name`; None if there is none, or if it is damaged or cannot be read."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        path = cache_folder() / name
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() == data[:32]:
            with contextlib.suppress(OSError):
                os.utime(path)
            return data[32:]
    return None


def write_cache(name: str, data: bytes) -> None:
    """Cache `data` under `name`, if possible."""
    with contextlib.suppress(NoseprintError, OSError, RuntimeError):
        folder = cache_folder()
        with atomic_write(folder / name) as part:
            part.write_bytes(hashlib.sha256(data).digest() + data)
        files = [(status.st_mtime_ns, status.st_size, path) for path in folder.iterdir() if (status := path.lstat())]
        total = 0
        for rank, (_, size, path) in enumerate(sorted(files, reverse=True)):
            total += size
            if rank and total > CACHE_LIMIT:
                path.unlink()


def has_bf16() -> bool:
    """Whether this CPU computes in bf16 (avx512_bf16, amx_bf16), as far as OpenVINO knows."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def cosine_to_torch(compute: Callable[[Tensor], Tensor], network: Network) -> float:
    """The lowest cosine between what `compute` and torch give for two fixed smooth random images; NaN if one is NaN.

    Each part of the outputs, such as logits and features, has a cosine of its own.
    """
    coarse = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, size=network.image_size, mode="bilinear").mul(255).byte()
    with torch.inference_mode():
        parts = [
            torch.split(rows, list(network.output_sizes), 1) for rows in (compute(images), network.outputs(images))
        ]
        return float(torch.stack([F.cosine_similarity(a, b) for a, b in zip(*parts, strict=True)]).min())


@cache
def _core() -> Any:
    """OpenVINO's core, created once in a process.

    Each core installs a stack for signal handlers and restores the previous one when it is destroyed. If two cores are
    destroyed in the order of their creation, the second restores a stack that the first has freed. The next signal then
    kills the process.
    """
    return import_openvino().Core()


def _settings() -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # pinned threads of two processes would share the same cores
    }


def _matches_torch(compiled: CompiledNetwork, network: Network) -> bool:
    return cosine_to_torch(compiled, network) >= MIN_COSINE[compiled.precision]  # False for NaN


def _cache_key(network: Network, core: Any) -> str:
    """A hash of everything that determines the compiled network, as 32 hexadecimal digits."""
    processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    versions = [__version__, str(torch.__version__), timm.__version__, import_openvino().__version__]
    return hashlib.sha256(json.dumps([processor, versions, network.content_hash()]).encode()).hexdigest()[:32]
