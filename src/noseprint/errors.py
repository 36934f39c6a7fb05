"""The one exception that speaks to the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class NoseprintError(Exception):
    """Something the user can mend: the message says what is wrong, where (file, row, value) and how to mend it."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the data: in which file, on which line of it where it has lines, and what."""

    file: Path
    line: int | None
    problem: str
    """What is wrong, with the value, and how to mend it."""

    def __str__(self) -> str:
        """One line of an error message."""
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.problem}"


class DataError(NoseprintError):
    """Tables or photographs that cannot be used; `faults` holds all that were found, the message the first of them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


def printable(text: object) -> str:
    """`str(text)` on one line, with what cannot be printed escaped as in Python: for file names, which may hold it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
