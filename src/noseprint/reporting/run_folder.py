"""What a run left on disk. What is missing or damaged is None: a report shows what there is."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from noseprint.calibration.curves import Calibration, calibration_from_json
from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import read_labels, read_pairs, read_pseudo, read_train
from noseprint.errors import NoseprintError
from noseprint.models.weights_header import WeightsHeader, read_header
from noseprint.reporting.photographs import PhotographPair

T = TypeVar("T")
Number = Annotated[float, Field(gt=-1e12, lt=1e12, allow_inf_nan=False)]
"""No training and no table of pairs gives numbers beyond this, and a chart could not show them."""
Count = Annotated[int, Field(ge=0, lt=10**12)]
Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""Of two scores in 0..1."""
Words = Annotated[str, Field(min_length=1, max_length=100)]


class _Record(BaseModel):
    """A record that the library wrote as JSON; unknown names are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class LogRecord(_Record):
    """A line of metrics.jsonl: what happened since the line before it. What a training does not record is None.

    epoch: how often each photograph was shown on average; 0 is before the first step.
    """

    epoch: Number
    step: Count | None = None
    loss: Number | None = None
    auc: Number | None = None
    map: Number | None = None
    seconds: Number | None = None
    images_per_s: Number | None = None


class TrainingGain(_Record):
    """The entry "gain" of the header: the hold-out score of the kept weights minus that of the start weights.

    by: the name of the score. size: a text that says how much is held out. step: the step of the kept weights; 0 for
    the start weights. before: the score of the start weights. low, high: the paired 95 % interval of the gain `value`.
    """

    by: Words
    size: Words
    step: Count
    before: Annotated[float, Field(ge=0, le=1)]
    value: Difference
    low: Difference
    high: Difference

    @model_validator(mode="after")
    def _require_possible(self) -> Self:
        if self.low > self.high or not -1e-6 <= self.after <= 1 + 1e-6:
            raise ValueError("no such scores")
        return self

    @property
    def after(self) -> float:
        """The score of the kept weights."""
        return self.before + self.value

    @property
    def unknown(self) -> bool:
        """Too few individuals are held out for an interval."""
        return self.high - self.low >= 2

    @property
    def margin(self) -> float | None:
        """The smallest difference that the hold-out can tell: half the interval. None if that is not known."""
        return None if self.unknown or self.low == self.high else (self.high - self.low) / 2

    @property
    def no_room(self) -> bool:
        """The start weights had the highest score already."""
        return round(self.before, 3) == 1

    @property
    def may_be_chance(self) -> bool:
        """The hold-out does not show that the training helped, though it could."""
        return self.low <= 0 and not self.unknown and not self.no_room


class Precision(_Record):
    """The share of accepted pairs that are right on the hold-out, with its 95 % interval."""

    value: Number = Field(alias="precision")
    low: Number
    high: Number


class _Refused(_Record):
    image_a: str = Field(alias="imageA")
    image_b: str = Field(alias="imageB")
    similarity: Number
    reason: str


class PseudoFile(_Record):
    """pseudo.json, as `inference.pseudo_labels` writes it."""

    distinct_pairs: Count
    accepted: Count
    identities: Count
    images: Count
    threshold: Number | None = None
    estimated_precision: Precision | None = None
    refused: tuple[_Refused, ...] = ()


@dataclass(frozen=True)
class PseudoLabelSummary:
    """What became of the unlabelled pairs."""

    file: PseudoFile
    accepted: tuple[PhotographPair, ...]
    """The pairs whose photographs became one identity, those of the surest identities first; each pair once."""
    refused: tuple[PhotographPair, ...]
    """The pairs that would have joined photographs which contradict each other."""
    labelled: int
    """How many of `accepted` have a label that no training used."""
    correct: int
    """How many of these are the same."""


@dataclass(frozen=True)
class Training:
    """The training of one recipe folder: its log, and the header of the weights that were kept."""

    log: tuple[LogRecord, ...]
    header: WeightsHeader | None

    def curve(self, figure: str) -> tuple[list[float], list[float]]:
        """(epochs, values) of one figure; records without it are left out."""
        points = [(record.epoch, value) for record in self.log if (value := getattr(record, figure)) is not None]
        return [epoch for epoch, _ in points], [value for _, value in points]

    @property
    def seconds(self) -> float | None:
        """Wall time of the training; None if a record lacks it."""
        _, values = self.curve("seconds")
        return sum(values) if values and len(values) == len(self.log) else None

    @property
    def steps(self) -> int | None:
        """The step of the last record."""
        return self.log[-1].step if self.log else None

    @property
    def images_per_s(self) -> float | None:
        """The median over the records."""
        _, values = self.curve("images_per_s")
        return float(np.median(values)) if values else None

    @property
    def holdout(self) -> dict[str, float]:
        """The hold-out scores of the weights that were kept."""
        return (self.header.holdout_scores if self.header else None) or {}

    @property
    def gain(self) -> TrainingGain | None:
        """What the kept weights gained on the hold-out; None if the weights do not say."""
        text = self.header.extra.get("gain") if self.header else None
        return readable(lambda: TrainingGain.model_validate_json(text)) if text else None

    @property
    def holdout_share(self) -> float | None:
        """The share of the individuals that was held out."""
        return self.header.holdout_share if self.header else None

    @property
    def calibration(self) -> Calibration | None:
        """The calibration in the weights."""
        text = self.header.extra.get("calibration") if self.header else None
        return readable(lambda: calibration_from_json(text)) if text else None


@dataclass(frozen=True)
class TrainingSet:
    """How many photographs and individuals were trained on, and how many individuals were held out."""

    photographs: int
    individuals: int
    held_out: int


def readable(read: Callable[[], T]) -> T | None:
    """What `read` returns; None if the file cannot be read or is not one that the library writes."""
    try:
        return read()
    except (NoseprintError, OSError, KeyError, TypeError, ValueError):
        return None


def read_trainings(folders: Mapping[str, Path]) -> dict[str, Training]:
    """The trainings in these results folders (name -> folder); folders without a training are left out."""
    trainings = {}
    for name, results in folders.items():
        log = _read_log(results / "metrics.jsonl")
        header = readable(lambda path=results / "best.safetensors": read_header(path))  # type: ignore[misc]
        if log or header:
            trainings[name] = Training(log, header)
    return trainings


def common_holdout_share(trainings: Mapping[str, Training]) -> float | None:
    """The share of the individuals that every training held out; None if it is unknown or differs."""
    shares = {training.holdout_share for training in trainings.values()} - {None}
    return shares.pop() if len(shares) == 1 else None


def count_training_set(trainings: Mapping[str, Training], data: Path) -> TrainingSet | None:
    """What the trainings used of the training table in `data`; None if the share of the hold-out is unknown."""
    share = common_holdout_share(trainings)
    if share is None:
        return None
    table = read_train(data, missing_ok=True)
    held_out = split_holdout(table.identities, share=share, seed=HOLDOUT_SEED)
    trained_on = [identity for identity in table.identities if identity not in held_out]
    return TrainingSet(len(trained_on), len(set(trained_on)), len(held_out))


def read_pseudo_labels(results: Path, data: Path) -> PseudoLabelSummary | None:
    """What pseudo_produce left in `results`; None if it has not run, or if its tables do not fit `data`."""
    return readable(lambda: _read_pseudo_labels(results, data))


def _read_pseudo_labels(results: Path, data: Path) -> PseudoLabelSummary:
    file = PseudoFile.model_validate_json((results / "pseudo.json").read_bytes())
    table = read_pseudo(results / "pseudo.csv", data, missing_ok=True)
    pairs = read_pairs(data, "validation", missing_ok=True)
    identity = {path.name: name for path, name in zip(table.paths, table.identities, strict=True)}
    distinct: dict[frozenset[str], tuple[str, str]] = {}
    for row in zip(pairs.image_a, pairs.image_b, strict=True):
        distinct.setdefault(frozenset(row), row)
    together: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for a, b in distinct.values():
        if a in identity and a != b and identity[a] == identity.get(b):
            together[identity[a]].append((a, b))
    accepted = [pair for name in dict.fromkeys(table.identities) for pair in together[name]]
    label: dict[frozenset[str], bool] = {}
    if labels := readable(lambda: read_labels(data, "validation")):
        rows = zip(labels[0].image_a, labels[0].image_b, labels[1], strict=True)
        label = {frozenset(pair): same for *pair, same in rows}
    known = [label[frozenset(pair)] for pair in accepted if frozenset(pair) in label]
    return PseudoLabelSummary(
        file,
        tuple(PhotographPair(pairs.folder / a, pairs.folder / b) for a, b in accepted),
        tuple(
            PhotographPair(pairs.folder / pair.image_a, pairs.folder / pair.image_b, pair.similarity, None, pair.reason)
            for pair in file.refused
        ),
        len(known),
        sum(known),
    )


def _read_log(path: Path) -> tuple[LogRecord, ...]:
    """The records up to the first line that a crash cut off."""
    log: list[LogRecord] = []
    for line in (readable(path.read_bytes) or b"").splitlines():
        record = readable(lambda line=line: LogRecord.model_validate_json(line))  # type: ignore[misc]
        if record is None:
            break
        log.append(record)
    return tuple(log)
