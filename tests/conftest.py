"""Fixtures that the tests of several rooms share."""

import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from noseprint.calibration.make_verifier import make_verifier
from noseprint.calibration.verifier import Verifier, write_verifier
from noseprint.data.demo import write_demo
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, split_holdout
from noseprint.data.tables import read_train
from noseprint.devices import reuse_freed_memory
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights

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
    """Sets how large the disk is and how much of it is free; by default a terabyte, all of it free."""

    def sized(*, total: int = 2**40, free: int = 2**40) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Disk", "total free")(total, free))

    sized()
    return sized


@dataclass(frozen=True)
class VerifierCampaign:
    """A checkout with the weights of two tiny networks and their verifier, and the data from which it was made."""

    root: Path
    data: Path
    weights: dict[str, Path]
    path: Path
    verifier: Verifier


@pytest.fixture(scope="session")
def write_weights() -> Callable[..., Path]:
    """Writes the weights of a tiny network that held out 20 % of the identities of `data`."""

    def write(path: Path, *, seed: int = 0, data: Path | None = None, **extra: str) -> Path:
        held_out = split_holdout(read_train(data).identities, share=0.2, seed=HOLDOUT_SEED) if data else "none of these"
        torch.manual_seed(seed)
        network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
        header = {"training": '{"holdout": 0.2}', "held_out": holdout_hash(held_out)} | extra
        save_weights(path, network, extra=header)
        return path

    return write


@pytest.fixture
def sixty(tmp_path) -> Path:
    """A data folder whose table has 60 identities; the photographs are missing. Version 0.1 held out 8, not 12."""
    folder = tmp_path / "sixty"
    (folder / "train" / "images").mkdir(parents=True)
    rows = "".join(f"dog {row // 2},{row}.jpg\n" for row in range(120))
    (folder / "train" / "train_data.csv").write_text("dog ID,nose print image\n" + rows)
    return folder


@pytest.fixture(scope="session")
def campaign(tmp_path_factory, write_weights) -> VerifierCampaign:
    """A campaign with a verifier: read it, never write into it. Of 15 identities 5 are held out, the fewest allowed."""
    root = tmp_path_factory.mktemp("campaign")
    write_demo(root / "data", train_identities=15, pair_identities=4, seed=0)
    weights = {
        name: write_weights(root / name / "results" / "small" / "best.safetensors", seed=seed, data=root / "data")
        for seed, name in enumerate(("one", "two"))
    }
    verifier = make_verifier(weights, root / "data", device=torch.device("cpu"), engine="torch")
    path = root / "results" / "small" / "verifier.json"
    write_verifier(path, verifier)
    return VerifierCampaign(root, root / "data", weights, path, verifier)
