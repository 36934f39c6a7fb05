"""noseprint demo-data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class DemoData:
    """Draw a data folder of synthetic nose prints, to try the programs without photographs of your own."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The data folder to make."""
    seed: int = 0
    """Another seed draws other individuals."""

    def __call__(self) -> None:
        """Draw and write the folder."""
        from noseprint.data.demo import write_demo

        write_demo(self.folder, seed=self.seed)
