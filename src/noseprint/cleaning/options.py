"""Options of the scripts that clean labels, known without torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from noseprint.command_line import check_run_name, check_workers, run
from noseprint.data.class_options import TableOptions
from noseprint.errors import NoseprintError

RuleName: TypeAlias = Literal[
    "noise-channel", "top-k", "confident-learning", "self-confidence", "margin", "aum", "agreement"
]
"""The rules by which a label is suspect; `noseprint.cleaning.suspicion` says how each judges."""


@dataclass(frozen=True, kw_only=True)
class CleaningOptions(TableOptions):
    """Options of every script of a cleaning."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Use a small network, for a machine without a GPU."""
    not_members: Path | None = None
    """A folder of pictures that are no member of any class, to find more of their kind among the training images."""
    rule: RuleName = "noise-channel"
    """How a label becomes suspect. agreement: by at least two of noise-channel, top-k, confident-learning and aum."""
    folds: int = 5
    """Parts of the images. Each is judged by a classifier that was trained on the others."""
    rounds: int = 5
    """At most this many rounds of training again without the suspects, in the coarse step and in the fine one."""
    trained_rounds: int = 0
    """The rounds of networks that folds/ trained, which judge the labels. 0: linear classifiers on the features do."""
    remove: Literal["auto", "always", "never"] = "auto"
    """Whether suspects are left out of the training. auto: only if unseen labels are then predicted better."""
    most_of_class: float = 0.5
    """Rules leave out at most this share of the images of a class."""
    share: float = 0.05
    """Share of the images in the random sample of the review page, which estimates how many labels are wrong. The
    sample has at least 60 images, or all if there are fewer."""
    seed: int = 0
    """Seed of the folds and of the random sample."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode photographs. None: as many as suit the machine."""
    skip_bad: bool = False
    """Go on without the photographs that are missing or broken."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_workers(self.workers)
        if self.folds < 3:
            raise NoseprintError(f"--folds {self.folds}: must be at least 3: the guard cleans without one of them")
        if self.rounds < 1:
            raise NoseprintError(f"--rounds {self.rounds}: must be at least 1")
        for name in ("most_of_class", "share"):
            if not 0 < getattr(self, name) <= 1:
                raise NoseprintError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be above 0 and at most 1")

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this run."""
        return folder / "results" / self.run


def run_cleaning(main: Callable[[CleaningOptions], None], *, family: Path) -> None:
    """Parse the command line of a script in a folder of `family`, and call `main` with the options."""
    full = CleaningOptions(data=family / "data")
    run(main, full=full, small=replace(full, run="small", small=True))
