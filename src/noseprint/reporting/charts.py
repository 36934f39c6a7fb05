"""The charts of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from noseprint.calibration.reliability import ReliabilityCurve
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.verification import Roc
from noseprint.reporting.svg import DIFFERENT, GRID, HEIGHT, INK, LINES, MUTED, SAME, Chart, canvas

Floats = npt.NDArray[np.floating]
ENSEMBLE = "ensemble"
_DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)))
_BINS = 40
_LONGEST_NAME = 24  # characters


def intervals(scores: Mapping[str, Score], *, name: str, label: str) -> Chart:
    """Scores with their intervals, a row each."""
    listed = "; ".join(f"{row} {score}" for row, score in scores.items())
    with canvas(name, alt=f"{label}: {listed}.", height=52 + 26 * len(scores)) as (axes, chart):
        for y, (row, score) in enumerate(scores.items()):
            whole = row == ENSEMBLE
            style: dict[str, Any] = {"color": INK if whole else LINES[0], "linewidth": 3 if whole else 2}
            axes.plot([score.low, score.high], [y, y], **style)
            axes.plot([score.value], [y], marker="o", markersize=7, **style)
        axes.set_yticks(range(len(scores)), [_short(row) for row in scores])
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(label)
    return chart


def similarities(similarity: Floats, same: npt.NDArray[np.bool_], *, thresholds: Mapping[str, float]) -> Chart:
    """Histograms of the similarities (P,) of same and of different pairs; each threshold is a vertical line."""
    alt = (
        f"Histograms of similarities: same pairs around {np.median(similarity[same]):.2f}, "
        f"different pairs around {np.median(similarity[~same]):.2f}."
    )
    with canvas("similarities", alt=alt) as (axes, chart):
        edges = list(np.linspace(float(similarity.min()), float(similarity.max()) + 1e-9, _BINS + 1))
        for label, values, colour in (("different", similarity[~same], DIFFERENT), ("same", similarity[same], SAME)):
            weights = np.full(len(values), 100 / max(1, len(values)))
            axes.hist(values, bins=edges, weights=weights, color=colour, alpha=0.35, label=label)
            axes.hist(values, bins=edges, weights=weights, histtype="step", color=colour)
        for number, (label, threshold) in enumerate(thresholds.items()):
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=_DASHES[number % 3], label=label)
        axes.set(xlabel="similarity (cosine)", ylabel="share of the pairs, %")
        axes.legend(loc="best")
    return chart


def roc(curves: Mapping[str, Roc], *, least_fmr: float) -> Chart:
    """ROC curves. Grey marks false match rates below `least_fmr`, for which there are too few different pairs."""
    smallest = min(float(curve.fmr[curve.fmr > 0].min()) for curve in curves.values())
    members = [name for name in curves if name != ENSEMBLE]
    alt = f"ROC curves of {', '.join(curves)}: share of same pairs accepted at each false match rate."
    with canvas("roc", alt=alt) as (axes, chart):
        for name, curve in curves.items():
            if name == ENSEMBLE:
                style: dict[str, Any] = {"color": INK, "linewidth": 2.4, "zorder": 3}
            else:
                number = members.index(name)
                style = {"color": LINES[number % 5], "linestyle": _DASHES[number // 5 % 3], "linewidth": 1.3}
            fmr = np.maximum(curve.fmr, smallest / 2)
            axes.plot(fmr, curve.tmr, drawstyle="steps-post", label=_short(name), **style)
        axes.set_xscale("log")
        axes.set(xlim=(smallest / 2, 1), ylim=(0, 1.02), xlabel="false match rate", ylabel="true match rate")
        if least_fmr > smallest / 2:
            axes.axvspan(smallest / 2, min(least_fmr, 1), color=GRID, alpha=0.6, linewidth=0, zorder=0)
        _percent(axes)
        axes.legend(loc="lower right")
    return chart


def reliability(curve: ReliabilityCurve, *, answers: str = "test pairs", share: str = "share of same pairs") -> Chart:
    """Reliability diagram: a share, with its interval, against the predicted probability.

    answers: what has a probability. share: of these, what the probability is of.
    """
    points = "; ".join(f"{p:.2f} {part:.2f}" for p, part in zip(curve.probability, curve.share, strict=True))
    alt = f"Reliability diagram: predicted probability and {share}: {points}."
    with canvas("reliability", alt=alt) as (axes, chart):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="dotted", label="perfect")
        axes.fill_between(curve.probability, curve.low, curve.high, color=LINES[0], alpha=0.18, linewidth=0)
        axes.plot(curve.probability, curve.share, color=LINES[0], marker="o", markersize=4.5, label=answers)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel=share)
        _percent(axes)
        axes.legend(loc="upper left")
    return chart


def line_styles(names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """A colour number (from 0) for each network, and whether its line is dashed: stage 1 is."""
    networks = list(dict.fromkeys(name.split("_stage")[0] for name in names))
    networks.sort(key=lambda network: network == "pseudo_produce")
    return {name: (networks.index(name.split("_stage")[0]) % 5, name.endswith("_stage1")) for name in names}


def training_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    name: str,
    label: str,
    styles: Mapping[str, tuple[int, bool]],
) -> Chart:
    """One figure of each training over its epochs: name -> (epochs, values); styles as from `line_styles`."""
    alt = f"{label} over the epochs of {', '.join(curves)}."
    with canvas(name, alt=alt, height=HEIGHT - 50) as (axes, chart):
        for training, (epochs, values) in curves.items():
            colour, dashed = styles[training]
            marker = "o" if len(epochs) < 20 else ""
            axes.plot(epochs, values, color=LINES[colour], linestyle=_DASHES[dashed], marker=marker, markersize=3)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("epoch")
        axes.set_title(label, fontsize=11, loc="left")
    return chart


def _percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def _short(name: str) -> str:
    """A name that leaves room for the chart; the tables show the whole one."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
