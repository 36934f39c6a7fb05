"""Options of a recipe's filter.py, known without torch."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import check_run_name
from noseprint.data.class_options import TableOptions, TreeOptions
from noseprint.errors import NoseprintError


@dataclass(frozen=True, kw_only=True)
class FilterOptions(TableOptions, TreeOptions):
    """Options of filter.py."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the defaults for machines without a GPU."""
    least_side: int = 32
    """Training images whose shorter side has fewer pixels are left out."""
    skip_bad: bool = False
    """Has no effect, since images that cannot be read are always left out; train.sh passes it to every step."""
    check: bool = False
    """Only report what is wrong with the data and the tree; write nothing."""
    check_tree: bool = False
    """Only report what is wrong with the table and the tree, and read no image; write nothing."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        if not 1 <= self.least_side <= 4096:
            raise NoseprintError(f"--least-side {self.least_side}: must be in 1..4096 pixels")
