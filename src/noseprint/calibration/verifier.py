"""What decides whether two photographs show the same one: networks, calibrations, thresholds, limits; and its file."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from noseprint import __version__
from noseprint.calibration.curves import Calibration, calibration_from_json
from noseprint.calibration.quality_limits import Limits
from noseprint.calibration.reliability import ReliabilityScores
from noseprint.calibration.verifier_file import FORMAT, no_verifier, read_plain
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score
from noseprint.models.weights_header import fingerprint

FEW_IDENTITIES = 25
"""Of fewer held out neither the rates nor their intervals are to be relied on."""
EVEN_ODDS = math.log(2)
"""The log loss of saying 0.5 of every pair."""
_WORTH = 0.95  # share of it that a probability must stay below to be worth anything


@dataclass(frozen=True)
class Member:
    """One network: its recipe folder, its weights (seen from the verifier's folder) and how right its calibration is.

    `reliability` is of cross-fitted probabilities of the hold-out's balanced pairs.
    """

    name: str
    weights: str
    fingerprint: str
    calibration: Calibration
    reliability: ReliabilityScores


@dataclass(frozen=True)
class HoldOut:
    """What the verifier was made from: identities never trained on, and a cohort of photographs of trained ones.

    `mark` tells one set of identities from another; a pair has one held-out photograph at the least.
    """

    share: float
    mark: str
    identities: int
    photographs: int
    cohort: int
    same_pairs: int
    different_pairs: int


@dataclass(frozen=True)
class OperatingPoint:
    """A pair of thresholds, for one false match rate.

    `threshold` is the lowest similarity which so few of the hold-out's different pairs reach that the 95 % interval of
    their share, over identities, ends at `fmr` or below: from there on a pair is called the same. At most the share
    `fmr` of its same pairs lies below `fnmr_threshold`, none where they are few: a pair below both is called different,
    and what lies between cannot be told. Where the first lies lower, nothing lies between.
    `measured_fmr` and `tmr` (true-match rate) are those at `threshold`, with intervals over identities.
    """

    fmr: float
    threshold: float
    measured_fmr: Score
    tmr: Score
    fnmr_threshold: float

    @property
    def band(self) -> tuple[float, float]:
        """Similarities from the first on and below the second cannot be told."""
        return min(self.threshold, self.fnmr_threshold), self.threshold


@dataclass(frozen=True)
class Verifier:
    """All that `noseprint verify` needs. `calibration`, `reliability` and `points` are of the ensemble's mean cosine.

    `least_fmr`: the lowest false match rate that the hold-out supports; `points` has the highest rate first.
    """

    members: tuple[Member, ...]
    calibration: Calibration
    reliability: ReliabilityScores
    holdout: HoldOut
    least_fmr: float
    points: tuple[OperatingPoint, ...]
    quality: Limits

    @property
    def caution(self) -> str | None:
        """What whoever relies on rates and probabilities must know; None where the hold-out supports both."""
        few = None
        if self.holdout.identities < FEW_IDENTITIES:
            few = (
                f"made from {self.holdout.identities} held-out identities, which are few: among others, false matches "
                "may be several times as frequent. Train with a larger --holdout to be surer"
            )
        return "; ".join(filter(None, (few, self.worthless))) or None

    @property
    def worthless(self) -> str | None:
        """That the probability is not to be believed; None where it is worth something."""
        loss = self.reliability.log_loss
        flat = np.ptp(self.calibration.log_odds(np.array([-1.0, 1.0]))) == 0
        if flat or loss.value > _WORTH * EVEN_ODDS or loss.high >= EVEN_ODDS:
            return (
                f"the probability tells nothing: its log loss on the hold-out is {loss}, and that of even odds for "
                f"every pair {EVEN_ODDS:.3f}. Train longer, or with a larger --holdout, and calibrate again"
            )
        return None

    def operating_point(self, fmr: float | None) -> OperatingPoint:
        """The thresholds for a false match rate; None: the lowest there is. Raises NoseprintError for another one."""
        if fmr is None:
            return self.points[-1]
        for point in self.points:
            if math.isclose(point.fmr, fmr, rel_tol=1e-9):
                return point
        if not 0 < fmr < 1:
            raise NoseprintError(f"--fmr {fmr:g}: must lie between 0 and 1")
        known = ", ".join(f"{point.fmr:g}" for point in self.points)
        if fmr < self.points[-1].fmr:
            raise NoseprintError(
                f"--fmr {fmr:g}: the {self.holdout.different_pairs} different pairs of the hold-out do not support it "
                f"(30 false matches are needed to state a rate); the lowest they do is {self.points[-1].fmr:g}"
            )
        raise NoseprintError(f"--fmr {fmr:g}: this verifier has thresholds for {known}")


def write_verifier(path: Path, verifier: Verifier) -> None:
    """Write it, whole or not at all; the same verifier gives the same bytes."""
    told = {"format": FORMAT, "version": __version__, **_plain(verifier)}
    with atomic_write(path) as part:
        part.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_verifier(path: Path) -> Verifier:
    """Read what `write_verifier` wrote. Raises NoseprintError for anything else, naming what is wrong."""
    told = read_plain(path)
    try:
        verifier: Verifier = _read(Verifier, told, "verifier")
        _require_sense(verifier)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, NoseprintError) as error:
        raise no_verifier(path, error) from error
    return verifier


def weights_of(verifier: Verifier, path: Path) -> dict[str, Path]:
    """Each member's weights, for the verifier read from `path`.

    Raises NoseprintError where they are missing or not those that it was made with.
    """
    found = {member.name: path.parent / member.weights for member in verifier.members}
    for member in verifier.members:
        weights = found[member.name]
        if not weights.is_file():
            raise NoseprintError(f"{weights}: no such weights file, which {path} was made with; calibrate again")
        if fingerprint(weights) != member.fingerprint:
            raise NoseprintError(f"{weights}: are not the weights that {path} was made with; calibrate again")
    return found


def _plain(value: Any) -> Any:
    """Dataclasses as dicts; calibrations as their own JSON."""
    if isinstance(value, Calibration):
        return json.loads(value.to_json())
    if isinstance(value, Score):
        return asdict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _read(kind: Any, value: Any, where: str) -> Any:
    """`value`, of JSON, as the type `kind`, strictly."""
    if kind == Calibration:
        return calibration_from_json(json.dumps(value))
    if get_origin(kind) is UnionType:  # T | None
        return None if value is None else _read(get_args(kind)[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        return tuple(_read(get_args(kind)[0], part, where) for part in value)
    if is_dataclass(kind):
        types = get_type_hints(kind)
        if not isinstance(value, dict) or set(value) != set(types):
            raise ValueError(f"{where} has not just {', '.join(types)}")
        make: Callable[..., Any] = kind  # type: ignore[assignment]
        return make(**{name: _read(types[name], value[name], name) for name in types})
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{where} {str(value)[:50]!r} is no {kind.__name__}")
    if kind is str and not (value.isprintable() and 0 < len(value) < 4096):
        raise ValueError(f"{where} {value[:50]!r}")
    return value


def _require_sense(verifier: Verifier) -> None:
    """Refuse numbers that cannot be."""
    rates = [point.fmr for point in verifier.points]
    if not verifier.members or len({member.name for member in verifier.members}) < len(verifier.members):
        raise ValueError("no members, or one twice")
    if any(not re.fullmatch("[0-9a-f]{16}", member.fingerprint) for member in verifier.members):
        raise ValueError("a fingerprint that is none")
    if len({member.fingerprint for member in verifier.members}) < len(verifier.members):
        raise ValueError("two members of the same weights")
    if not rates or rates != sorted(set(rates), reverse=True):
        raise ValueError("false match rates that do not fall")
    for point in verifier.points:
        if not (0 < point.fmr < 1 and all(-2 <= value <= 2 for value in (point.threshold, point.fnmr_threshold))):
            raise ValueError(f"thresholds {point.threshold} and {point.fnmr_threshold} at false match rate {point.fmr}")
        for score in (point.measured_fmr, point.tmr):
            if not 0 <= score.low <= score.value <= score.high <= 1:
                raise ValueError(f"a rate of {score}")
    for loose, strict in pairwise(verifier.points):
        if loose.threshold > strict.threshold or loose.fnmr_threshold < strict.fnmr_threshold:
            raise ValueError(f"thresholds at false match rate {loose.fmr} that are stricter than at {strict.fmr}")
    for found in (verifier.reliability, *(member.reliability for member in verifier.members)):
        for score in (found.log_loss, found.brier, found.calibration_error):
            if score.value < 0 or not 0 <= score.low <= score.high:
                raise ValueError(f"a log loss, Brier score or calibration error of {score}")
    if verifier.holdout.identities < MIN_IDENTITIES or verifier.holdout.photographs < 2 * MIN_IDENTITIES:
        raise ValueError(
            f"a hold-out of {verifier.holdout.identities} identities, where {MIN_IDENTITIES} are the least"
        )
    limits = verifier.quality
    for limit in (limits.short_side, limits.sharpness, limits.brightness):
        if limit.least is not None and limit.least < 0:
            raise ValueError(f"a limit of {limit.least}")
