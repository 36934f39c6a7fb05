"""What `check` found, as text and as CSV."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noseprint.data.tables import write_csv
from noseprint.inspection.check import DARK, TINY, Finding, Report, SplitFigures
from noseprint.inspection.orientation import MIN_ACCURACY, MIN_IMAGES, Orientation

HEADER = ("kind", "file", "line", "problem", "other file")
_SHOWN = 5  # of each kind on the terminal
_TITLES = {
    "table": "Tables that cannot be used (mend them first: as long as they are not read, identities are not known)",
    "image": "Photographs that cannot be used (where you cannot replace one, remove it and the rows that name it)",
    "two identities": "One photograph under two identities: probably a wrong label",
    "labelled different": "One photograph in a pair that labels.csv calls different: probably a wrong label",
    "two splits": "One photograph in two splits: scores would flatter",
    "contradicted": "Pairs whose label in labels.csv is not what retrieval.csv's identities say: one of them is wrong",
    "turned": "Photographs that seem not to be upright",
    "case": "Names that differ in upper and lower case only",
    "unlisted": "Files that no table names: they are not used",
    "near-copy": "Near-copies inside one identity, or without labels: of a burst, probably; a test that compares them "
    "flatters, unless it knows encounters (docs/own_photographs.md)",
    "tiny": f"Photographs below {TINY} px: little is left to tell individuals apart by. Cut them out larger",
    "dark": f"Photographs of a mean grey below {DARK} of 255: brighten or replace them",
}


def render(report: Report, data: Path) -> str:
    """The report for a terminal: figures, then at most five findings of each kind; the last line sums up."""
    parts = [_table([_COLUMNS, *(_row(split) for split in report.splits)]), _LEGEND]
    cut = False
    for kind, title in _TITLES.items():
        found = [finding for finding in (*report.faults, *report.remarks) if finding.kind == kind]
        if found:
            lines = _table([_cells(finding, data) for finding in found[:_SHOWN]])
            parts.append(f"{title}: {len(found)}\n{lines}")
        if len(found) > _SHOWN:
            cut = True
            parts[-1] += f"\n  ... and {len(found) - _SHOWN} more"
    parts.append(_orientation(report.orientation))
    if cut:
        parts.append(f"All findings as a table: noseprint check {shlex.quote(str(data))} --csv FILE")
    faults, remarks = (f"{len(x)} {word}{'' if len(x) == 1 else 's'}" for x, word in _both(report))
    verdict = "a training would stop" if report.faults else "nothing here stops a training"
    return "\n\n".join([*parts, f"{data}: {faults}, {remarks}: {verdict}."])


def write_findings(path: Path, report: Report) -> None:
    """Write every finding as a row; what cannot be printed in a name is escaped as in Python."""
    rows = [
        (f.kind, _plain(f.file), "" if f.line is None else f.line, _plain(f.problem), _plain(f.other or ""))
        for f in (*report.faults, *report.remarks)
    ]
    write_csv(path, HEADER, rows)


_COLUMNS = ("split", "images", "identities", "images each", "short side", "sharpness", "tiny", "dark")
_LEGEND = (
    "images each: of an identity, min / median / max. short side: px, min / 5 % / median / max.\n"
    "sharpness: variance of the Laplacian at 128 x 128 px, 5 % / median / 95 %.\n"
    f"tiny: short side below {TINY} px. dark: mean grey below {DARK} of 255."
)


def _row(split: SplitFigures) -> tuple[str, ...]:
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


def _cells(finding: Finding, data: Path) -> tuple[str, ...]:
    def name(path: Path) -> str:
        return _plain(path.relative_to(data) if path.is_relative_to(data) else path)

    file = name(finding.file) if finding.line is None else f"{name(finding.file)}, line {finding.line}"
    return f"  {file}", name(finding.other) if finding.other else "", _plain(finding.problem)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; those without anything in them are left out."""
    rows = list(zip(*(column for column in zip(*rows, strict=True) if any(column)), strict=True))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _orientation(found: Orientation | None) -> str:
    if found is None:
        return f"Turned photographs: not looked for, it takes {MIN_IMAGES} photographs to learn from."
    if found.accuracy < MIN_ACCURACY:
        return (
            "Turned photographs: none is named, since most would be named wrongly here: which way is up was guessed "
            f"right for only {found.accuracy:.0%} of the photographs, and it takes {MIN_ACCURACY:.0%}."
        )
    return f"Turned photographs: {len(found.turned)} surely (which way is up was guessed for each from the others)."


def _both(report: Report) -> tuple[tuple[list[Finding], str], tuple[list[Finding], str]]:
    return (report.faults, "fault"), (report.remarks, "remark")


def _plain(text: object) -> str:
    """On one line and printable anywhere, whatever a file is called."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
