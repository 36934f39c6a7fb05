"""How much faster are two processes under torchrun than one, and do they compute the same?

Trains the same network for the same steps, and embeds the same photographs: one process with as many threads as there
are cores (P), and P processes with one thread each. Prints images/s, their ratio, and how losses and embeddings differ.

    python benchmarks/processes.py [DATA] [--processes 2] [--rounds 2] [--epochs 1]

DATA: a data folder; without it, the demo is drawn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WORK = """
import sys, time
from pathlib import Path
import numpy as np, torch
from noseprint.data.transforms import A
from noseprint.data.tables import read_train
from noseprint.distributed import join_world
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.fit import fit
data, out, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
network = SupConNet("tf_efficientnet_lite0.in1k", image_size=128)
table, transform = read_train(data), A.Resize(128, 128)
if sys.argv[4] == "embed":
    with join_world("cpu") as world:
        for _ in range(2):  # the first warms up
            begun = time.perf_counter()
            rows = embed_images(network, table.paths, transform=transform, device=world.device, workers=0)
        if world.is_main:
            out.mkdir(parents=True)
            np.save(out / "rows.npy", rows)
            (out / "embedding").write_text(str(len(table) / (time.perf_counter() - begun)))
    sys.exit()
options = EmbeddingOptions(data=data, epochs=epochs, batch_size=32, lr=5e-4, device="cpu", workers=0)
resize = lambda size: A.Resize(size, size)
task = EmbeddingTask(
    network, options=options, labelled=table, training_transform=resize, evaluation_transform=resize
)
fit(task, results=out, options=options)
"""


def measure(data: Path, out: Path, *, processes: int, threads: int, epochs: int) -> dict[str, float]:
    """Images/s of training and of embedding, and the loss of the last epoch."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = out.with_suffix(".py")
    script.write_text(WORK)
    command = [sys.executable, *(torchrun if processes > 1 else []), str(script), str(data), str(out), str(epochs)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    for what in ("embed", "train"):  # each in processes of its own: torchrun's store serves one world
        done = subprocess.run([*command, what], env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    records = [record for record in records if record["step"]]  # the first scores the network before training
    return {
        "training": statistics.median(record["images_per_s"] for record in records),
        "embedding": float((out / "embedding").read_text()),
        "loss": records[-1]["loss"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    many = given.processes
    ways = {f"1 process, {many} threads": (1, many), f"{many} processes, 1 thread": (many, 1)}
    with tempfile.TemporaryDirectory() as scratch:
        data = given.data.resolve() if given.data else Path(scratch, "demo")
        if not given.data:
            subprocess.run([sys.executable, "-m", "noseprint", "demo-data", str(data)], check=True, capture_output=True)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for number in range(given.rounds):
            for name, (processes, threads) in ways.items():
                out = Path(scratch, f"{processes}-{number}")
                found[name].append(measure(data, out, processes=processes, threads=threads, epochs=given.epochs))
        rows = [np.load(Path(scratch, f"{processes}-0", "rows.npy")) for processes, _ in ways.values()]
    for name, rounds in found.items():
        for what in ("training", "embedding"):
            print(f"{name:24}{what:10}{statistics.median(one[what] for one in rounds):8.1f} images/s")
    one, several = (found[name] for name in ways)
    for what in ("training", "embedding"):
        ratio = statistics.median(b[what] / a[what] for a, b in zip(one, several, strict=True))
        print(f"{what:10}{ratio:5.2f} times as fast in {many} processes")
    print(f"mean loss of the last epoch: {one[0]['loss']:.6f} against {several[0]['loss']:.6f}")
    print(f"largest difference of an embedding's entry: {np.abs(rows[0] - rows[1]).max():.1e}")


if __name__ == "__main__":
    main()
