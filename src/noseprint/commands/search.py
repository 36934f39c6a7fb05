"""noseprint search."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from noseprint.inference.search import Found

_SHOWN = 10  # queries whose answer goes to the terminal, too
_SAME_PICTURE = 0.9999


@dataclass(frozen=True)
class Search:
    """Which individual is this, if any: the most similar gallery images of each photograph, as a table."""

    query: tyro.conf.Positional[Path]
    """A photograph, or a folder of them."""
    gallery: Path
    """What `noseprint embed` wrote."""
    out: Path = Path("found.csv")
    """query,rank,image,similarity and, where known, identity,probability,none."""
    top: int = 5
    """Images a query."""
    expand: int = 0
    """Move each query towards this many of its nearest images before the search (alpha query expansion): 1 finds more
    of an individual that has several photographs in the gallery. Similarities are then those of the moved query."""
    identities: Path | None = None
    """Table of the gallery's identities, as train_data.csv: dog ID,nose print image; or imported.csv of noseprint
    import."""
    verifier: Path | None = None
    """What noseprint calibrate made with the networks of the gallery: for probabilities, where they are several. One
    network's weights carry their own."""
    weights: tuple[Path, ...] = ()
    """The weights the gallery was embedded with, where they no longer lie where they lay."""
    index: bool = False
    """Look only where it is likely (recall@10 about 0.99), for 500,000 images and more; built beside the gallery."""
    device: str = "auto"

    def __call__(self) -> None:
        """Search and write."""
        from noseprint.calibration.verifier import read_verifier
        from noseprint.devices import choose_device
        from noseprint.inference.search import Ensemble, which

        ensemble = None
        made = read_verifier(self.verifier) if self.verifier else None
        if made and self.verifier:
            marks = frozenset(member.fingerprint for member in made.members)
            ensemble = Ensemble(marks, made.calibration, self.verifier)
        found = which(
            self.query,
            self.gallery,
            out=self.out,
            weights=self.weights,
            identities=self.identities,
            ensemble=ensemble,
            top=self.top,
            expand=self.expand,
            use_index=self.index,
            device=choose_device(self.device),
        )
        for row in [row for row in found if row.rank == 1][:_SHOWN]:
            print(_told(row))
        if made and made.caution and not self.expand:
            print(f"caution: {made.caution}")
        print(f"{len(found)} rows: {self.out}")


def _told(best: "Found") -> str:
    of = f", of {best.identity}" if best.identity else ""
    copy = ", the same picture" if best.similarity > _SAME_PICTURE else ""
    like = f"most like {best.image}{of} ({best.similarity:.3f}{copy})"
    if best.probability is None or best.none is None:
        return f"{best.query}: {like}"
    if best.none > best.probability:
        return f"{best.query}: perhaps none of them (probability {best.none:.3f}); {like}, {best.probability:.3f}"
    return f"{best.query}: {like}, probability {best.probability:.3f}; none of them {best.none:.3f}"
