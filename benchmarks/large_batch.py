"""What does gradient caching (--chunk-size) cost in time, and what does it save in memory?

Trains the small backbone for a few steps in fresh processes: two whole batches, and the large batch in chunks.

    python benchmarks/large_batch.py [--batch 1024] [--chunk 64]
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from noseprint.data.datasets import Sample
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A
from noseprint.devices import reuse_freed_memory
from noseprint.distributed import World
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep

STEPS = 3


def measure(batch: int, chunk: int | None) -> None:
    """Print images per second, and the MiB of peak memory that training adds."""
    reuse_freed_memory()
    torch.manual_seed(0)
    options = EmbeddingOptions(data=Path(), epochs=1, batch_size=batch, lr=5e-4, chunk_size=chunk, holdout=0)
    task = EmbeddingTask(
        SupConNet("tf_efficientnet_lite0.in1k", image_size=128, pretrained=False),
        options=options,
        labelled=ImageTable((Path(),) * 8, tuple("aabbccdd")),
        training_transform=lambda size: A.Resize(size, size),
        evaluation_transform=lambda size: A.Resize(size, size),
    )
    world = World(0, 1, torch.device("cpu"))
    plan = Plan(options, epoch_steps=10)
    training_step = TrainingStep(task, options=options, world=world, plan=plan, epoch_steps=10, results=Path())
    images = torch.randint(0, 256, (batch, 3, 128, 128), dtype=torch.uint8)
    samples = Sample(images, torch.arange(batch) // 4, torch.arange(batch))
    rest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for step in range(STEPS):
        start = time.perf_counter()
        training_step.update(step, samples)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(batch / sorted(times)[STEPS // 2], (peak - rest) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure(int(given.one[0]), int(given.one[1]) or None)
        return
    print(f"{'batch':>6}{'chunk':>7}{'images/s':>10}{'MiB':>8}")
    results = {}
    for batch, chunk in ((given.chunk, 0), (2 * given.chunk, 0), (given.batch, given.chunk)):
        command = [sys.executable, __file__, "--one", str(batch), str(chunk)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rate, memory = map(float, done.stdout.split())
        results[batch] = rate, memory
        print(f"{batch:6}{chunk or '-':>7}{rate:10.1f}{memory:8.0f}", flush=True)
    (small_rate, small), (rate, memory) = results[given.chunk], results[given.batch]
    print(f"A batch of {given.batch} in chunks of {given.chunk}: {memory / small:.2f} x the memory of a batch of "
          f"{given.chunk}, {rate / small_rate:.2f} x its images/s")  # fmt: skip


if __name__ == "__main__":
    main()
