"""Draw soak.png from the files of soak.py.

python tests/slow/soak_plot.py DIR
"""

import csv
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from soak_verdict import LONG, median, minutes_of


def main() -> None:
    out = Path(sys.argv[1])
    summary = json.loads((out / "summary.json").read_text())
    memory = summary["long_training"]["memory"]
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(8, 6))
    for role, minutes in sorted(minutes_of(out / "samples.csv").items()):
        hours = [minute / 60 for minute in sorted(minutes)]
        slope, (low, high) = memory[role]["rss_mb"]["slope_per_hour"], memory[role]["rss_mb"]["interval"]
        label = f"{role}: {slope:+.1f} MB/h [{low:.1f}, {high:.1f}]"
        above.plot(hours, [median(minutes[minute], "rss_mb") for minute in sorted(minutes)], label=label)
    above.axvspan(0, summary["warm_up_minutes"] / 60, color="0.92", label="warm-up, does not count")
    above.set(ylabel="resident memory (MB)", ylim=(0, None))
    above.set_title(f"One training of {summary['long_training']['epochs']} epochs", fontsize=10)
    above.legend(fontsize=8)
    totals: list[list[float]] = []  # for each sample: hours, and the sum over its rows
    with (out / "samples.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["role"].startswith(LONG):
                hour = float(row["seconds"]) / 3600
                if not totals or hour > totals[-1][0] + 2 / 3600:
                    totals.append([hour, 0.0])
                totals[-1][1] += float(row["pss_mb"])
    below.plot(*zip(*totals, strict=True), linewidth=0.6)
    for each in summary["rounds"]:
        below.axvline(each["ended"] / 3600, color="0.6", linewidth=0.8)
    below.set(xlabel="hours", ylabel="memory of all processes (MB)", ylim=(0, None))
    below.set_title(f"{len(summary['rounds'])} rounds of train.sh --demo (grey: a round ends)", fontsize=10)
    figure.tight_layout()
    figure.savefig(out / "soak.png", dpi=110)


if __name__ == "__main__":
    main()
