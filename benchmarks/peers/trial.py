"""One training of one peer: starts its program in its environment, measures its memory and reads its embeddings."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noseprint.inference.evaluation import embed_labelled_data
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.models.backbone import build_backbone
from noseprint.models.weights import load_network
from noseprint.version import __version__

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEMBERS = ("swin224_stage1", "swin384_stage1", "v2_stage1", "b7ns_stage1")

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Usage:
    """The resources that a training took. `memory_mib`: the largest sum of the processes' proportional set sizes."""

    seconds: float
    cpu_seconds: float
    images: int
    memory_mib: float
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobDescription:
    """The content of job.json: see `Job` in job.py."""

    train: list[tuple[str, str]]
    embed: list[str]
    sizes: list[int]
    setting: dict[str, Any]
    seed: int
    budget: float
    currency: str  # "cpu" or "wall"
    threads: int


def find_python(peer: str, envs: Path) -> Path:
    """The Python to run `peer` with: of its own environment, made once from its pins, or this one if it has no pins."""
    pins = HERE / f"requirements-{peer}.txt"
    if not pins.is_file():
        return Path(sys.executable)
    python, done = envs / peer / "bin" / "python", envs / peer / "pins.txt"
    if not (done.is_file() and done.read_text() == pins.read_text()):
        print(f"{peer}: installing {pins.name} into {envs / peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", envs / peer], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", pins], check=True)
        done.write_text(pins.read_text())
    return python


def train_peer(
    peer: str, description: JobDescription, *, python: Path, scratch: Path
) -> tuple[dict[int, Embeddings], Usage]:
    """Run `run_<peer>.py`; return its embeddings of `description.embed` by image size, and what the training took."""
    folder = scratch / peer
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.save(build_backbone("tf_efficientnet_lite0.in1k", image_size=224).model.state_dict(), folder / "backbone.pth")
    (folder / "job.json").write_text(json.dumps(asdict(description)))
    with _monitored_memory() as memory:
        _run([str(python), str(HERE / f"run_{peer}.py"), str(folder)], description.threads, memory=memory)
    embeddings = {}
    for size in description.sizes:
        with np.load(folder / f"{size}.npz") as file:
            if file["names"].tolist() != description.embed:
                raise RuntimeError(f"{peer} wrote embeddings of other photographs than those in its job")
            embeddings[size] = file["embeddings"]
    return embeddings, Usage(memory_mib=memory.peak, **json.loads((folder / "used.json").read_text()))


def train_noseprint(
    data: Path, *, seed: int, threads: int, scratch: Path, members: tuple[str, ...]
) -> Iterator[tuple[str, Embeddings, Usage]]:
    """Train stage 1 of `members` with --small; yield "noseprint" after the first, and the ensemble after all.

    Unlike for a peer, the time is that of the whole command, with start-up and reading.
    """
    labelled = read_labelled_data(data)
    embeddings_of: dict[str, Embeddings] = {}
    total = Usage(0, 0, 0, 0)
    for member in members:
        folder = scratch / member
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / member, folder, ignore=shutil.ignore_patterns("results"))
        options = [
            "--small",
            "--no-pseudo",
            "--holdout",
            "0",
            "--seed",
            str(seed),
            "--device",
            "cpu",
            "--data",
            str(data),
        ]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        with _monitored_memory() as memory:
            _run([sys.executable, str(folder / "train.py"), *options], threads, memory=memory)
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        results = folder / "results" / "small"
        last = json.loads((results / "metrics.jsonl").read_text().splitlines()[-1])
        rows = sum(1 for _ in (data / "train" / "train_data.csv").open()) - 1
        total = Usage(
            total.seconds + seconds,
            total.cpu_seconds + cpu,
            total.images + round(last["epoch"] * rows),
            max(total.memory_mib, memory.peak),
            {"noseprint": __version__},
        )
        network = load_network(results / "best.safetensors")
        embeddings_of[member] = embed_labelled_data(network, labelled, device=torch.device("cpu"), label=member)
        if len(embeddings_of) == 1:
            yield "noseprint", embeddings_of[member], total
    if len(embeddings_of) > 1:
        yield "noseprint, ensemble", ensemble_embeddings(embeddings_of), total


class _MemoryMonitor:
    """Watches the memory of a process and its descendants, twice a second."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.peak = 0.0
        self.ended = threading.Event()

    def watch(self) -> None:
        while not self.ended.wait(0.5):
            if self.pid is not None:
                self.peak = max(self.peak, _tree_mib(self.pid))


@contextmanager
def _monitored_memory() -> Iterator[_MemoryMonitor]:
    memory = _MemoryMonitor()
    thread = threading.Thread(target=memory.watch)
    thread.start()
    try:
        yield memory
    finally:
        memory.ended.set()
        thread.join()


def _tree_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [
            child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
        ]
    except OSError:  # it has just ended
        return 0.0
    kib = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024 + sum(_tree_mib(int(child)) for child in children)


def _run(command: list[str | Path], threads: int, *, memory: _MemoryMonitor) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "src")}
    environment |= {"HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    if Path(command[0]) != Path(sys.executable):
        del environment["PYTHONPATH"]  # another environment, which does not have noseprint
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        memory.pid = child.pid
        output, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{output[-4000:]}")
