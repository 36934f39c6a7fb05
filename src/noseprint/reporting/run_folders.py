"""What the folders of a campaign left on disk, as far as it can be read: a report is made of what there is."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import PairTable, read_labels, read_pairs, read_pseudo, read_train
from noseprint.errors import NoseprintError
from noseprint.models.weights_header import WeightsHeader, read_header

T = TypeVar("T")
_LARGEST = 1e12


@dataclass(frozen=True)
class Training:
    """One folder's training: its epochs, in order, and the header of the weights that were kept, if they are there."""

    epochs: tuple[dict[str, float], ...]
    header: WeightsHeader | None

    def values(self, name: str) -> tuple[list[float], list[float]]:
        """(epochs, values) of one figure; epochs without it are left out."""
        found = [(record["epoch"], record[name]) for record in self.epochs if name in record]
        return [epoch for epoch, _ in found], [value for _, value in found]

    @property
    def seconds(self) -> float | None:
        """Wall time of all epochs; None where it was not recorded."""
        _, values = self.values("seconds")
        return sum(values) if values and len(values) == len(self.epochs) else None

    @property
    def images_per_s(self) -> float | None:
        """The median epoch's."""
        _, values = self.values("images_per_s")
        return float(np.median(values)) if values else None


@dataclass(frozen=True)
class Learnt:
    """How much of the training table was learnt from; `held_out` individuals were not."""

    photographs: int
    individuals: int
    held_out: int


@dataclass(frozen=True)
class PseudoLabels:
    """What became of the unlabelled pairs."""

    summary: dict[str, Any]
    accepted: tuple[tuple[Path, Path], ...]
    """Pairs of the table, each once, whose images became one identity, those of the surest identities first."""
    refused: tuple[tuple[Path, Path, float, str], ...]
    """Pairs that would have joined what contradicts each other: images, similarity, reason."""
    right: tuple[int, int] | None
    """Of `accepted`, where the pairs are labelled after all: those that are the same, and all."""


def read_trainings(folders: Mapping[str, Path]) -> dict[str, Training]:
    """The trainings of those folders (name -> results) that have begun one."""
    found = {}
    for name, results in folders.items():
        epochs = _epochs(results / "metrics.jsonl")
        header = readable(lambda path=results / "best.safetensors": read_header(path))  # type: ignore[misc]
        if epochs or header:
            found[name] = Training(epochs, header)
    return found


def held_out_share(trainings: Mapping[str, Training]) -> float | None:
    """The share of the individuals that every training held out; None where they do not tell, or differ."""
    told = [one.header.extra.get("training", "{}") for one in trainings.values() if one.header]
    shares = {json.loads(text).get("holdout") for text in told} - {None}
    return float(shares.pop()) if len(shares) == 1 else None


def count_learnt(trainings: Mapping[str, Training], data: Path) -> Learnt | None:
    """What of the training table of `data` was learnt from; None where the trainings do not tell."""
    share = held_out_share(trainings)
    if share is None:
        return None
    table = read_train(data, missing_ok=True)
    held_out = split_holdout(table.identities, share=share, seed=HOLDOUT_SEED)
    learnt = [identity for identity in table.identities if identity not in held_out]
    return Learnt(len(learnt), len(set(learnt)), len(held_out))


def read_pseudo_labels(results: Path, data: Path) -> PseudoLabels | None:
    """What pseudo_produce left in `results`; None where it has not run, or its tables do not fit `data`."""
    summary = read_json(results / "pseudo.json")
    return readable(lambda: _pseudo_labels(summary, results, data)) if summary else None


def _pseudo_labels(summary: dict[str, Any], results: Path, data: Path) -> PseudoLabels:
    _require_numbers(summary)
    table = read_pseudo(results / "pseudo.csv", data, missing_ok=True)
    pairs = read_pairs(data, "validation", missing_ok=True)
    identity = {path.name: name for path, name in zip(table.paths, table.identities, strict=True)}
    together: dict[str, list[tuple[str, str]]] = defaultdict(list)
    distinct: dict[frozenset[str], tuple[str, str]] = {}
    for row in zip(pairs.image_a, pairs.image_b, strict=True):
        distinct.setdefault(frozenset(row), row)
    for a, b in distinct.values():
        if a in identity and a != b and identity[a] == identity.get(b):
            together[identity[a]].append((a, b))
    accepted = [pair for name in dict.fromkeys(table.identities) for pair in together[name]]
    refused = []
    for row in summary.get("refused", []):
        a, b, similarity, reason = row["imageA"], row["imageB"], float(row["similarity"]), str(row["reason"])
        refused.append((pairs.folder / a, pairs.folder / b, similarity, reason))
    return PseudoLabels(
        summary,
        tuple((pairs.folder / a, pairs.folder / b) for a, b in accepted),
        tuple(refused),
        _right(accepted, readable(lambda: read_labels(data, "validation"))),
    )


def _require_numbers(summary: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError where a page could not tell of `summary`."""
    estimate = summary.get("estimated_precision") or {"precision": 0.0, "low": 0.0, "high": 0.0}
    told = [summary.get("threshold") or 0.0, *(estimate[name] for name in ("precision", "low", "high"))]
    counts = [summary[name] for name in ("distinct_pairs", "accepted", "identities", "images")]
    if not all(type(count) is int and 0 <= count < _LARGEST for count in counts):
        raise ValueError("counts that are none")
    if not all(abs(float(number)) < _LARGEST for number in told):
        raise ValueError("numbers that cannot be told")


def read_json(path: Path) -> dict[str, Any] | None:
    """A table of names and values, or None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def readable(read: Callable[[], T]) -> T | None:
    """What `read` gives, or None where that cannot be read, or is not what the library writes."""
    try:
        return read()
    except (NoseprintError, OSError, KeyError, TypeError, ValueError):
        return None


def _epochs(path: Path) -> tuple[dict[str, float], ...]:
    records = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            numbers = {name: float(value) for name, value in record.items() if isinstance(value, int | float)}
            if not all(abs(value) < _LARGEST for value in numbers.values()):  # no training's, and nothing to draw
                raise ValueError(line)
            if "epoch" in numbers:
                records.append(numbers)
    except (
        OSError,
        ValueError,
        OverflowError,
        AttributeError,
        RecursionError,
    ):  # a line that a crash cut off: what stands before it counts
        pass
    return tuple(records)


def _right(
    accepted: list[tuple[str, str]], labels: tuple[PairTable, tuple[bool, ...]] | None
) -> tuple[int, int] | None:
    if labels is None:
        return None
    rows, same = labels
    known = {frozenset(pair): label for *pair, label in zip(rows.image_a, rows.image_b, same, strict=True)}
    told = [known[frozenset(pair)] for pair in accepted if frozenset(pair) in known]
    return (sum(told), len(told)) if told else None
