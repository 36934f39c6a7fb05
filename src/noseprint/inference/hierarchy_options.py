"""Options of the scripts that choose networks of a family with a tree, and answer with them; known without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.command_line import check_run_name, check_workers
from noseprint.data.class_options import TableOptions, TreeOptions
from noseprint.errors import NoseprintError

Decide = Literal["likeliest", "least-risk"]


@dataclass(frozen=True, kw_only=True)
class HierarchyRunOptions:
    """Which run a script works on, and how."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run of train.sh --small."""
    skip_bad: bool = False
    """Has no effect: unreadable photographs are always left out. train.sh passes it to every script."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this run."""
        return folder / "results" / self.run


@dataclass(frozen=True, kw_only=True)
class SelectOptions(HierarchyRunOptions, TreeOptions):
    """Options of the script that chooses networks on the hold-out."""

    members: str = ""
    """The networks to choose from, separated by commas."""
    right: float = 0.95
    """The share of the answers that must be right. Where a class is less sure, the answer is its parent."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        check_workers(self.workers)
        if not 0 < self.right < 1:
            raise NoseprintError(f"--right {self.right}: must be above 0 and below 1, such as 0.95")
        if not self.member_names or len(set(self.member_names)) < len(self.member_names):
            raise NoseprintError(f"--members {self.members!r}: name networks, each once, separated by commas")

    @property
    def member_names(self) -> tuple[str, ...]:
        """The networks."""
        return _parts(self.members)


@dataclass(frozen=True, kw_only=True)
class HierarchyPredictOptions(HierarchyRunOptions, TableOptions):
    """Options of the script that answers with the chosen networks."""

    images: Path | None = None
    """Classify the photographs in this folder instead of the test images."""
    out: Path | None = None
    """Write the answer for --images to this CSV."""
    level: str = "class"
    """The level of label and probability, such as a column of the tree."""
    decide: Decide = "likeliest"
    """likeliest: the most probable class. least-risk: the class that is expected to be nearest to the right one in the
    tree."""
    tta: bool = False
    """Also classify the mirror image of each photograph, and average the two. Takes twice the time."""
    top: int = 3
    """Classes for each image in submission.csv."""
    sample: Path | None = None
    """A CSV whose column id says which ids submission.csv must have, and in which order."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        check_workers(self.workers)
        if (self.images is None) != (self.out is None):
            raise NoseprintError("--images FOLDER and --out FILE belong together: give both or neither")
        if self.images is not None and self.sample is not None:
            raise NoseprintError("--sample is for the test images: leave it out with --images")
        if self.top < 1:
            raise NoseprintError(f"--top {self.top}: must be at least 1")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
