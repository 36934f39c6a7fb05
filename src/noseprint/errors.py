"""The exceptions whose messages are written for the user."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class NoseprintError(Exception):
    """An error that the user can fix: the message says what is wrong, where (file, row, value) and how to fix it."""


@dataclass(frozen=True)
class Fault:
    """One fault in the data."""

    file: Path
    line: int | None
    """Line of the file, from 1. None: the file as a whole, or a photograph."""
    problem: str
    """What is wrong, with the value, and how to fix it."""

    def __str__(self) -> str:
        """Return one line of an error message."""
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.problem}"


class DataError(NoseprintError):
    """Tables or photographs cannot be used. `faults` holds every fault; the message shows the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


def breaks_line(text: str) -> bool:
    """Whether a text holds a control character, a line end, or bytes that are not UTF-8: no line of a table can.

    Any space, any letter and any invisible character is allowed, unlike in `str.isprintable`.
    """
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def printable(text: object) -> str:
    """`str(text)` on one line. Characters that break a line, as in some file names, are escaped as in Python."""
    return "".join(c.encode("unicode_escape").decode() if breaks_line(c) else c for c in str(text))
