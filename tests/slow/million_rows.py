"""Measures CPU seconds and peak memory of each table reader at a million rows, each in its own process.

python tests/slow/million_rows.py [--rows N] [--images N]
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from noseprint.data.csv_rows import write_csv
from noseprint.data.tables import read_labels, read_pairs, read_train
from noseprint.inference.similarity_table import read_similarities

READERS = {
    "train": read_train,
    "pairs": lambda data: read_pairs(data, "test"),
    "labels": lambda data: read_labels(data, "test"),
    "similarities": lambda data: read_similarities(data / "similarity.csv"),
}


def make_data(data: Path, *, rows: int, images: int) -> None:
    for folder, count in (("train/images", rows), ("test/images", images)):
        (data / folder).mkdir(parents=True)
        for i in range(count):
            (data / folder / f"A*n{i:07}.jpg").touch()
    labelled = ((i // 4, f"A*n{i:07}.jpg") for i in range(rows))
    write_csv(data / "train/train_data.csv", ("dog ID", "nose print image"), labelled)
    pairs = [(f"A*n{i % images:07}.jpg", f"A*n{(i * 7 + 1) % images:07}.jpg", i % images * 7 % 2) for i in range(rows)]
    write_csv(data / "test/test_data.csv", ("imageA", "imageB"), (pair[:2] for pair in pairs))
    known = {}
    labels = ((a, b, known.setdefault(frozenset((a, b)), int(a == b) or label)) for a, b, label in pairs)
    write_csv(data / "test/labels.csv", ("imageA", "imageB", "label"), labels)
    similarities = ((*pair[:2], 0.123456 + i) for i, pair in enumerate(pairs))
    write_csv(data / "similarity.csv", ("imageA", "imageB", "prediction"), similarities)


def measure(reader: str, data: Path) -> None:
    before, start = memory("VmRSS"), time.process_time()
    table = READERS[reader](data)
    seconds, after, peak = time.process_time() - start, memory("VmRSS") - before, memory("VmHWM") - before
    assert table is not None
    print(f"{reader:14}{seconds:6.1f} CPU s {peak:6.0f} MiB more at the peak {after:6.0f} MiB more after", flush=True)


def memory(field: str) -> float:
    """MiB of this process. Not from getrusage: its peak includes the parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100_000, help="distinct images in the pairs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), rows=options.rows, images=options.images)
        for reader in READERS:
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(reader, Path(folder)))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
