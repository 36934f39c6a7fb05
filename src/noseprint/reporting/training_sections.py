"""The sections that need no labels: trainings, pseudo-labels, photographs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noseprint.inspection.check import SplitFigures
from noseprint.reporting import charts
from noseprint.reporting.layout import Captioned, Grid, duration, shown
from noseprint.reporting.run_folders import PseudoLabels, Training, held_out_share

MEASURED = 2_000
"""Photographs of a split that are measured at most."""
_ACCEPTED, _REFUSED = 6, 4  # pairs shown
_CURVES = {
    "loss": (
        "Loss",
        "Compare a curve only with itself. A stage 2 may rise: it begins where stage 1 ended, with photographs made "
        "worse and with pseudo-identities. Whether it learns, the hold-out says.",
    ),
    "lr": ("Learning rate", "How large the steps were: up during the warm-up, then down to almost nothing."),
    "auc": (
        "Hold-out ROC AUC",
        "On individuals never trained on: chooses the weights that are kept. Falling at the end means overfitting.",
    ),
    "map": ("Hold-out mAP", "The same as a search: each photograph of the hold-out among all its others."),
}


def training(trainings: Mapping[str, Training]) -> dict[str, Any] | None:
    """Table, curves and their legend; None where nothing was trained."""
    if not trainings:
        return None
    looks = _looks(list(trainings))
    pictures: list[Captioned] = []
    for name, (label, caption) in _CURVES.items():
        lines = {who: found for who, one in trainings.items() if (found := one.values(name))[0]}
        if lines:
            chart = charts.histories(lines, name=f"training-{name}", label=label, looks=looks)
            pictures.append((chart, caption))
    return {
        "table": Grid(
            ("", "hold-out AUC", "hold-out mAP", "time", "epochs", "photographs/s", "network"),
            [_row(name, one) for name, one in trainings.items()] + _total(trainings),
        ),
        "untimed": any(one.seconds is None for one in trainings.values()),
        "held_out": _held_out(trainings),
        "charts": pictures,
        "legend": [(name, looks[name][0] + 1, looks[name][1]) for name in trainings] if pictures else [],
    }


def pseudo(labels: PseudoLabels | None) -> dict[str, Any] | None:
    """What was believed and what was refused, in numbers and a few photographs; None where there is nothing."""
    if labels is None:
        return None
    told, estimate = labels.summary, labels.summary.get("estimated_precision")
    refused, within = len(labels.refused), len(labels.accepted)
    left = told["accepted"] - refused
    words = [
        f"Of {told['distinct_pairs']:,} unlabelled pairs {told['accepted']:,} were alike enough to be believed"
        + (f" (similarity from {told['threshold']:.3f})" if told.get("threshold") is not None else "")
        + f"; {refused:,} of them {'was' if refused == 1 else 'were'} refused as contradicting others. The "
        f"{left:,} left made {told['identities']:,} identities of {told['images']:,} photographs"
        + (f", which hold {within - left:,} more of the pairs, joined by way of others." if within > left else ".")
    ]
    if estimate:
        words.append(
            f"By the hold-out {100 * estimate['precision']:.1f} % [{100 * estimate['low']:.1f}, "
            f"{100 * estimate['high']:.1f}] of such pairs are right."
        )
    if labels.right:
        right, of = labels.right
        words.append(
            f"Labels that no training saw say: of the {of:,} pairs within an identity {right:,} are "
            f"({100 * right / of:.1f} %)."
        )
    last = len(labels.accepted) - 1
    rows = np.unique(np.linspace(0, last, _ACCEPTED).round().astype(int)) if last >= 0 else ()
    chosen = [labels.accepted[row] for row in rows]
    return {
        "told": " ".join(words),
        "accepted": [shown(a, b, "") for a, b in chosen],
        "refused": [shown(a, b, f"similarity {s:.3f}: {why}") for a, b, s, why in labels.refused[:_REFUSED]],
    }


def photographs(splits: Sequence[SplitFigures]) -> dict[str, Any] | None:
    """What the splits hold; None where there is nothing to measure."""
    splits = [split for split in splits if split.short_sides]
    if not splits:
        return None
    rows = [
        (
            split.name,
            f"{split.images:,}",
            f"{len(split.per_identity):,}" if split.per_identity else "–",
            _range(split.per_identity or (), (0, 0.5, 1)),
            _range(split.short_sides, (0.05, 0.5, 0.95)),
            _range(split.sharpness, (0.05, 0.5, 0.95)),
        )
        for split in splits
    ]
    per_identity = {split.name: np.array(split.per_identity) for split in splits if split.per_identity}
    pictures = []
    if per_identity:
        pictures.append(
            (
                charts.spread(per_identity, name="per-identity", label="photographs of an individual"),
                "One photograph of an individual does not tell what stays the same; two are the least.",
            )
        )
    for name, label, caption in (
        (
            "short_sides",
            "short side, px",
            "Where test photographs are smaller than those trained on, stage 1's coarsening has to make up for it.",
        ),
        (
            "sharpness",
            "sharpness",
            "Variance of the Laplacian at 128 px: test photographs far left of those trained on are blurred.",
        ),
    ):
        values = {split.name: np.array(getattr(split, name)) for split in splits}
        pictures.append((charts.spread(values, name=name, label=label, log=True), caption))
    most = max(len(split.short_sides) for split in splits)
    sampled = f", of at most {MEASURED:,} photographs a split" if most < max(split.images for split in splits) else ""
    return {
        "table": Grid(
            ("", "photographs", "individuals", "photographs each", "short side, px", "sharpness"),
            rows,
        ),
        "about": "Photographs each: least / median / most. Short side and sharpness: 5 % / median / 95 %"
        f"{sampled}. noseprint check looks for faults, too.",
        "charts": pictures,
    }


def _row(name: str, one: Training) -> list[str]:
    kept = json.loads(one.header.extra.get("holdout", "{}")) if one.header else {}
    speed, seconds = one.images_per_s, one.seconds
    return [
        name,
        *(f"{kept[key]:.4f}" if key in kept else "–" for key in ("auc", "map")),
        duration(seconds) if seconds else "–",
        f"{len(one.epochs)}" if one.epochs else "–",
        f"{speed:,.0f}" if speed else "–",
        f"{one.header.backbone}, {one.header.image_size} px" if one.header else "–",
    ]


def _total(trainings: Mapping[str, Training]) -> list[list[str]]:
    seconds = [one.seconds for one in trainings.values()]
    known = [value for value in seconds if value is not None]
    return [["all", "", "", duration(sum(known)), "", "", ""]] if len(known) == len(seconds) > 1 else []


def _held_out(trainings: Mapping[str, Training]) -> str:
    share = held_out_share(trainings)
    return "individuals that no training sees" + ("" if share is None else f" (--holdout {share:g})")


def _looks(names: list[str]) -> dict[str, tuple[int, bool]]:
    """A colour for each network, its stage 1 dashed."""
    networks = list(dict.fromkeys(name.split("_stage")[0] for name in names))
    networks.sort(key=lambda name: name == "pseudo_produce")
    return {name: (networks.index(name.split("_stage")[0]) % 5, name.endswith("_stage1")) for name in names}


def _range(values: Sequence[float], shares: Sequence[float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in np.quantile(values, shares)) if values else "–"
