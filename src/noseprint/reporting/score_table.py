"""Tables of scores as lines of text, for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill

_LINE = 120
_CELL = 25


def score_table(headings: Mapping[str, str], rows: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """One line for each row, with as many columns as fit on it; columns without a score are left out.

    headings: of the columns, by key. rows: the scores by key, None or no entry where there is none.
    """
    scored = [column for column in headings if any(row.get(column) for row in rows.values())]
    width = max(map(len, rows)) + 2
    step = max(1, (_LINE - width) // _CELL)
    for columns in (scored[i : i + step] for i in range(0, len(scored), step)):
        yield _line("", [headings[column] for column in columns], width)
        for name, row in rows.items():
            yield _line(name, [str(row.get(column) or "-") for column in columns], width)


def filled(text: str) -> str:
    """A text in lines of at most 120 characters."""
    return fill(text, _LINE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return (f"{name:{width}}" + "".join(f"{cell:{_CELL}}" for cell in cells)).rstrip()
