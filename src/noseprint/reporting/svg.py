"""Charts as SVG inside a page: text stays text, colours are the page's, the same input gives the same bytes."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH, HEIGHT = 360, 250  # units of the drawing: px on the narrowest phone
# matplotlib knows no CSS: these stand for the page's variables, and no chart uses them for anything else
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
SAME, DIFFERENT = "#010105", "#010106"
LINES = ("#010107", "#010108", "#010109", "#01010a", "#01010b")
_VARIABLE = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", SAME: "same", DIFFERENT: "different"} | {
    line: f"line-{number}" for number, line in enumerate(LINES, start=1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "noseprint",
    "text.parse_math": False,  # names are names, whatever stands in them
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Chart:
    """A drawing: what stands inside its <svg>, its size, and in words what it shows."""

    markup: str
    width: int
    height: int
    alt: str


class Canvas:
    """Axes to draw on, and the chart they become when the drawing is done."""

    def __init__(self, axes: Axes, *, height: int) -> None:
        self.axes, self.height = axes, height
        self.markup = ""

    def chart(self, alt: str) -> Chart:
        """The finished drawing."""
        return Chart(self.markup, WIDTH, self.height, alt)


@contextmanager
def canvas(name: str, *, height: int = HEIGHT) -> Iterator[Canvas]:
    """Yield axes; when the block ends they are drawn. `name` is unique on the page and begins its element ids."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        drawing = Canvas(figure.add_subplot(), height=height)
        yield drawing
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing.markup = _inline(text.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """The inside of a drawing: without what a page has once, with ids of its own and the page's colours and font."""
    body = svg[svg.index("</metadata>") + len("</metadata>") : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    for colour, variable in _VARIABLE.items():
        body = body.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", body).strip()
