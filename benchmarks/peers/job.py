"""What the peers' programs share: the job they are given, the budget, and the embeddings they hand back.

Runs in each peer's own environment: torch, timm, Pillow, numpy and the standard library, nothing of noseprint.
"""

import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

MEAN = STD = (0.5, 0.5, 0.5)  # what the backbone's ImageNet weights expect
BATCH = 64


class BudgetSpentError(Exception):
    """Leaves a trainer that cannot be asked to stop."""


class Job:
    """One training and what it embeds; the folder holds job.json and backbone.pth, and takes the results.

    train: (path, identity) of each photograph; embed: paths; setting: loss, lr, size, share (of the budget).
    """

    def __init__(self, folder: Path) -> None:
        given = json.loads((folder / "job.json").read_text())
        self.folder, self.backbone_file = folder, folder / "backbone.pth"
        self.train: list[tuple[str, str]] = [(path, identity) for path, identity in given["train"]]
        self.embed: list[str] = given["embed"]
        self.sizes: list[int] = given["sizes"]
        self.setting: dict[str, Any] = given["setting"]
        self.seed: int = given["seed"]
        self.images = 0  # seen in training
        self._clock: Callable[[], float] = cpu_seconds if given["currency"] == "cpu" else time.monotonic
        self._budget = given["budget"] * self.setting["share"]
        self._start = (0.0, 0.0, 0.0)
        self._used = {"seconds": 0.0, "cpu_seconds": 0.0}
        torch.set_num_threads(given["threads"])
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002 (what the peers draw from)
        torch.manual_seed(self.seed)

    @property
    def labels(self) -> list[int]:
        """The identities as numbers from 0, in order of first appearance."""
        number = {identity: i for i, identity in enumerate(dict.fromkeys(identity for _, identity in self.train))}
        return [number[identity] for _, identity in self.train]

    def backbone(self) -> torch.nn.Module:
        """The small backbone with its ImageNet weights: pixels -> 1,280 pooled features, by timm's public interface."""
        return timm.create_model("tf_efficientnet_lite0", num_classes=0, checkpoint_path=str(self.backbone_file))

    def start(self) -> None:
        """Call it when all is set up and training begins."""
        self._start = self._clock(), time.monotonic(), cpu_seconds()

    def spent(self) -> float:
        """The share of the budget that is used up; from 1 on, stop."""
        return (self._clock() - self._start[0]) / self._budget if self._budget else 1.0

    def stop(self) -> None:
        """Call it when training has ended."""
        self._used = {"seconds": time.monotonic() - self._start[1], "cpu_seconds": cpu_seconds() - self._start[2]}

    def hand_in(self, size: int, embeddings: "np.ndarray[Any, Any]") -> None:
        """Write the embeddings (N, D) of `embed` at `size` pixels, scaled to length 1."""
        matrix = np.asarray(embeddings, dtype=np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        np.savez(self.folder / f"{size}.npz", names=np.array(self.embed), embeddings=matrix)

    def finish(self, *packages: str) -> None:
        """Write what was used, and with which versions."""
        versions = {name: version(name) for name in ("torch", "timm", *packages)}
        used = {**self._used, "images": self.images, "versions": versions}
        (self.folder / "used.json").write_text(json.dumps(used))


class Photographs(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Photographs for torchvision transforms, with their labels."""

    def __init__(self, paths: list[str], labels: list[int], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[row]) as image:
            return self.transform(image.convert("RGB")), self.labels[row]


def cpu_seconds() -> float:
    """CPU seconds of this process and of all that it started, living or ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_living, _children(os.getpid())))


def _living(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended just now
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_living, _children(pid)))


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
        ]
    except OSError:
        return []


def main(run: Callable[[Job], None]) -> None:
    """Run a peer's program: `python run_PEER.py FOLDER`."""
    run(Job(Path(sys.argv[1])))
