"""What do search, hold-out metrics and pseudo-labels cost as the images grow in number?

Each figure comes from a fresh process (its peak memory is its own) on drawn embeddings that are as crowded as those of
real dogs: identities of 8 images, a common direction and variances between and within identities as measured on the
small network's embeddings of photographs (same cosine 0.87 +- 0.06, different 0.48 +- 0.11). Metrics are timed on up
to 2,000 queries and scaled to all (their cost is linear in queries), unless --full.

    python benchmarks/scale.py [--largest 1000000] [--full] [--plot docs/scale.png] [--rows scale.json]
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
from noseprint.inference.nearest import search
from noseprint.inference.pseudo_labels import produce_pseudo
from noseprint.inference.sieve import coarse_type, int8_is_fast
from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.retrieval import retrieval_metrics

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PER = 8
QUERIES = 2_000
UNITS = {"q/s": "queries/s", "recall": "recall@10", "build_s": "s to build", "s": "s", "peak_GiB": "GiB peak"}


def crowded(count: int, width: int, *, out: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    k = np.arange(1, width + 1, dtype=np.float32)
    between, within = (np.sqrt(v * k**p / (k**p).sum()) for v, p in ((0.39, -1.1), (0.136, -0.6)))
    for start in range(0, count, PER * 4096):
        part = out[start : min(start + PER * 4096, count)]
        spread = np.sqrt(rng.standard_gamma(2, (len(part), 1)).astype(np.float32) / 2)
        part[:] = np.repeat(rng.standard_normal((-(-len(part) // PER), width), np.float32) * between, PER, 0)[
            : len(part)
        ]
        part += rng.standard_normal(part.shape, np.float32) * within * spread
        part[:, -1] += np.float32(0.688)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def case(question: str, count: int, folder: Path, *, full: bool) -> dict[str, float]:
    begin = time.perf_counter
    if question in ("exact", "exact fp32", "index"):
        x = np.load(folder / "embeddings.npy", mmap_mode="c")
        queries, gallery = np.array(x[-QUERIES:]), x[:count]
        if question == "exact fp32":
            start = begin()
            keep = []
            for part in range(0, 512, 128):  # a plain product and torch.topk, block by block
                best = [
                    (torch.from_numpy(queries[part : part + 128]) @ torch.from_numpy(gallery[s : s + 2**14]).T).topk(10)
                    for s in range(0, count, 2**14)
                ]
                keep.append(torch.cat([b.values for b in best], 1).topk(10).indices)
            return {"q/s": 512 / (begin() - start)}
        coarse_type()
        int8_is_fast()
        if question == "exact":
            start = begin()
            search(queries[:512], gallery, k=10)
            return {"q/s": 512 / (begin() - start)}
        start = begin()
        index = build_index(gallery)
        built = begin() - start
        start = begin()
        found, _ = search_index(index, queries, gallery, k=10)
        rate = QUERIES / (begin() - start)
        true, _ = search(queries[:512], gallery, k=10)
        recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, true, strict=False)])
        return {"q/s": rate, "recall": float(recall), "build_s": built}
    x = crowded(count, 2048, out=np.empty((count, 2048), np.float32))
    label = np.arange(count) // PER
    if question == "metrics":
        chosen = np.arange(count) if full else np.linspace(0, count - 1, min(count, QUERIES)).astype(int)
        start = begin()
        retrieval_metrics(x, label, queries=chosen, gallery=np.arange(count))
        seconds = (begin() - start) * count / len(chosen)
        start = begin()
        balanced_pairs(label, seed=0)
        return {"s": seconds + begin() - start}
    a, b, _ = balanced_pairs(label, seed=1, max_pairs=5 * count)
    ha, hb, held = balanced_pairs(label, seed=2)
    similarity = np.einsum("pd,pd->p", x[ha], x[hb])
    names = [str(row) for row in range(count)]
    pairs = argparse.Namespace(image_a=[names[row] for row in a], image_b=[names[row] for row in b])
    start = begin()
    index_of = {name: row for row, name in enumerate(names)}
    produce_pseudo(pairs, x, index_of, holdout_similarity=similarity, holdout_same=held)
    return {"s": begin() - start}


def peak() -> int:
    """KiB of this process at most, pages of the mapped gallery among them. (getrusage tells the parent's, too.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def plot(rows: list[dict[str, float | str]], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for side, key, title in ((0, "q/s", "searches a second (512-d)"), (1, "s", "seconds (2,048-d)")):
        for question in dict.fromkeys(row["question"] for row in rows if key in row):
            mine = [row for row in rows if row["question"] == question]
            axes[side].loglog([r["images"] for r in mine], [r[key] for r in mine], "o-", label=question)
        axes[side].set(title=title, xlabel="images")
        axes[side].grid(alpha=0.3)
        axes[side].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="time the metrics of every image, minutes at 100,000")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--rows", type=Path, help="write the figures there, too")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        question, count, folder = asked.case
        told = case(question, int(count), Path(folder), full=asked.full)
        told["peak_GiB"] = peak() / 2**20
        print(json.dumps(told))
        return
    sizes = [size for size in SIZES if size <= asked.largest]
    rows: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder:
        shape = (sizes[-1] + QUERIES, 512)
        file = np.lib.format.open_memmap(Path(folder, "embeddings.npy"), "w+", dtype=np.float32, shape=shape)
        crowded(shape[0], shape[1], out=file)
        file.flush()
        for question in ("exact fp32", "exact", "index", "metrics", "pseudo"):
            for count in sizes if question not in ("metrics", "pseudo") else [s for s in sizes if s <= 100_000]:
                words = [sys.executable, __file__, "--case", question, str(count), folder]
                done = subprocess.run(words + ["--full"] * asked.full, stdout=subprocess.PIPE, text=True, check=True)
                told = json.loads(done.stdout)
                rows.append({"question": question, "images": count, **told})
                cells = "  ".join(f"{told[key]:10.4g} {unit}" for key, unit in UNITS.items() if key in told)
                print(f"{question:10} {count:9,}  {cells}", flush=True)
    rate = {row["question"]: row["q/s"] for row in rows if "q/s" in row and row["images"] == sizes[-1]}
    print(f"at {sizes[-1]:,}, against a float32 product and torch.topk:", end="")
    print(", ".join(f" {name} {rate[name] / rate['exact fp32']:.1f}x" for name in ("exact", "index")))
    if asked.rows:
        asked.rows.write_text(json.dumps(rows, indent=1) + "\n")
    if asked.plot:
        plot(rows, asked.plot)


if __name__ == "__main__":
    main()
