"""How fast does a CPU train with each setting of a backbone, and how many loader processes are best?

Steps: the same step with each setting in turn, best of --rounds; "now" is what noseprint does on this machine.
Workers: a whole training with stage 2's degradation, for each number of workers in turn, best of --rounds.

    python benchmarks/training.py [DATA] [--rounds 3] [--backbones NAME ...] [--workers 0 1 2]
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pytorch_metric_learning.losses import SupConLoss

from noseprint.data.demo import write_demo
from noseprint.data.tables import read_train
from noseprint.devices import autocast_dtype, reuse_freed_memory
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.fit import fit

SIZE, BATCH = 128, 64
BACKBONES = ["tf_efficientnet_lite0.in1k", "resnet18.a1_in1k", "swin_tiny_patch4_window7_224.ms_in22k"]
LOSS = SupConLoss(temperature=0.07)


def stepper(
    network: SupConNet, *, channels_last: bool, bf16: bool, fused: bool = True, frozen: int = 0
) -> Callable[[], float]:
    """A training step that returns its seconds; the first `frozen` stages of an EfficientNet are not trained."""
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    labels = torch.arange(BATCH // 4).repeat_interleave(4)

    def step() -> float:
        network.requires_grad_(True)
        if frozen:
            backbone = network.backbone.model
            for part in (backbone.conv_stem, backbone.bn1, *backbone.blocks[: frozen - 1]):
                part.requires_grad_(False)
        network.backbone.convolutional = channels_last
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.0, fused=fused)
        network.train().zero_grad()
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = LOSS(network(images), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return time.perf_counter() - start

    return step


def steps(name: str, *, rounds: int) -> None:
    """Print the table of one backbone."""
    torch.manual_seed(0)
    network = SupConNet(name, image_size=SIZE, pretrained=False)
    convolutional = network.backbone.convolutional
    bf16 = autocast_dtype(torch.device("cpu"), depthwise=network.backbone.depthwise) is torch.bfloat16
    ways = {
        "plain": stepper(network, channels_last=False, bf16=False, fused=False),
        "channels last": stepper(network, channels_last=True, bf16=False),
        "bf16": stepper(network, channels_last=False, bf16=True),
        "channels last, bf16": stepper(network, channels_last=True, bf16=True),
        "now": stepper(network, channels_last=convolutional, bf16=bf16),
    }
    if hasattr(network.backbone.model, "conv_stem"):
        ways["now, 4 stages frozen"] = stepper(network, channels_last=True, bf16=False, frozen=4)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, step in ways.items():
            taken = step()
            if number:  # the first is for warming up
                seconds[way].append(taken)
    for way, times in seconds.items():
        rate, ratio = BATCH / min(times), min(seconds["plain"]) / min(times)
        print(f"{name:40} {way:22} {rate:7.1f} images/s  {ratio:5.2f} x", flush=True)


def train_once(data: Path, workers: int) -> None:
    """Train an epoch as stage 2 does, and print the seconds from reading the tables to the weights."""
    where = Path(__file__).resolve().parents[1] / "swin224_stage2" / "dataset.py"
    spec = importlib.util.spec_from_file_location("dataset", where)
    assert spec is not None
    assert spec.loader is not None
    dataset = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dataset)
    network = SupConNet(BACKBONES[0], image_size=SIZE, pretrained=False)
    start = time.perf_counter()
    options = EmbeddingOptions(
        data=data, epochs=1, batch_size=BATCH, lr=1e-4, holdout=0.0, device="cpu", workers=workers
    )
    with tempfile.TemporaryDirectory() as scratch:
        task = EmbeddingTask(
            network,
            options=options,
            labelled=read_train(data),
            training_transform=dataset.training_transform,
            evaluation_transform=dataset.evaluation_transform,
        )
        fit(task, results=Path(scratch) / "results", options=options)
    print("seconds", time.perf_counter() - start)


def loader_processes(data: Path, numbers: list[int], *, rounds: int) -> None:
    """Print how long a training takes with each number of workers, each in its own process."""
    seconds: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number, times in seconds.items():
            command = [sys.executable, __file__, str(data), "--once", str(number)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(float(done.stdout.rpartition("seconds ")[2]))
    for number, times in seconds.items():
        ratio = min(seconds[numbers[0]]) / min(times)
        print(f"{number} workers: {min(times):6.1f} s an epoch  {ratio:5.2f} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="default: the synthetic demonstration")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbones", nargs="*", default=BACKBONES)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    reuse_freed_memory()
    if given.once is not None:
        train_once(given.data, given.once)
        return
    print(f"{torch.get_num_threads()} threads, batch {BATCH}, {SIZE} px", flush=True)
    for name in given.backbones:
        steps(name, rounds=given.rounds)
    if given.workers:
        with tempfile.TemporaryDirectory() as scratch:
            data = given.data
            if data is None:
                write_demo(data := Path(scratch) / "data")
            loader_processes(data, given.workers, rounds=given.rounds)


if __name__ == "__main__":
    main()
