"""What several tests of this room need."""

from pathlib import Path

import pytest

from noseprint.data.demo import write_demo


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """A folder of synthetic prints with enough of them to learn from: read it, never write into it."""
    folder = tmp_path_factory.mktemp("many") / "demo"
    write_demo(folder, train_identities=36, pair_identities=4, seed=0)
    return folder
