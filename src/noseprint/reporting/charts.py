"""The charts of the report, each from plain arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from noseprint.reporting.svg import DIFFERENT, GRID, HEIGHT, INK, LINES, MUTED, SAME, Chart, canvas

Floats = npt.NDArray[np.floating]
Curves = Mapping[str, tuple[Floats, Floats]]
ENSEMBLE = "ensemble"
_DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)))
_DET_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_BINS = 40
_LONGEST = 20  # characters of a name


def roc(curves: Curves, *, least_fmr: float) -> Chart:
    """Receiver operating characteristic: name -> (FMR, TMR); below `least_fmr` the pairs are too few to say."""
    with canvas("roc") as drawing:
        axes = drawing.axes
        smallest = min((float(fmr[fmr > 0].min()) for fmr, _ in curves.values() if (fmr > 0).any()), default=0.5)
        for name, (fmr, tmr) in curves.items():
            axes.plot(
                np.maximum(fmr, smallest / 2), tmr, drawstyle="steps-post", label=_short(name), **_line(name, curves)
            )
        axes.set_xscale("log")
        axes.set_xlim(smallest / 2, 1)
        axes.set_ylim(0, 1.02)
        _unsure(axes, least_fmr)
        _percent(axes, "x")
        _percent(axes, "y")
        axes.set_xlabel("false match rate")
        axes.set_ylabel("same pairs accepted")
        axes.legend(loc="lower right")
    return drawing.chart(f"ROC curves of {_listed(curves)}: share of same pairs accepted over that of different pairs.")


def det(curves: Curves, *, least_fmr: float) -> Chart:
    """Detection error tradeoff on normal-deviate axes (Martin et al. 1997): name -> (FMR, TMR)."""
    with canvas("det", height=HEIGHT + 18 * ((len(curves) + 1) // 2)) as drawing:
        axes = drawing.axes
        lowest, highest = float(_deviate(np.array([_DET_TICKS[0]]))[0]), float(_deviate(np.array([0.5]))[0])
        for name, (fmr, tmr) in curves.items():
            axes.plot(_deviate(fmr), _deviate(1 - tmr), label=_short(name), **_line(name, curves))
        axes.plot([lowest, highest], [lowest, highest], color=MUTED, linewidth=0.8, linestyle="dotted")
        _unsure(axes, float(_deviate(np.array([least_fmr]))[0]))
        ticks = _deviate(np.array(_DET_TICKS))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(ticks.tolist()))
            axis.set_major_formatter(FixedFormatter([f"{100 * tick:g}" for tick in _DET_TICKS]))
        axes.set_xlim(lowest, highest)
        axes.set_ylim(lowest, highest)
        axes.set_xlabel("false match rate, %")
        axes.set_ylabel("same pairs refused, %")
        figure = axes.get_figure(root=True)
        assert figure
        figure.legend(loc="outside lower center", ncols=2)
    return drawing.chart(f"DET curves of {_listed(curves)}: both kinds of error against each other.")


def similarities(
    similarity: Floats, same: npt.NDArray[np.bool_], *, name: str, thresholds: Mapping[str, float], title: str = ""
) -> Chart:
    """Histograms of the similarities (P,) of same and of different pairs; thresholds are upright lines."""
    with canvas(name, height=HEIGHT if not title else HEIGHT - 70) as drawing:
        axes = drawing.axes
        edges = np.linspace(float(similarity.min()), float(similarity.max()) + 1e-9, _BINS + 1)
        for kind, values, colour in (("different", similarity[~same], DIFFERENT), ("same", similarity[same], SAME)):
            share = np.full(len(values), 100 / max(1, len(values)))
            axes.hist(values, bins=list(edges), weights=share, color=colour, alpha=0.35, label=kind)
            axes.hist(values, bins=list(edges), weights=share, histtype="step", color=colour)
        for number, (word, threshold) in enumerate(thresholds.items()):
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=_DASHES[number % 3], label=word)
        axes.set_xlabel("similarity (cosine)")
        axes.set_ylabel("share of its pairs, %")
        if title:
            axes.set_title(_short(title), fontsize=11)
        axes.legend(loc="best" if thresholds or len(similarity) < 10_000 else "upper center")
    return drawing.chart(
        f"Histograms{f' of {title}' if title else ''}: same pairs around {np.median(similarity[same]):.2f}, "
        f"different pairs around {np.median(similarity[~same]):.2f}."
    )


def reliability(curves: Mapping[str, tuple[Floats, Floats, Floats, Floats]]) -> Chart:
    """Reliability diagram: name -> (mean probability, share of same pairs, its lower and upper bound) by bin."""
    with canvas("reliability") as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="dotted", label="perfect")
        for number, (name, (said, found, low, high)) in enumerate(curves.items()):
            colour = LINES[number % len(LINES)]
            axes.fill_between(said, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(said, found, color=colour, marker="os^"[number % 3], markersize=4.5, label=name)
        for axis in "xy":
            _percent(axes, axis)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability said")
        axes.set_ylabel("share that is the same")
        axes.legend(loc="upper left")
    return drawing.chart(f"Reliability diagram of {_listed(curves)}: share of same pairs over the probability said.")


def intervals(rows: Mapping[str, tuple[float, float, float]], *, name: str, label: str, zero: bool = False) -> Chart:
    """Values with their intervals (value, low, high), a row each; `zero` draws the line of no difference."""
    with canvas(name, height=52 + 26 * len(rows)) as drawing:
        axes = drawing.axes
        for place, (row, (value, low, high)) in enumerate(rows.items()):
            look: dict[str, Any] = {
                "color": INK if row == ENSEMBLE else LINES[0],
                "linewidth": 3 if row == ENSEMBLE else 2,
            }
            axes.plot([low, high], [place, place], **look)
            axes.plot([value], [place], marker="o", markersize=7, **look)
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1, linestyle="dotted")
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(label)
    told = "; ".join(f"{row} {value:.4f} [{low:.4f}, {high:.4f}]" for row, (value, low, high) in rows.items())
    return drawing.chart(f"{label}: {told}.")


def histories(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    name: str,
    label: str,
    looks: Mapping[str, tuple[int, bool]],
) -> Chart:
    """One figure of the trainings over their epochs: name -> (epochs, values); looks: name -> (colour, dashed)."""
    with canvas(name, height=HEIGHT - 50) as drawing:
        axes = drawing.axes
        for row, (epochs, values) in lines.items():
            number, dashed = looks[row]
            few = "o" if len(epochs) < 20 else ""
            axes.plot(epochs, values, color=LINES[number % 5], linestyle=_DASHES[dashed], marker=few, markersize=3)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("epoch")
        axes.set_title(label, fontsize=11, loc="left")
    return drawing.chart(f"{label} over the epochs of {_listed(lines)}.")


def spread(splits: Mapping[str, Floats], *, name: str, label: str, log: bool = False) -> Chart:
    """How one measurement is spread in each split: share of the split's photographs in each of some steps."""
    with canvas(name, height=HEIGHT - 50) as drawing:
        axes = drawing.axes
        values = np.concatenate([np.asarray(part, dtype=np.float64) for part in splits.values()])
        low, high = float(values.min()), float(values.max())
        if log:
            low = max(low, high / 1e4, 1e-3)
            edges = np.geomspace(low, max(high, low * 1.1), 25)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            whole = high - low < 25 and np.array_equal(values, np.round(values))
            edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, high + 1e-9, 25)
        for number, (split, part) in enumerate(splits.items()):
            share = np.full(len(part), 100 / max(1, len(part)))
            look: dict[str, Any] = {"color": LINES[number % 5], "linestyle": _DASHES[number % 3]}
            axes.hist(
                np.clip(part, edges[0], edges[-1]),
                bins=list(edges),
                weights=share,
                histtype="step",
                linewidth=1.6,
                label=split,
                **look,
            )
        axes.set_xlabel(label)
        axes.set_ylabel("share, %")
        if len(splits) > 1:
            axes.legend(loc="best")
    medians = ", ".join(f"{split} {np.median(part):.4g}" for split, part in splits.items())
    return drawing.chart(f"Histogram of {label}; medians: {medians}.")


def _line(name: str, among: Curves) -> dict[str, Any]:
    if name == ENSEMBLE:
        return {"color": INK, "linewidth": 2.4, "zorder": 3}
    number = [other for other in among if other != ENSEMBLE].index(name)
    return {"color": LINES[number % 5], "linestyle": _DASHES[number // 5 % 3], "linewidth": 1.3}


def _unsure(axes: Axes, least_fmr: float) -> None:
    """Shade where the different pairs are too few."""
    left, right = axes.get_xlim()
    if least_fmr > left:
        axes.axvspan(left, min(least_fmr, right), color=GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.set_xlim(left, right)


def _percent(axes: Axes, axis: str) -> None:
    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _deviate(share: Floats) -> npt.NDArray[np.float64]:
    """Normal deviate of shares, those of 0 and 1 moved to where no axis reaches."""
    inside = np.clip(np.asarray(share, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(torch.special.ndtri(torch.from_numpy(inside)).numpy(), dtype=np.float64)


def _short(name: str) -> str:
    """A name that leaves room for the chart; the tables have the whole one."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)
