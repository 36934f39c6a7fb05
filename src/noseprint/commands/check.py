"""noseprint check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Check:
    """Read all tables and photographs of a data folder, and list everything that is wrong with them.

    Exits with status 1 if there are faults, which would stop a training. Remarks do not: the same photograph under two
    identities or in two splits, other near copies, tiny or dark photographs, individuals that are missing or
    whose names are alike (Rex and rex, 7 and 007), encounters that make no sense, files that no table names.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = Path("data")
    """Data folder, in the layout of data/README.md."""
    csv: Path | None = None
    """Write all findings to this file (kind, file, line, problem, other file); the terminal shows five of each kind."""
    plan: bool = False
    """Only say what a training would make of the data: how much it learns from and holds out, the image size, the time,
    and whether it is likely to help. Takes about half a minute. Without this option, these lines follow the findings
    if there are no faults."""

    def __call__(self) -> None:
        """Check the folder and print the findings."""
        from noseprint.data.tables import table_paths
        from noseprint.files import check_output
        from noseprint.inspection.check import check
        from noseprint.inspection.findings import report_text, write_findings

        if not self.data.is_dir():
            raise NoseprintError(f"{self.data}: no such folder; name the data folder to check")
        if self.csv and self.plan:
            raise NoseprintError("--csv lists findings, and with --plan none are looked for: leave out one of the two")
        if self.csv:
            check_output(self.csv, suffix=".csv", inputs=table_paths(self.data), option="--csv")
        if self.plan:
            self._print_plan()
            return
        report = check(self.data)
        if self.csv:
            write_findings(self.csv, report)
        print(report_text(report, self.data))
        if report.faults:
            raise SystemExit(1)
        if (self.data / "train" / "train_data.csv").is_file():
            print("\nWhat a training would make of it:")
            self._print_plan()

    def _print_plan(self) -> None:
        from noseprint.data.tables import read_train
        from noseprint.tasks.advice import advise

        try:
            lines = advise(read_train(self.data, missing_ok=True))
        except NoseprintError as error:
            lines = [f"no training is possible yet: {error}"]
        for line in lines:
            print(f"- {line}", flush=True)
