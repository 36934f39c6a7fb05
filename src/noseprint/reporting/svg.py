"""Charts as SVG inside a page: text stays text, colours come from the page, the same input gives the same bytes."""

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
# matplotlib cannot use CSS variables: each of these colours stands for one, and _inline replaces it
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
SAME, DIFFERENT = "#010105", "#010106"
LINES = ("#010107", "#010108", "#010109", "#01010a", "#01010b")
_VARIABLE = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", SAME: "same", DIFFERENT: "different"} | {
    line: f"line-{number}" for number, line in enumerate(LINES, start=1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "noseprint",
    "text.parse_math": False,  # a name may contain dollar signs
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


@dataclass
class Chart:
    """A drawing: its size, a description for readers who cannot see it, and the content of its <svg> element."""

    width: int
    height: int
    alt: str
    markup: str = ""


@contextmanager
def canvas(name: str, *, alt: str, height: int = HEIGHT) -> Iterator[tuple[Axes, Chart]]:
    """Yield axes to draw on, and the chart that holds the drawing when the block has ended.

    name: the prefix of the element ids in the drawing; it must be unique on the page.
    """
    chart = Chart(WIDTH, height, alt)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure.add_subplot(), chart
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    chart.markup = _inline(text.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """The content of the <svg> element: no styles or metadata, unique ids, and the colours and font of the page."""
    body = svg[svg.index("</metadata>") + len("</metadata>") : svg.rindex("</svg>")]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    for colour, variable in _VARIABLE.items():
        body = body.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", body).strip()
