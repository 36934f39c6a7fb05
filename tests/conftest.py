"""What several rooms' tests need."""

import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from noseprint.data.demo import write_demo
from noseprint.devices import reuse_freed_memory

os.environ.setdefault("OMP_NUM_THREADS", "2")
_cache = tempfile.TemporaryDirectory()  # compiled networks of the tests, and of the programs they start
os.environ["XDG_CACHE_HOME"] = _cache.name
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
reuse_freed_memory()  # networks of full size are built and trained for a step


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A small folder of synthetic prints: read it, never write into it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    write_demo(folder, train_identities=12, pair_identities=4, seed=0)
    return folder


@pytest.fixture(autouse=True)
def disk(monkeypatch) -> Callable[..., None]:
    """Sets how large the disk is and how much of it is free; a terabyte, and all of it, where a test says nothing."""

    def sized(*, total: int = 2**40, free: int = 2**40) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Disk", "total free")(total, free))

    sized()
    return sized
