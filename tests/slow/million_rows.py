"""Measures CPU seconds and peak memory of each table reader at a million rows, each in its own process.

python tests/slow/million_rows.py [--rows N] [--images N]
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READERS = {
    "train": "from noseprint.data.tables import read_train; table = read_train(data)",
    "pairs": "from noseprint.data.tables import read_pairs; table = read_pairs(data, 'test')",
    "labels": "from noseprint.data.tables import read_labels; table = read_labels(data, 'test')",
    "similarities": "from noseprint.inference.similarity_table import read_similarities; "
    "table = read_similarities(data / 'similarity.csv')",
}


def write(path: Path, header: tuple[str, ...], rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header])
        csv.writer(file).writerows(rows)


def make_data(data: Path, *, rows: int, images: int) -> None:
    for folder, count in (("train/images", rows), ("test/images", images)):
        (data / folder).mkdir(parents=True)
        for i in range(count):
            (data / folder / f"A*n{i:07}.jpg").touch()
    labelled = ((i // 4, f"A*n{i:07}.jpg") for i in range(rows))
    write(data / "train/train_data.csv", ("dog ID", "nose print image"), labelled)
    pairs = [(f"A*n{i % images:07}.jpg", f"A*n{(i * 7 + 1) % images:07}.jpg", i % images * 7 % 2) for i in range(rows)]
    write(data / "test/test_data.csv", ("imageA", "imageB"), (pair[:2] for pair in pairs))
    known = {}
    labels = ((a, b, known.setdefault(frozenset((a, b)), int(a == b) or label)) for a, b, label in pairs)
    write(data / "test/labels.csv", ("imageA", "imageB", "label"), labels)
    similarities = ((*pair[:2], 0.123456 + i) for i, pair in enumerate(pairs))
    write(data / "similarity.csv", ("imageA", "imageB", "prediction"), similarities)


def measure(reader: str, data: Path) -> None:
    code = READERS[reader]
    scope = {"data": data}
    imports, _, read = code.partition("; ")
    exec(imports, scope)
    before, start = memory("VmRSS"), time.process_time()
    exec(read, scope)
    seconds, after, peak = time.process_time() - start, memory("VmRSS") - before, memory("VmHWM") - before
    print(f"{reader:14}{seconds:6.1f} CPU s {peak:6.0f} MiB more at the peak {after:6.0f} MiB more after", flush=True)


def memory(field: str) -> float:
    """MiB of this process. Not from getrusage: its peak includes the parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100_000, help="distinct images in the pairs")
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    if options.child:
        measure(options.child[0], Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        make_data(data, rows=options.rows, images=options.images)
        for reader in READERS:
            subprocess.run([sys.executable, __file__, "--child", reader, str(data)], check=True)


if __name__ == "__main__":
    main()
