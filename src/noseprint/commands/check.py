"""noseprint check."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Check:
    """Read every table and every photograph of a data folder, and list everything that is wrong with them.

    The exit status is 1 for faults, which would stop a training, and 0 for remarks only: one photograph under two
    identities or in two splits, other near copies, tiny or dark photographs, names that differ in case only, files that
    no table names.
    """

    data: tyro.conf.Positional[Path] = Path("data")
    """Data folder, laid out as data/README.md says."""
    csv: Path | None = None
    """Write every finding there (kind, file, line, problem, other file); the terminal shows five of each kind."""

    def __call__(self) -> None:
        """Check and print."""
        from noseprint.data.tables import table_paths
        from noseprint.files import check_overwriting
        from noseprint.inspection.check import check
        from noseprint.inspection.findings import report_text, write_findings

        if not self.data.is_dir():
            raise NoseprintError(f"{self.data} is no folder: name the data folder to check")
        if self.csv:
            check_overwriting(self.csv, suffix=".csv", inputs=table_paths(self.data), option="--csv")
        report = check(self.data)
        if self.csv:
            write_findings(self.csv, report)
        print(report_text(report, self.data))
        if report.faults:
            raise SystemExit(1)
