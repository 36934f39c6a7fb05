"""Options of a recipe's prepare.py, known without torch."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import check_run_name
from noseprint.data.class_options import TableOptions
from noseprint.errors import NoseprintError


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(TableOptions):
    """Options of prepare.py."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the defaults for machines without a GPU."""
    image_size: int
    """Side in pixels of the student's input. Larger images are resized to a shorter side of 8/7 of it."""
    check: bool = False
    """Only say what is wrong with the data; write nothing."""
    skip_bad: bool = False
    """Go on without the photographs that are missing, broken or of two classes, and list them in skipped.csv."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        if not 16 <= self.image_size <= 4096:
            raise NoseprintError(f"--image-size {self.image_size}: must be in 16..4096 pixels")
