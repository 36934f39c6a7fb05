"""From similarity to probability."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating] | float
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]

_CLOSEST_TO_ONE = 1e-6  # float32 cosines are no more exact than that
_LARGEST = 1e300  # of a stored number: sums of a few stay finite
_MOST_KNOTS = 100_000


@dataclass(frozen=True)
class Platt:
    """Log-odds = slope * similarity + intercept (Platt 1999)."""

    slope: float
    intercept: float

    def log_odds(self, similarity: Values) -> Floats:
        """Of being the same, at even prior odds."""
        return np.asarray(self.slope * np.asarray(similarity, np.float64) + self.intercept)

    def probability(self, similarity: Values, prior: float = 0.5) -> Floats:
        """See `probability_at`."""
        return probability_at(self.log_odds(similarity), prior)

    def to_json(self) -> str:
        """Every number to the last bit."""
        return _to_json(self)


@dataclass(frozen=True)
class Beta:
    """Log-odds = a ln x - b ln(1 - x) + c with x = (similarity + 1) / 2 and a, b >= 0.

    Kull, Silva Filho and Flach, "Beta calibration" (AISTATS 2017), equation 2. Platt's curve is symmetric about its
    middle, this one may be steep at one end and flat at the other, as where the same pairs crowd below cosine 1.
    """

    a: float
    b: float
    c: float

    def log_odds(self, similarity: Values) -> Floats:
        """Of being the same, at even prior odds."""
        return np.asarray(beta_features(similarity) @ np.array([self.a, self.b]) + self.c)

    def probability(self, similarity: Values, prior: float = 0.5) -> Floats:
        """See `probability_at`."""
        return probability_at(self.log_odds(similarity), prior)

    def to_json(self) -> str:
        """Every number to the last bit."""
        return _to_json(self)


@dataclass(frozen=True)
class Isotonic:
    """Log-odds by knots: `odds` (K,), never falling, at similarities `at` (K,), rising; linear between, flat beyond."""

    at: tuple[float, ...]
    odds: tuple[float, ...]

    def log_odds(self, similarity: Values) -> Floats:
        """Of being the same, at even prior odds."""
        return np.asarray(np.interp(np.asarray(similarity, np.float64), self.at, self.odds))

    def probability(self, similarity: Values, prior: float = 0.5) -> Floats:
        """See `probability_at`."""
        return probability_at(self.log_odds(similarity), prior)

    def to_json(self) -> str:
        """Every number to the last bit."""
        return _to_json(self)


Calibration: TypeAlias = Platt | Beta | Isotonic
_FAMILIES: dict[str, type[Platt] | type[Beta] | type[Isotonic]] = {"platt": Platt, "beta": Beta, "isotonic": Isotonic}


def family_of(calibration: Calibration) -> str:
    """platt, beta or isotonic."""
    return type(calibration).__name__.lower()


def probability_at(log_odds: Floats, prior: float = 0.5) -> Floats:
    """The probability in [0, 1] that a pair is the same, given its log-odds at even prior odds.

    prior: the share of same pairs among those that are asked about. A calibration is fitted to pairs half of which are
    the same. By Bayes' rule other shares add log(prior / (1 - prior)) to the log-odds: a photograph against each of a
    gallery of N, one of which it is, has a prior of about 1 / N, and the pair that is 0.99 at even odds is 0.50 at
    prior 0.01. Raises NoseprintError unless 0 < prior < 1.
    """
    if not 0 < prior < 1:
        raise NoseprintError(f"prior {prior}: must lie between 0 and 1, such as 0.5, or 1 / N for a gallery of N")
    return np.asarray(np.exp(-np.logaddexp(0, -(log_odds + math.log(prior) - math.log1p(-prior)))))


def identity_probabilities(log_odds: Values, individual: Sequence[str], *, individuals: int) -> tuple[Floats, float]:
    """The probability of each of a query's K best images that it shows the query's individual, and that none does.

    log_odds: of each image with the query, at even prior odds (K,). individual: of each image (K,); those of one have
    one probability, by its best. individuals: N in the gallery. Beforehand the query is as likely as not of one of
    them, and of each as likely: by Bayes' rule exp(log-odds) / N against 1 for none, the further ones not counted.
    """
    best: dict[str, float] = {}
    for name, value in zip(individual, np.asarray(log_odds, np.float64).tolist(), strict=True):
        best[name] = max(best.get(name, -np.inf), value)
    weights = np.append(np.array(list(best.values())) - math.log(individuals), 0.0)
    share = np.exp(weights - np.logaddexp.reduce(weights))
    of = dict(zip(best, share, strict=False))
    return np.array([of[name] for name in individual]), float(share[-1])


def calibration_from_json(text: str) -> Calibration:
    """Read what `to_json` wrote; {"slope", "intercept"} of older weights is Platt's.

    Raises NoseprintError for anything else.
    """
    try:
        values = json.loads(text)
        kind = _FAMILIES[values.pop("family", "platt")]
        names = [field.name for field in fields(kind)]
        if set(values) != set(names):
            raise ValueError(f"has {sorted(values)[:9]}, not {names}")
        if kind is Isotonic:
            at, odds = (tuple(map(_number, values[name])) for name in names)
            if not 0 < len(at) == len(odds) <= _MOST_KNOTS or (np.diff(at) <= 0).any() or (np.diff(odds) < 0).any():
                raise ValueError("knots that do not rise")
            return Isotonic(at, odds)
        numbers = [_number(values[name]) for name in names]
        if kind is Platt:
            if numbers[0] < 0:
                raise ValueError("slope below 0")
            return Platt(*numbers)
        if min(numbers[:2]) < 0:
            raise ValueError("a or b below 0")
        return Beta(*numbers)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise NoseprintError(f"calibration {text[:200]!r} is none ({type(error).__name__}): calibrate again") from error


def beta_features(similarity: Values) -> Floats:
    """(ln x, -ln(1 - x)), (..., 2), that `Beta` weighs by a and b."""
    x = np.clip((np.asarray(similarity, np.float64) + 1) / 2, _CLOSEST_TO_ONE, 1 - _CLOSEST_TO_ONE)
    return np.stack([np.log(x), -np.log1p(-x)], axis=-1)


def _to_json(calibration: Calibration) -> str:
    return json.dumps({"family": family_of(calibration), **asdict(calibration)})


def _number(value: object) -> float:
    if type(value) not in (int, float) or not abs(float(value)) <= _LARGEST:  # type: ignore[arg-type]
        raise ValueError(f"{str(value)[:50]!r} is no number")
    return float(value)  # type: ignore[arg-type]
