"""The pieces a section of the page is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from noseprint.metrics.bootstrap import Score
from noseprint.reporting.svg import Chart
from noseprint.reporting.thumbnails import thumbnail

Captioned = tuple[Chart, str]


@dataclass(frozen=True)
class Grid:
    """A table: its first column names the rows; a score shows its interval, a text its second line, in small."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Score]]


@dataclass(frozen=True)
class Picture:
    """A photograph on the page; `uri` is None where it cannot be read."""

    name: str
    uri: str | None


@dataclass(frozen=True)
class Shown:
    """Two photographs side by side and what is told of them."""

    image_a: Picture
    image_b: Picture
    told: str


def shown(image_a: Path, image_b: Path, told: str) -> Shown:
    """Two photographs side by side."""
    return Shown(_picture(image_a), _picture(image_b), told)


def duration(seconds: float) -> str:
    """A time for people: 9.4 s, 3 min 20 s, 27 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@cache
def _picture(image: Path) -> Picture:
    return Picture(image.name, thumbnail(image))
