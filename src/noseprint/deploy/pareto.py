"""Accuracy against speed: a table for the terminal, a CSV and a picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noseprint.data.csv_rows import write_csv
from noseprint.deploy.benchmark import Measurement
from noseprint.files import atomic_write

HEADER = (
    *("network", "size", "precision", "engine", "accuracy"),
    *("latency_ms_median", "latency_ms_p95", "images_per_s"),
)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: colour-blind-safe
_MARKERS = {"float32": "o", "bf16": "s", "int8": "^"}


def pareto_lines(measured: Sequence[Measurement], *, weight: float, enough: float) -> Iterator[str]:
    """The measurements as lines of text, the best score first; a star marks the Pareto front."""
    width = max(len(one.contestant.network) for one in measured) + 2
    yield f"  {'network':{width}}size  precision  {'engine':16}{'accuracy':24}{'ms (95th pct.)':18}images/s  score"
    for one in sorted(measured, key=lambda one: -one.score(weight=weight, enough=enough)):
        who = one.contestant
        yield (
            f"{'*' if one.on_front else ' '} {who.network:{width}}{who.size:<6}{who.precision:11}{who.engine:16}"
            f"{one.accuracy!s:24}{one.median_ms:<7.2f}({one.p95_ms:.2f})".ljust(width + 77)
            + f"{one.images_per_s:<10.1f}{one.score(weight=weight, enough=enough):.3f}"
        )


def write_pareto(path: Path, measured: Sequence[Measurement]) -> None:
    """Write a row for each measurement to the CSV `path`, completely or not at all."""
    write_csv(
        path,
        HEADER,
        (
            (
                *(one.contestant.network, one.contestant.size, one.contestant.precision, one.contestant.engine),
                *(f"{one.accuracy.value:.4f}", f"{one.median_ms:.3f}", f"{one.p95_ms:.3f}", f"{one.images_per_s:.1f}"),
            )
            for one in measured
        ),
    )


def draw_pareto(path: Path, measured: Sequence[Measurement]) -> None:
    """Draw accuracy, with its interval, against the latency as the PNG `path`; a line joins the Pareto front."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    engines = list(dict.fromkeys(one.contestant.engine for one in measured))
    shown = set[str]()
    for one in measured:
        who = one.contestant
        colour = _COLOURS[engines.index(who.engine) % len(_COLOURS)]
        label = f"{who.engine} {who.precision}"
        axes.errorbar(
            one.median_ms,
            one.accuracy.value,
            yerr=[[one.accuracy.value - one.accuracy.low], [one.accuracy.high - one.accuracy.value]],
            fmt=_MARKERS.get(who.precision, "d"),
            color=colour,
            elinewidth=0.6,
            alpha=0.9,
            label=None if label in shown else label,
        )
        shown.add(label)
        if one.on_front:
            axes.annotate(
                f"{who.network} {who.size}", (one.median_ms, one.accuracy.value), (4, 6), textcoords="offset points"
            )
    front = sorted((one.median_ms, one.accuracy.value) for one in measured if one.on_front)
    axes.plot(*zip(*front, strict=True), color="#888888", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one image (median)")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": None})
