"""Options of the scripts that export a classifier and answer with it, known without torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.command_line import check_run_name
from noseprint.errors import NoseprintError
from noseprint.training.fit_options import check_side


@dataclass(frozen=True, kw_only=True)
class ClassifierExportOptions:
    """Options of the script that exports a classifier."""

    data: Path
    """Data folder, as in training."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Export the network of train.sh --small."""
    sizes: str = "auto"
    """Sides in pixels, separated by commas, at which models are made for measure.sh. auto: as trained, and about 5/6
    and 2/3 of that, if the network takes any size."""
    size: int | None = None
    """Side in pixels of the network in the bundle. None: as trained."""
    precision: Literal["auto", "float32", "bf16", "int8"] = "auto"
    """Precision of the bundle. auto: the fastest that loses at most --most-loss."""
    most_loss: float = 0.005
    """The accuracy of bf16 and int8 on the held-out images may be this much lower; otherwise they are not taken."""
    right: float = 0.95
    """Share of the answers that must be right. Where this is not likely enough, the answer is "cannot tell"."""
    seed: int = 0
    """Draws the training images that int8 is calibrated on."""
    skip_bad: bool = False
    """Leave out images that cannot be read."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_side("size", self.size)
        if self.sizes != "auto" and not re.fullmatch(r"\d{2,4}(,\d{2,4})*", self.sizes):
            raise NoseprintError(f"--sizes {self.sizes}: give sides in pixels, separated by commas, such as 128,160")
        if not 0 <= self.most_loss <= 1:
            raise NoseprintError(f"--most-loss {self.most_loss}: must be in 0..1; 0.005 is half a percentage point")
        if not 0 < self.right < 1:
            raise NoseprintError(f"--right {self.right}: must be between 0 and 1; 0.95 means 95 % of the answers")

    def measured_sizes(self, trained: int, *, fixed: bool) -> list[int]:
        """The sides for measure.sh, of a network that was trained for `trained` pixels. fixed: it takes only that."""
        if self.sizes != "auto":
            return sorted({int(side) for side in self.sizes.split(",")})
        shares = (1.0,) if fixed else (1.0, 5 / 6, 2 / 3)
        return sorted({trained if share == 1 else max(16, round(share * trained / 16) * 16) for share in shares})


@dataclass(frozen=True, kw_only=True)
class ClassifierAnswerOptions:
    """Options of the script that answers with an exported classifier."""

    data: Path
    """Data folder, as in training."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the network of train.sh --small."""
    images: Path | None = None
    """Classify the photographs in this folder instead of the test images."""
    out: Path | None = None
    """Write the answer for --images to this CSV."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        if (self.images is None) != (self.out is None):
            raise NoseprintError("--images FOLDER and --out FILE belong together: give both or neither")
