"""The recipe folders as a user has them: copied to a folder of their own, where results may be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import universal_family as universal

ROOT = Path(__file__).parents[2]
STAGES = [f"{name}_stage{stage}" for name in ("swin224", "swin384", "v2", "b7ns") for stage in (1, 2)]
FOLDERS = ["pseudo_produce", *STAGES]
TINY = ["--backbone", "test_efficientnet.r160_in1k", "--no-pretrained", "--image-size", "32"]
SHORT = ["--epochs", "1", "--batch-size", "16", "--device", "cpu"]


class Checkout:
    """Nine recipe folders and a data folder."""

    def __init__(self, root: Path, data: Path):
        self.root, self.data = root, data
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("results", "__pycache__"))

    def command(self, script: str, *options: str) -> list[str]:
        return [sys.executable, str(self.root / script), *options]

    def run(self, script: str, *options: str, data: bool = True, timeout: float = 120) -> subprocess.CompletedProcess:
        """Run a recipe's script to its end, from a folder that is neither the root nor its own."""
        given = ["--data", str(self.data)] if data else []
        environment = os.environ | {"OMP_NUM_THREADS": "2"}
        return subprocess.run(
            self.command(script, *given, *options),
            cwd=self.root.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def works(self, script: str, *options: str) -> str:
        done = self.run(script, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def result(self, folder: str, name: str, run: str = "") -> Path:
        return self.root / folder / "results" / run / name


@pytest.fixture
def checkout(tmp_path, demo) -> Checkout:
    return Checkout(tmp_path / "checkout", demo)


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> tuple[Path, str]:
    """recipes/universal_embedding with all results, and what its scripts printed: read it, never write into it."""
    root = universal.copy_recipe(tmp_path_factory.mktemp("universal"))
    return root, universal.run(root, *universal.CHAIN)


@pytest.fixture
def family(chain, tmp_path) -> Path:
    """A copy of it to write into."""
    shutil.copytree(chain[0], tmp_path / "family")
    return tmp_path / "family"
