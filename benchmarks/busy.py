"""How much speed do training and embedding lose beside a busy process, for each way that threads may wait?

Threads of torch (OpenMP) spin while they wait for each other, so a busy process costs them far more than its share. The
script runs the same steps in fresh processes, alone and beside one process that uses a whole core, with each setting in
turn. It prints images/s (the median over the rounds) of a training step of lite0 and of embedding with OpenVINO, and
the peak memory.

    python benchmarks/busy.py [--rounds 3] [--size 128] [--batch 64]
"""

import argparse
import os
import statistics
import subprocess
import sys

SETTINGS: dict[str, dict[str, str]] = {
    "torch's default (spins)": {"GOMP_SPINCOUNT": "300000"},
    "10000": {"GOMP_SPINCOUNT": "10000"},
    "1000": {"GOMP_SPINCOUNT": "1000"},
    "0": {"GOMP_SPINCOUNT": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
STEPS = """
import resource, statistics, sys, time, torch
from noseprint.devices import reuse_freed_memory
from noseprint.models.frozen_norm import fold_frozen_norms
from noseprint.models.network import SupConNet
from noseprint.models.openvino_runtime import compile_model, convert
size, batch = int(sys.argv[1]), int(sys.argv[2])
reuse_freed_memory()
torch.manual_seed(0)
network = SupConNet("tf_efficientnet_lite0.in1k", image_size=size, pretrained=False)
embed = compile_model(convert(network.eval()), "f32")
network.train()
fold_frozen_norms(network)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
def train():
    optimizer.zero_grad()
    network(images).square().sum(0).max().backward()
    optimizer.step()
for work, times in ((train, 8), (lambda: embed(images), 8)):
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(batch / statistics.median(seconds[2:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def measure(environment: dict[str, str], arguments: list[str]) -> list[float]:
    """Images/s of training and of embedding, and the peak memory in GiB."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))} | environment,
    )
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="128")
    parser.add_argument("--batch", default="64")
    given = parser.parse_args()
    found: dict[tuple[str, bool], list[list[float]]] = {}
    for _ in range(given.rounds):
        for busy in (False, True):
            neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
            try:
                for name, environment in SETTINGS.items():
                    found.setdefault((name, busy), []).append(measure(environment, [given.size, given.batch]))
            finally:
                if neighbour:
                    neighbour.kill()
    print("| GOMP_SPINCOUNT | training: alone | busy | embedding: alone | busy | peak GiB |\n|---|---|---|---|---|---|")
    for name in SETTINGS:
        alone, beside = (
            [statistics.median(column) for column in zip(*found[name, busy], strict=True)] for busy in (False, True)
        )
        print(f"| {name} | {alone[0]:.0f} | {beside[0]:.0f} | {alone[1]:.0f} | {beside[1]:.0f} | {alone[2]:.2f} |")


if __name__ == "__main__":
    main()
