"""Evaluates the samples of soak.py: how fast does memory grow?"""

import csv
import statistics
from collections import defaultdict
from pathlib import Path

from scipy.stats import theilslopes  # comes with scikit-learn

LONG = "long training"
Rows = list[dict[str, str]]


def minutes_of(samples: Path) -> dict[str, dict[int, Rows]]:
    """The long training's rows by role (the training itself, its loader workers, its hold-out workers) and minute."""
    with samples.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"].startswith(LONG)]
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        times[row["pid"]].append(float(row["seconds"]))
    whole = max(max(seconds) for seconds in times.values())
    found: dict[str, dict[int, Rows]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        role, seconds = row["role"], times[row["pid"]]
        if role != LONG:  # loader workers live as long as the training, hold-out workers only a moment
            role = "loader worker" if max(seconds) - min(seconds) > whole / 2 else "hold-out worker"
        found[role][int(float(row["seconds"]) // 60)].append(row)
    return found


def median(rows: Rows, column: str) -> float:
    return statistics.median(float(row[column]) for row in rows)


def judge_memory(samples: Path, *, warm_up: float, bound: float) -> tuple[dict[str, object], list[str]]:
    """Slopes of the long training's memory in MB an hour after `warm_up` seconds, and the problems found.

    The slope is that of Theil and Sen over the medians of each minute, with its 95 % interval: peaks do not move it.
    """
    memory, problems = {}, []
    for role, series in sorted(minutes_of(samples).items()):
        minutes = {minute: rows for minute, rows in sorted(series.items()) if minute >= warm_up / 60}
        hours = [minute / 60 for minute in minutes]
        found: dict[str, object] = {"minutes": len(hours)}
        for column in ("rss_mb", "pss_mb", "anonymous_mb"):
            values = [median(rows, column) for rows in minutes.values()]
            slope, _, low, high = theilslopes(values, hours) if len(values) > 2 else (float("nan"),) * 4
            found[column] = {
                "median": round(statistics.median(values), 1),
                "slope_per_hour": round(slope, 2),
                "interval": [round(low, 2), round(high, 2)],
            }
            # The proportional share depends on other processes. A slope that is not a number must fail as well.
            if column != "pss_mb" and not slope <= bound:
                problems.append(f"{role}: {column} grows by {slope:.1f} MB an hour, more than {bound}")
        for column in ("files", "threads"):
            values = [max(float(row[column]) for row in rows) for rows in minutes.values()]
            third = max(1, len(values) // 3)
            first, last = statistics.median(values[:third]), statistics.median(values[-third:])
            found[column] = {"first_third": first, "last_third": last}
            if last > first + 1:
                problems.append(f"{role}: {column} went from {first} to {last}")
        memory[role] = found
    return memory, problems


def peaks(samples: Path) -> dict[str, list[float]]:
    """The largest RSS in MB of each script in each round."""
    highest: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    with samples.open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["role"].startswith(LONG):
                number = int(row["round"])
                highest[row["role"]][number] = max(highest[row["role"]][number], float(row["rss_mb"]))
    return {role: [round(value, 1) for _, value in sorted(rounds.items())] for role, rounds in sorted(highest.items())}
