"""Options of the script that writes the report of a run of classes, known without torch."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import check_run_name
from noseprint.data.class_options import EnsembleOptions


@dataclass(frozen=True, kw_only=True)
class ReportOptions(EnsembleOptions):
    """Options of the script that writes the report."""

    data: Path
    """Data folder: train/CLASS/*, or a table of images and labels."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run of the small networks."""
    skip_bad: bool = False
    """Go on without the photographs that are missing."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this run."""
        return folder / "results" / self.run
