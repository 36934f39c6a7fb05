"""A verifier: the networks, calibrations, thresholds and limits that decide whether two photographs are the same.

It is a JSON file, `results/RUN/verifier.json`.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from noseprint.calibration.curves import STRICT, Calibration
from noseprint.calibration.operating_points import PAIRS_NEEDED, OperatingPoint
from noseprint.calibration.quality_limits import Limits
from noseprint.calibration.reliability import ReliabilityScores
from noseprint.data.holdout import HOLD_OUT_MORE
from noseprint.errors import NoseprintError, breaks_line, printable
from noseprint.files import atomic_write
from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.metrics.verification import ERRORS_NEEDED, least_fmr
from noseprint.models.weights_header import fingerprint
from noseprint.version import __version__

FEW_IDENTITIES = 25
"""With fewer held-out identities, thresholds are strict, and true match rates and probabilities are rough."""
EVEN_ODDS_LOSS = math.log(2)
"""The log loss of giving every pair a probability of 0.5."""
_USEFUL_SHARE = 0.95  # a log loss above this share of EVEN_ODDS_LOSS makes the probability useless
_MAX_BYTES = 2**24

T = TypeVar("T", str, Path)


def _check_printable(value: T) -> T:
    if breaks_line(str(value)):
        raise ValueError("has control characters, line ends or bytes that are not UTF-8")
    return value


def _check_distinct(members: Sequence["Member"]) -> Sequence["Member"]:
    for values in ({member.name for member in members}, {member.fingerprint for member in members}):
        if len(values) < len(members):
            raise ValueError("two members are the same")
    return members


def _check_order(points: Sequence["OperatingPoint"]) -> Sequence["OperatingPoint"]:
    for a, b in pairwise(points):
        if not (a.fmr > b.fmr and a.threshold <= b.threshold and a.fnmr_threshold >= b.fnmr_threshold):
            raise ValueError("false match rates must fall, and thresholds must not become less strict")
    return points


def _check_not_negative(scores: ReliabilityScores) -> ReliabilityScores:
    for score in (scores.log_loss, scores.brier, scores.calibration_error):
        if score.value < 0 or not 0 <= score.low <= score.high:
            raise ValueError("has a score below 0, or an interval whose low end is above its high end")
    return scores


Text = Annotated[str, Field(min_length=1, max_length=4095), AfterValidator(_check_printable)]
Reliability = Annotated[ReliabilityScores, AfterValidator(_check_not_negative)]


@dataclass(frozen=True)
class Member:
    """One network.

    name: of its recipe folder. weights: path of its file, in verifier.json relative to that file's folder. calibration:
    of its cosines. reliability: of cross-fitted probabilities of balanced hold-out pairs.
    """

    name: Text
    weights: Annotated[Path, AfterValidator(_check_printable), PlainSerializer(Path.as_posix)]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    calibration: Calibration
    reliability: Reliability


@dataclass(frozen=True)
class HoldOut:
    """The photographs from which a verifier is made.

    share: of the identities that was held out from training. identities_hash: `holdout_hash` of them. identities,
    photographs: their numbers. cohort: number of photographs of trained identities. same_pairs: of two held-out
    photographs. different_pairs: of two held-out photographs, or of a held-out one and one of the cohort.
    """

    share: float
    identities_hash: Annotated[str, Field(alias="mark")]
    identities: Annotated[int, Field(ge=MIN_IDENTITIES)]
    photographs: Annotated[int, Field(ge=2 * MIN_IDENTITIES)]
    cohort: int
    same_pairs: int
    different_pairs: int


@dataclass(frozen=True)
class Verifier:
    """Everything that `noseprint verify` needs to decide.

    version: of the noseprint that made it. members: the networks; the similarity of two photographs is the mean of
    their cosines. calibration: of that similarity. reliability: of cross-fitted probabilities of balanced hold-out
    pairs. least_fmr: the lowest false match rate that the hold-out supports. points: thresholds, the highest false
    match rate first. quality: limits on the photographs.
    """

    __pydantic_config__ = STRICT

    format: Literal["noseprint verifier 1"] = field(default="noseprint verifier 1", kw_only=True)
    version: str = field(default=__version__, kw_only=True)
    members: Annotated[tuple[Member, ...], Field(min_length=1), AfterValidator(_check_distinct)]
    calibration: Calibration
    reliability: Reliability
    holdout: HoldOut
    least_fmr: float
    points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1), AfterValidator(_check_order)]
    quality: Limits

    @property
    def caution(self) -> str | None:
        """A warning about rates and probabilities; None if the hold-out supports both."""
        few = None
        if self.holdout.identities < FEW_IDENTITIES:
            few = (
                f"made from {self.holdout.identities} held-out identities, which are few: the thresholds are strict "
                "to keep the promised false match rates, and true match rates and probabilities are rough. To be "
                f"surer, {HOLD_OUT_MORE}"
            )
        return "; ".join(filter(None, (few, self.probability_warning))) or None

    @property
    def probability_warning(self) -> str | None:
        """A warning that the probability is useless; None if it is not."""
        loss = self.reliability.log_loss
        constant = np.ptp(self.calibration.log_odds(np.array([-1.0, 1.0]))) == 0
        if constant or loss.value > _USEFUL_SHARE * EVEN_ODDS_LOSS or loss.high >= EVEN_ODDS_LOSS:
            return (
                f"the probability is useless: its log loss on the hold-out is {loss}, and a probability of 0.5 for "
                f"every pair has {EVEN_ODDS_LOSS:.3f}. Train longer, or {HOLD_OUT_MORE}; then calibrate again"
            )
        return None

    def why_unsupported(self, fmr: float) -> str:
        """Why the hold-out does not support a false match rate below `least_fmr`, and what to do."""
        different = self.holdout.different_pairs
        individuals = ""
        if self.least_fmr > least_fmr(different):  # then the pairs of individuals are too few
            individuals = f", from {PAIRS_NEEDED / self.least_fmr:.0f} pairs of individuals"
        return (
            f"the hold-out does not support a false match rate of {fmr:g}, which needs {ERRORS_NEEDED / fmr:.0f} "
            f"different pairs of photographs, from {PAIRS_NEEDED / fmr:.0f} pairs of individuals. It has "
            f"{different}{individuals}. The lowest rate of this verifier is {self.points[-1].fmr:g}; for a lower one, "
            f"{HOLD_OUT_MORE}"
        )

    def operating_point(self, fmr: float | None) -> OperatingPoint:
        """The thresholds for a false match rate; None: the lowest there is. Raises NoseprintError if there are none."""
        if fmr is None:
            return self.points[-1]
        for point in self.points:
            if math.isclose(point.fmr, fmr, rel_tol=1e-9):
                return point
        if not 0 < fmr < 1:
            raise NoseprintError(f"--fmr {fmr:g}: must lie between 0 and 1")
        if fmr < self.least_fmr:
            raise NoseprintError(f"--fmr {fmr:g}: {self.why_unsupported(fmr)}")
        known = ", ".join(f"{point.fmr:g}" for point in self.points)
        raise NoseprintError(f"--fmr {fmr:g}: this verifier has thresholds for {known}")


_ADAPTER = TypeAdapter(Verifier)


def write_verifier(path: Path, verifier: Verifier) -> None:
    """Write a verifier, completely or not at all; the same verifier gives the same bytes."""
    folder = path.parent.resolve()
    members = [replace(m, weights=Path(os.path.relpath(m.weights.resolve(), folder))) for m in verifier.members]
    content = _ADAPTER.dump_python(replace(verifier, members=tuple(members)), mode="json", by_alias=True)
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_verifier(path: Path) -> Verifier:
    """Read what `write_verifier` wrote. Raises NoseprintError for anything else, with the reason."""
    if not path.is_file():
        raise NoseprintError(f"{path.absolute()}: no such verifier; make it with noseprint calibrate")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        verifier = _ADAPTER.validate_json(path.read_bytes())
    except (ValueError, OSError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
        reason = printable(reason)[:200]
        raise NoseprintError(f"{path}: not a verifier ({reason}); make it with noseprint calibrate") from error
    folder = path.parent.resolve()
    members = [replace(member, weights=(folder / member.weights).resolve()) for member in verifier.members]
    return replace(verifier, members=tuple(members))


def check_weights(verifier: Verifier) -> None:
    """Raise NoseprintError if a member's weights are missing or not those that the verifier was made with."""
    for member in verifier.members:
        if not member.weights.is_file():
            raise NoseprintError(f"{member.weights}: no such weights file, which the verifier needs; calibrate again")
        if fingerprint(member.weights) != member.fingerprint:
            raise NoseprintError(f"{member.weights}: not the weights that the verifier was made with; calibrate again")
