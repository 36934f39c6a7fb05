"""noseprint search."""

from dataclasses import dataclass
from pathlib import Path

import tyro

_SHOWN = 10  # queries whose answer goes to the terminal, too


@dataclass(frozen=True)
class Search:
    """Which individual is this: the most similar gallery images of each photograph, as a table."""

    query: tyro.conf.Positional[Path]
    """A photograph, or a folder of them."""
    gallery: Path
    """What `noseprint embed` wrote."""
    out: Path = Path("found.csv")
    """query,rank,image,similarity and, with --identities, identity."""
    top: int = 5
    """Images a query."""
    expand: int = 0
    """Move each query towards this many of its nearest images before the search (alpha query expansion): 1 finds more
    of an individual that has several photographs in the gallery. Similarities are then those of the moved query."""
    identities: Path | None = None
    """Table of the gallery's identities, as train_data.csv: dog ID,nose print image."""
    weights: tuple[Path, ...] = ()
    """The weights the gallery was embedded with, where they no longer lie where they lay."""
    index: bool = False
    """Look only where it is likely (recall@10 about 0.99), for 500,000 images and more; built beside the gallery."""
    device: str = "auto"

    def __call__(self) -> None:
        """Search and write."""
        from noseprint.devices import choose_device
        from noseprint.matching.which import which

        found = which(
            self.query,
            self.gallery,
            out=self.out,
            weights=self.weights,
            identities=self.identities,
            top=self.top,
            expand=self.expand,
            use_index=self.index,
            device=choose_device(self.device),
        )
        for row in [row for row in found if row[1] == 1][:_SHOWN]:
            print(f"{row[0]}: most like {', of '.join(map(str, row[2:3] + row[4:]))} ({row[3]:.3f})")
        print(f"{len(found)} rows: {self.out}")
