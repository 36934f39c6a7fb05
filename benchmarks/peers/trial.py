"""One training of one peer: its program is started in its environment, watched, and its embeddings read."""

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
class Used:
    """What a training took. `memory_mib`: the largest sum of the processes' proportional set sizes."""

    seconds: float
    cpu_seconds: float
    images: int
    memory_mib: float
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """A training to be done: `train` (path, identity), `embed` paths, at the sides `sizes`."""

    train: list[tuple[str, str]]
    embed: list[str]
    sizes: list[int]
    setting: dict[str, Any]
    seed: int
    budget: float
    currency: str  # "cpu" or "wall"
    threads: int


def prepare(peer: str, envs: Path) -> Path:
    """The Python that runs `peer`: its own environment, made once from its pins, or this one."""
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


def train_peer(peer: str, work: Work, *, python: Path, scratch: Path) -> tuple[dict[int, Embeddings], Used]:
    """Run `run_<peer>.py`; gives its embeddings of `work.embed` by image size."""
    folder = scratch / peer
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.save(
        build_backbone("tf_efficientnet_lite0.in1k", image_size=224).backbone.state_dict(), folder / "backbone.pth"
    )
    (folder / "job.json").write_text(json.dumps(asdict(work)))
    with _watched() as memory:
        _call([str(python), str(HERE / f"run_{peer}.py"), str(folder)], work.threads, memory=memory)
    embeddings = {}
    for size in work.sizes:
        with np.load(folder / f"{size}.npz") as found:
            if found["names"].tolist() != work.embed:
                raise RuntimeError(f"{peer} handed in other photographs than it was asked for")
            embeddings[size] = found["embeddings"]
    return embeddings, Used(memory_mib=memory.peak, **json.loads((folder / "used.json").read_text()))


def train_noseprint(
    data: Path, *, seed: int, threads: int, scratch: Path, members: tuple[str, ...]
) -> Iterator[tuple[str, Embeddings, Used]]:
    """Train stage 1 of `members` as --small has it; yields "noseprint" after the first, the ensemble after all.

    Unlike a peer's, the time is of the whole command, start-up and reading included.
    """
    labelled = read_labelled_data(data)
    found: dict[str, Embeddings] = {}
    total = Used(0, 0, 0, 0)
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
        used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        with _watched() as memory:
            _call([sys.executable, str(folder / "train.py"), *options], threads, memory=memory)
        seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        results = folder / "results" / "small"
        epochs = sum(1 for _ in (results / "metrics.jsonl").open())
        rows = sum(1 for _ in (data / "train" / "train_data.csv").open()) - 1
        total = Used(
            total.seconds + seconds,
            total.cpu_seconds + cpu,
            total.images + epochs * rows,
            max(total.memory_mib, memory.peak),
            {"noseprint": __version__},
        )
        network = load_network(results / "best.safetensors")
        found[member] = embed_labelled_data(network, labelled, device=torch.device("cpu"), label=member)
        if len(found) == 1:
            yield "noseprint", found[member], total
    if len(found) > 1:
        yield "noseprint, ensemble", ensemble_embeddings(found), total


class _Memory:
    """Watches the memory of a process and its descendants, twice a second."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.peak = 0.0
        self.over = threading.Event()

    def watch(self) -> None:
        while not self.over.wait(0.5):
            if self.pid is not None:
                self.peak = max(self.peak, _tree_mib(self.pid))


@contextmanager
def _watched() -> Iterator[_Memory]:
    memory = _Memory()
    thread = threading.Thread(target=memory.watch)
    thread.start()
    try:
        yield memory
    finally:
        memory.over.set()
        thread.join()


def _tree_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [
            child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
        ]
    except OSError:  # it ended just now
        return 0.0
    kib = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024 + sum(_tree_mib(int(child)) for child in children)


def _call(command: list[str | Path], threads: int, *, memory: _Memory) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "src")}
    environment |= {"HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    if Path(command[0]) != Path(sys.executable):
        del environment["PYTHONPATH"]  # another environment: nothing of noseprint is there
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        memory.pid = child.pid
        output, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{output[-4000:]}")
