"""The chart of learning rate range tests."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from noseprint.files import atomic_write
from noseprint.training.lr_range import RangeCurve

# Of Okabe and Ito: colour-blind-safe.
_BLUE, _ORANGE, _GREEN, _GREY, _BLACK = "#0072b2", "#d55e00", "#009e73", "#bbbbbb", "#000000"


def draw_ranges(path: Path, curves: Mapping[str, RangeCurve]) -> None:
    """Draw the smoothed loss over the rate, a panel for each network, with the suggestions; a PNG."""
    figure = Figure(figsize=(5.2, 0.4 + 2.6 * len(curves)), dpi=150, layout="constrained")
    panels = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        axes.plot(curve.rates, curve.losses, color=_GREY, linewidth=1, label="loss of each step")
        axes.plot(curve.rates, curve.smoothed, color=_BLUE, linewidth=2, label="smoothed")
        for (text, rate), colour in zip(curve.suggestions().items(), (_ORANGE, _GREEN, _BLACK), strict=True):
            axes.axvline(rate, color=colour, linewidth=1, linestyle="dashed", label=f"{text}: {rate:.1e}")
        low, high = curve.losses.min(), curve.losses[: max(1, len(curve.rates) // 2)].max()
        axes.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))  # without the explosion at the end
        axes.set_xscale("log")
        axes.set_title(name, loc="left", fontsize=9)
        axes.set(xlabel="learning rate", ylabel="loss")
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
