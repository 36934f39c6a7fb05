"""What do search, retrieval metrics and pseudo-labels cost as the number of images grows?

Each figure comes from a process of its own, so its peak memory is its own. The embeddings are random but as crowded as
those of real dogs: identities of 8 images, a common direction, and the variances between and within identities that
were measured on the small network's embeddings of photographs (cosine of same pairs 0.87 +- 0.06, of different pairs
0.48 +- 0.11). Metrics are timed on up to 2,000 queries and scaled to all, since their cost is linear in the queries;
--full times all.

    python benchmarks/scale.py [--largest 1000000] [--only exact index] [--full] [--plot docs/scale.png]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from noseprint.inference.index import build_index, search_index
from noseprint.inference.nearest import nearest_images
from noseprint.inference.pseudo_labels import produce_pseudo_labels
from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.holdout_scores import HoldoutPairs
from noseprint.metrics.retrieval import retrieval_metrics

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SEARCHES = ("product", "exact", "index")
PRODUCE = ("metrics", "pseudo")
IMAGES_PER_IDENTITY = 8
QUERIES, EXACT_QUERIES = 2_000, 512
UNITS = {
    "q/s": "queries/s",
    "cpu_ms": "CPU ms/query",
    "recall": "recall@10",
    "build_s": "s to build",
    "s": "s",
    "peak_GiB": "GiB peak",
}


def crowded(count: int, width: int, *, out: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    k = np.arange(1, width + 1, dtype=np.float32)
    between, within = (np.sqrt(v * k**p / (k**p).sum()) for v, p in ((0.39, -1.1), (0.136, -0.6)))
    step = IMAGES_PER_IDENTITY * 4096
    for start in range(0, count, step):
        part = out[start : min(start + step, count)]
        spread = np.sqrt(rng.standard_gamma(2, (len(part), 1)).astype(np.float32) / 2)
        identities = rng.standard_normal((-(-len(part) // IMAGES_PER_IDENTITY), width), np.float32) * between
        part[:] = np.repeat(identities, IMAGES_PER_IDENTITY, 0)[: len(part)]
        part += rng.standard_normal(part.shape, np.float32) * within * spread
        part[:, -1] += np.float32(0.688)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def measure(question: str, count: int, folder: Path, *, full: bool) -> dict[str, float]:
    if question in SEARCHES:
        return measure_search(question, count, np.load(folder / "embeddings.npy", mmap_mode="c"))
    x = crowded(count, 2048, out=np.empty((count, 2048), np.float32))
    label = np.arange(count) // IMAGES_PER_IDENTITY
    if question == "metrics":
        chosen = np.arange(count) if full else np.linspace(0, count - 1, min(count, QUERIES)).astype(int)
        start = time.perf_counter()
        retrieval_metrics(x, label, queries=chosen, gallery=np.arange(count))
        seconds = (time.perf_counter() - start) * count / len(chosen)
        start = time.perf_counter()
        balanced_pairs(label, seed=0)
        return {"s": seconds + time.perf_counter() - start}
    a, b, _ = balanced_pairs(label, seed=1, max_pairs=5 * count)
    held_a, held_b, held_same = balanced_pairs(label, seed=2)
    similarity = np.einsum("pd,pd->p", x[held_a], x[held_b])
    names = [str(row) for row in range(count)]
    pairs = argparse.Namespace(image_a=[names[row] for row in a], image_b=[names[row] for row in b])
    start = time.perf_counter()
    index = {name: row for row, name in enumerate(names)}
    holdout = HoldoutPairs(similarity, held_same, label[held_a], label[held_b])
    produce_pseudo_labels(pairs, x, index, holdout=holdout)
    return {"s": time.perf_counter() - start}


def measure_search(question: str, count: int, x: np.ndarray) -> dict[str, float]:
    queries, gallery = np.array(x[-QUERIES:]), x[:count]
    few = queries[:EXACT_QUERIES]
    if question == "exact":
        start = Clock()
        nearest_images(few, gallery, k=10)
        return start.per_query(len(few))
    if question == "product":  # a plain product and torch.topk, block by block
        start = Clock()
        for part in torch.from_numpy(few).split(128):
            best = [(part @ torch.from_numpy(gallery[row : row + 2**14]).T).topk(10) for row in range(0, count, 2**14)]
            torch.cat([block.values for block in best], 1).topk(10)
        return start.per_query(len(few))
    begin = time.perf_counter()
    index = build_index(gallery)
    built = time.perf_counter() - begin
    start = Clock()
    found, _ = search_index(index, queries, gallery, k=10)
    figures = start.per_query(len(queries))
    true, _ = nearest_images(few, gallery, k=10)
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, true, strict=False)])
    return {**figures, "recall": float(recall), "build_s": built}


class Clock:
    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def per_query(self, queries: int) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"q/s": queries / wall, "cpu_ms": 1000 * cpu / queries}


def peak_kib() -> int:
    """Peak memory of this process, including pages of the mapped gallery. (getrusage would add the parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def plot(rows: list[dict[str, float | str]], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for side, key, title in ((0, "q/s", "searches a second (512-d)"), (1, "s", "seconds (2,048-d)")):
        for question in dict.fromkeys(row["question"] for row in rows if key in row):
            points = [row for row in rows if row["question"] == question]
            axes[side].loglog([p["images"] for p in points], [p[key] for p in points], "o-", label=question)
        axes[side].set(title=title, xlabel="images")
        axes[side].grid(alpha=0.3)
        axes[side].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--smallest", type=int, default=1_000)
    parser.add_argument("--only", nargs="+", choices=SEARCHES + PRODUCE, default=SEARCHES + PRODUCE)
    parser.add_argument("--full", action="store_true", help="time the metrics of every image, minutes at 100,000")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--rows", type=Path, help="read earlier figures from this JSON file and add the new ones to it")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        question, count, folder = options.case
        figures = measure(question, int(count), Path(folder), full=options.full)
        print(json.dumps({**figures, "peak_GiB": peak_kib() / 2**20}))
        return
    sizes = [size for size in SIZES if options.smallest <= size <= options.largest]
    rows: list[dict[str, float | str]] = []
    if options.rows and options.rows.is_file():
        rows = json.loads(options.rows.read_text())
    with tempfile.TemporaryDirectory() as folder:
        if set(options.only) & set(SEARCHES):
            shape = (sizes[-1] + QUERIES, 512)
            file = np.lib.format.open_memmap(Path(folder, "embeddings.npy"), "w+", dtype=np.float32, shape=shape)
            crowded(*shape, out=file)
            file.flush()
        for question in options.only:
            for count in sizes if question in SEARCHES else [size for size in sizes if size <= 100_000]:
                command = [sys.executable, __file__, "--case", question, str(count), folder]
                done = subprocess.run(
                    command + ["--full"] * options.full, stdout=subprocess.PIPE, text=True, check=True
                )
                figures = json.loads(done.stdout)
                rows = [row for row in rows if (row["question"], row["images"]) != (question, count)]
                rows.append({"question": question, "images": count, **figures})
                cells = "  ".join(f"{figures[key]:10.4g} {unit}" for key, unit in UNITS.items() if key in figures)
                print(f"{question:10} {count:9,}  {cells}", flush=True)
    rows.sort(key=lambda row: row["images"])
    if options.rows:
        options.rows.write_text(json.dumps(rows, indent=1) + "\n")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
