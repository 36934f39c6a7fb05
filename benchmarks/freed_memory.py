"""How much faster does a CPU training step get when glibc keeps freed memory (devices.reuse_freed_memory)?

Runs the same steps in fresh processes, alternately without and with it, and prints the ratio of the medians.

    python benchmarks/freed_memory.py [--rounds 3]
"""

import argparse
import statistics
import subprocess
import sys

STEPS = """
import sys, time, torch
from noseprint.devices import reuse_freed_memory
from noseprint.models.network import SupConNet
if sys.argv[1] == "kept":
    reuse_freed_memory()
torch.manual_seed(0)
network = SupConNet("tf_efficientnet_lite0.in1k", image_size=128, pretrained=False)
optimizer = torch.optim.AdamW(network.parameters())
images = torch.randint(0, 256, (64, 3, 128, 128), dtype=torch.uint8)
times = []
for _ in range(8):
    start = time.perf_counter()
    optimizer.zero_grad()
    network(images).square().sum(0).max().backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"returned": [], "kept": []}
    for _ in range(rounds):
        for name, times in seconds.items():
            done = subprocess.run([sys.executable, "-c", STEPS, name], capture_output=True, text=True, check=True)
            times.append(float(done.stdout))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:9} {64 / median:6.1f} images/s")
    print(f"ratio     {medians['returned'] / medians['kept']:6.2f}")


if __name__ == "__main__":
    main()
