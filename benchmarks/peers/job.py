"""What the peers' programs share: reading their job, keeping to the budget, and writing the embeddings.

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
    """Raised to leave a trainer that has no other way to stop early."""


class Job:
    """One training, and the photographs to embed afterwards. `folder` holds job.json and backbone.pth, and the results.

    train: (path, identity) of each training photograph. embed: paths of the photographs to embed. sizes: sides in
    pixels to embed them at. setting: loss, lr, size, share (of the budget).
    """

    def __init__(self, folder: Path) -> None:
        description = json.loads((folder / "job.json").read_text())
        self.folder, self.backbone_file = folder, folder / "backbone.pth"
        self.train: list[tuple[str, str]] = [(path, identity) for path, identity in description["train"]]
        self.embed: list[str] = description["embed"]
        self.sizes: list[int] = description["sizes"]
        self.setting: dict[str, Any] = description["setting"]
        self.seed: int = description["seed"]
        self.images_seen = 0  # in training
        self._clock: Callable[[], float] = cpu_seconds if description["currency"] == "cpu" else time.monotonic
        self._budget = description["budget"] * self.setting["share"]
        self._start = (0.0, 0.0, 0.0)
        self._used = {"seconds": 0.0, "cpu_seconds": 0.0}
        torch.set_num_threads(description["threads"])
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

    def start_clock(self) -> None:
        """Call this when everything is set up and training begins."""
        self._start = self._clock(), time.monotonic(), cpu_seconds()

    def share_spent(self) -> float:
        """The share of the budget that is spent; training must stop at 1."""
        return (self._clock() - self._start[0]) / self._budget if self._budget else 1.0

    def stop_clock(self) -> None:
        """Call this when training has ended."""
        self._used = {"seconds": time.monotonic() - self._start[1], "cpu_seconds": cpu_seconds() - self._start[2]}

    def write_embeddings(self, size: int, embeddings: "np.ndarray[Any, Any]") -> None:
        """Write the embeddings (N, D) of `embed` at `size` pixels, scaled to length 1."""
        matrix = np.asarray(embeddings, dtype=np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        np.savez(self.folder / f"{size}.npz", names=np.array(self.embed), embeddings=matrix)

    def write_usage(self, *packages: str) -> None:
        """Write the time and the number of images that training took, and the versions of the packages."""
        versions = {name: version(name) for name in ("torch", "timm", *packages)}
        used = {**self._used, "images": self.images_seen, "versions": versions}
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
    """CPU seconds of this process and of all its descendants, running or ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_running_seconds, _children(os.getpid())))


def _running_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_running_seconds, _children(pid)))


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
