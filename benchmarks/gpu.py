"""How fast do the recipes' networks run and train on this device, compared with its peak and the original's step?

    python benchmarks/gpu.py                                    all four networks at full size, on CUDA
    python benchmarks/gpu.py --networks b7ns --profile          one network, and where its training step spends its time
    python benchmarks/gpu.py --small --device cpu --steps 3     the small networks, without a GPU

The images are random and already on the device; benchmarks/input.py measures the loader. One process runs in turn:
  forward      embeddings of a batch, as infer.py makes them
  original     the original's step re-created: fp32 without TF32, plain AdamW, one wait for the device in each step
  noseprint    one update of noseprint.training.step: bf16, fused AdamW, averaged weights, no wait
  channels     the same with weights and images channels-last in memory
  compiled     the same with --compile
The share of the peak is the rate of floating-point operations (2 x multiply-adds, counted by torch; training 3 x
forward), divided by the rate of a large matrix product on the same device in the same run, in bf16 on CUDA.
"""

import argparse
import gc
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from noseprint.data.datasets import Sample
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A
from noseprint.devices import choose_device, reuse_freed_memory
from noseprint.distributed import World
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep

ROOT = Path(__file__).resolve().parent.parent
LOSS = SupConLoss(temperature=0.07)  # the original's
SMALL_SIZE = 192  # px; a training of --small chooses its own


def recipe(name: str, *, small: bool) -> Any:
    """The options of NAME_stage1/train.py."""
    folder = ROOT / f"{name}_stage1"
    for module in ("dataset", "model"):
        sys.modules.pop(module, None)
    sys.path.insert(0, str(folder))
    try:
        options = runpy.run_path(str(folder / "train.py"))["SMALL" if small else "FULL"]
        return replace(options, holdout=0, image_size=options.image_size or SMALL_SIZE)
    finally:
        sys.path.remove(str(folder))


def seconds(act: Callable[[], object], *, steps: int, device: torch.device) -> float:
    """Time one call, after two calls to warm up."""
    for _ in range(2):
        act()
    wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        act()
    wait(device)
    return (time.perf_counter() - start) / steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_memory(device: torch.device) -> None:
    """Free what nothing uses, and count the memory in use anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def most_memory(device: torch.device) -> float:
    """The most memory that was in use since `forget_memory`, in GiB; NaN on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")


def peak(device: torch.device) -> float:
    """The rate of a large matrix product, in operations per second."""
    half, side = (torch.bfloat16, 8192) if device.type == "cuda" else (torch.float32, 2048)
    a = torch.randn(side, side, device=device, dtype=half)
    return 2 * side**3 / seconds(lambda: a @ a, steps=10, device=device)


def forward_flops(options: Any) -> float:
    """Count the operations that embed one image, without computing them."""
    with torch.device("meta"):
        network = SupConNet(options.backbone, image_size=options.image_size, pretrained=False)
        image = torch.empty(1, 3, options.image_size, options.image_size, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.embed(image)
    return float(counter.get_total_flops())


def build(options: Any) -> SupConNet:
    torch.manual_seed(0)
    return SupConNet(options.backbone, image_size=options.image_size, pretrained=False)


def forward(options: Any, images: Tensor, labels: Tensor, device: torch.device) -> Callable[[], object]:
    network = build(options).to(device).eval()
    half = device.type == "cuda"

    def act() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            network.embed(images)

    return act


def original(options: Any, images: Tensor, labels: Tensor, device: torch.device) -> Callable[[], object]:
    network = build(options).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr, foreach=False)

    def act() -> None:
        optimizer.zero_grad()
        loss = LOSS(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return act


def noseprint(
    options: Any,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    layout: torch.memory_format = torch.preserve_format,
) -> Callable[[], object]:
    task = EmbeddingTask(
        build(options).to(memory_format=layout),
        options=options,
        labelled=ImageTable((Path(),) * 8, tuple("aabbccdd")),
        training_transform=lambda size: A.Resize(size, size),
        evaluation_transform=lambda size: A.Resize(size, size),
    )
    plan = Plan(options, epoch_steps=100)
    step = TrainingStep(task, options=options, world=World(0, 1, device), plan=plan, epoch_steps=100, results=Path())
    batch = Sample(images, labels, torch.arange(len(labels)))
    return lambda: step.update(1, batch)


def channels(options: Any, images: Tensor, labels: Tensor, device: torch.device) -> Callable[[], object]:
    return noseprint(options, images.contiguous(memory_format=torch.channels_last), labels, device, torch.channels_last)


def compiled(options: Any, images: Tensor, labels: Tensor, device: torch.device) -> Callable[[], object]:
    return noseprint(replace(options, compile=True), images, labels, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["swin224", "swin384", "v2", "b7ns"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    device = choose_device(given.device)
    reuse_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as in the original
    peak_rate = peak(device)
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{device_name}: a matrix product reaches {peak_rate / 1e12:.2f} TFLOP/s")
    print(f"{'network':10}{'what':12}{'batch':>6}{'images/s':>11}{'of peak':>9}{'x original':>12}{'GiB':>7}")
    for name in given.networks:
        options = recipe(name, small=given.small)
        size, batch = options.image_size, options.batch_size
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        labels = torch.arange(batch, device=device) // options.images_per_identity
        flops = forward_flops(options)
        plain = 0.0
        for what in (forward, original, noseprint, channels, compiled):
            forget_memory(device)
            act = what(options, images, labels, device)
            rate = batch / seconds(act, steps=given.steps, device=device)
            used = most_memory(device)
            plain = rate if what is original else plain
            share = rate * flops * (1 if what is forward else 3) / peak_rate
            ratio = f"{rate / plain:11.2f}x" if what not in (forward, original) else f"{'':12}"
            print(f"{name:10}{what.__name__:12}{batch:6}{rate:11.1f}{share:8.0%} {ratio}{used:7.1f}", flush=True)
            if given.profile and what is noseprint:
                with torch.profiler.profile() as profile:
                    act()
                    wait(device)
                print(profile.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=15))
            del act


if __name__ == "__main__":
    main()
