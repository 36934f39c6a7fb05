"""The report of a check, as text and as CSV."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noseprint.data.csv_rows import write_csv
from noseprint.errors import printable
from noseprint.inspection.check import DARK_GREY, TINY_SIDE, DataReport, Finding, SplitFigures

FINDINGS_HEADER = ("kind", "file", "line", "problem", "other file")
_MAX_SHOWN = 5  # findings of each kind on the terminal
_TITLES = {
    "table": "Tables that cannot be used (fix them first: until they can be read, identities are not known)",
    "image": "Photographs that cannot be used (replace them, or remove them and the rows that name them)",
    "two identities": "One photograph under two identities: probably a wrong label",
    "labelled different": "One photograph in a pair that labels.csv calls different: probably a wrong label",
    "two splits": "One photograph in two splits: the scores would be too high",
    "contradiction": "Pairs whose label in labels.csv contradicts the identities in retrieval.csv: one is wrong",
    "single": "Identities with one photograph: they give no same pair to learn from, and only fill up batches",
    "rounded": "Individuals named by a rounded number, which several may have. Write its digits",
    "alike": "Individuals whose names a person takes for the same. If they are one, give them one name",
    "unknown": "Photographs of unknown individuals: neither trained on nor scored. If the word is a name, write it in "
    "another way",
    "encounters": "Encounters that do not say which photographs were taken together (docs/own_photographs.md)",
    "case": "File names that differ only in upper and lower case, or in the Unicode form",
    "unlisted": "Files that no table names: they are not used",
    "near copy": "Near copies of one identity, or without labels: probably bursts. A test that compares them gives "
    "scores that are too high, unless it knows encounters (docs/own_photographs.md)",
    "tiny": f"Photographs below {TINY_SIDE} px: they show too little to tell individuals apart. Use larger ones",
    "dark": f"Photographs with a mean grey below {DARK_GREY} of 255: brighten or replace them",
}
_FIGURES = ("split", "images", "identities", "images each", "short side", "sharpness", "tiny", "dark")
_LEGEND = (
    "images each: images of one identity, min / median / max. short side: px, min / 5 % / median / max.\n"
    "sharpness: variance of the Laplacian at 128 x 128 px, 5 % / median / 95 %.\n"
    f"tiny: short side below {TINY_SIDE} px. dark: mean grey below {DARK_GREY} of 255."
)


def report_text(report: DataReport, data: Path) -> str:
    """The report for a terminal: figures, then at most five findings of each kind; the last line is the summary."""
    parts = [_columns([_FIGURES, *(_figures_row(split) for split in report.splits)]), _LEGEND]
    shortened = False
    for kind, title in _TITLES.items():
        findings = [finding for finding in (*report.faults, *report.remarks) if finding.kind == kind]
        if findings:
            lines = _columns([_finding_row(finding, data) for finding in findings[:_MAX_SHOWN]])
            parts.append(f"{title}: {len(findings)}\n{lines}")
        if len(findings) > _MAX_SHOWN:
            shortened = True
            parts[-1] += f"\n  ... and {len(findings) - _MAX_SHOWN} more"
    if shortened:
        parts.append(f"All findings as a table: noseprint check {shlex.quote(str(data))} --csv FILE")
    counts = f"{_count(report.faults, 'fault')}, {_count(report.remarks, 'remark')}"
    verdict = "a training would stop" if report.faults else "nothing here stops a training"
    return "\n\n".join([*parts, f"{data}: {counts}: {verdict}."])


def write_findings(path: Path, report: DataReport) -> None:
    """Write every finding as a row of a CSV, with `printable` names."""
    rows = [
        (f.kind, printable(f.file), "" if f.line is None else f.line, printable(f.problem), printable(f.other or ""))
        for f in (*report.faults, *report.remarks)
    ]
    write_csv(path, FINDINGS_HEADER, rows)


def _figures_row(split: SplitFigures) -> tuple[str, ...]:
    return (
        split.name,
        str(split.images),
        str(len(split.per_identity)) if split.per_identity else "-",
        _quantiles(split.per_identity or (), (0, 0.5, 1)),
        _quantiles(split.short_sides, (0, 0.05, 0.5, 1)),
        _quantiles(split.sharpness, (0.05, 0.5, 0.95)),
        str(split.tiny),
        str(split.dark),
    )


def _quantiles(values: Sequence[float], shares: Sequence[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in np.quantile(values, shares)) if values else "-"


def _finding_row(finding: Finding, data: Path) -> tuple[str, ...]:
    def name(path: Path) -> str:
        return printable(path.relative_to(data) if path.is_relative_to(data) else path)

    file = name(finding.file) if finding.line is None else f"{name(finding.file)}, line {finding.line}"
    return f"  {file}", name(finding.other) if finding.other else "", printable(finding.problem)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells in columns; leave out empty columns."""
    rows = list(zip(*(column for column in zip(*rows, strict=True) if any(column)), strict=True))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _count(findings: Sequence[Finding], word: str) -> str:
    return f"{len(findings)} {word}{'' if len(findings) == 1 else 's'}"
