"""noseprint demo-data."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class DemoData:
    """Draw synthetic nose prints in the challenge's layout."""

    folder: tyro.conf.Positional[Path]
    """Folder to make."""
    seed: int = 0

    def __call__(self) -> None:
        """Draw."""
        from noseprint.data.demo import write_demo

        write_demo(self.folder, seed=self.seed)
