"""How fast does a network embed on this CPU: torch by default, torch with other settings, and OpenVINO?

All of them run in turn in one process, on one batch, with random weights. Freed memory is kept, for torch too, as in
embed_images (devices.reuse_freed_memory). Prints images/s, the ratio to eager float32, the lowest cosine to its
embeddings, and how long OpenVINO takes to start without and with a cached network, including its check against torch.

    python benchmarks/inference.py [--rounds 3] [--batch 16] [--only tf_efficientnet_lite0.in1k]
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from noseprint.devices import reuse_freed_memory
from noseprint.models import openvino_runtime as runtime
from noseprint.models.network import SupConNet

NETWORKS = (
    "tf_efficientnet_lite0.in1k",
    "swin_base_patch4_window7_224.ms_in22k",
    "tf_efficientnet_b7.ns_jft_in1k",
)
Embed = Callable[[torch.Tensor], torch.Tensor]


def torch_embedder(network: SupConNet, *, channels_last: bool = False, bf16: bool = False) -> Embed:
    def embed(images: torch.Tensor) -> torch.Tensor:
        network.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        network.backbone.convolutional = channels_last  # the backbone converts its input if this is set
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network.embed(images).float()

    return embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--only", nargs="+", default=NETWORKS, help="timm names")
    options = parser.parse_args()
    reuse_freed_memory()
    core = runtime.import_openvino().Core()
    print(core.get_property("CPU", "FULL_DEVICE_NAME"), *core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    print(f"{torch.get_num_threads()} threads, batch {options.batch}, {options.rounds} rounds")
    for name in options.only:
        measure(name, batch=options.batch, rounds=options.rounds)


def measure(name: str, *, batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    network = SupConNet(name, image_size=224, pretrained=False).eval()
    images = F.interpolate(torch.rand(batch, 3, 9, 9), size=224, mode="bilinear").mul(255).byte()
    starts = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for _ in range(2):
            begin = time.perf_counter()
            chosen = runtime.compile_network(network).precision
            starts.append(time.perf_counter() - begin)
    model = runtime.convert(network)
    ways: dict[str, Embed] = {
        "torch eager fp32": torch_embedder(network),
        "torch channels_last": torch_embedder(network, channels_last=True),
        "torch bf16 autocast": torch_embedder(network, bf16=True),
        "torch bf16 + ch.last": torch_embedder(network, bf16=True, channels_last=True),
    }
    for precision in ("f32", "bf16"):
        with contextlib.suppress(RuntimeError):  # no bf16 on this CPU
            ways[f"OpenVINO {precision}"] = runtime.compile_model(model, precision)
    embeddings = {way: embed(images) for way, embed in ways.items()}  # also warms up
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, embed in ways.items():
            begin = time.perf_counter()
            embed(images)
            seconds[way].append(time.perf_counter() - begin)
    print(f"\n{name}, 224 px: OpenVINO starts in {starts[0]:.1f} s, cached in {starts[1]:.1f} s, and uses {chosen}")
    print(f"{'':22}{'images/s':>9}{'ratio':>7}  lowest cosine")
    eager = statistics.median(seconds["torch eager fp32"])
    for way, times in seconds.items():
        median = statistics.median(times)
        cosine = (embeddings[way] * embeddings["torch eager fp32"]).sum(1).min()
        print(f"{way:22}{batch / median:9.1f}{eager / median:7.2f}  {cosine:.6f}", flush=True)


if __name__ == "__main__":
    main()
