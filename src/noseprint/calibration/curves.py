"""Calibration curves: from the similarity of two images to the probability that they show the same identity."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter

from noseprint.errors import NoseprintError

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating] | float
Number = Annotated[float, Field(ge=-1e300, le=1e300)]  # so that sums of a few stay finite
Factor = Annotated[float, Field(ge=0, le=1e300)]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""For dataclasses that are read from JSON: no conversions, no unknown names, only finite numbers."""

SAME_PIXELS_LOG_ODDS = math.log(1e12)
"""The log-odds of two photographs with the same pixels. No curve gives them: it is fitted to other pairs."""

_EPSILON = 1e-6  # float32 cosines are no more exact than this


class _Curve:
    """What all curves share."""

    __pydantic_config__ = STRICT

    def log_odds(self, similarity: Values) -> Floats:
        """Log-odds of being the same at even prior odds, the shape of `similarity`."""
        raise NotImplementedError

    def probability(self, similarity: Values, prior: float = 0.5) -> Floats:
        """Probability of being the same, the shape of `similarity`: see `probability_at`."""
        return probability_at(self.log_odds(similarity), prior)

    def to_json(self) -> str:
        """All fields; numbers keep every bit."""
        return json.dumps(asdict(self))  # type: ignore[call-overload]


@dataclass(frozen=True)
class Platt(_Curve):
    """Log-odds = slope * similarity + intercept, slope >= 0 (Platt 1999)."""

    family: Literal["platt"] = field(default="platt", kw_only=True)
    slope: Factor
    intercept: Number

    def log_odds(self, similarity: Values) -> Floats:  # noqa: D102
        return np.asarray(self.slope * np.asarray(similarity, np.float64) + self.intercept)


@dataclass(frozen=True)
class Beta(_Curve):
    """Log-odds = a ln x - b ln(1 - x) + c, with x = (similarity + 1) / 2 and a, b >= 0.

    Kull, Silva Filho and Flach, "Beta calibration" (AISTATS 2017), equation 2. Platt's curve is symmetric about its
    middle. This one may be steep at one end and flat at the other, which it needs if same pairs crowd below cosine 1.
    """

    family: Literal["beta"] = field(default="beta", kw_only=True)
    a: Factor
    b: Factor
    c: Number

    def log_odds(self, similarity: Values) -> Floats:  # noqa: D102
        return np.asarray(beta_features(similarity) @ np.array([self.a, self.b]) + self.c)


@dataclass(frozen=True)
class Isotonic(_Curve):
    """Log-odds between knots: K increasing similarities `at` and log-odds `odds` that never fall.

    Linear between knots, constant beyond the first and the last.
    """

    family: Literal["isotonic"] = field(default="isotonic", kw_only=True)
    at: Annotated[tuple[Number, ...], Field(min_length=1, max_length=100_000)]
    odds: tuple[Number, ...]

    def __post_init__(self) -> None:
        """Refuse knots that are out of order."""
        if len(self.at) != len(self.odds) or (np.diff(self.at) <= 0).any() or (np.diff(self.odds) < 0).any():
            raise ValueError("knots are not in increasing order")

    def log_odds(self, similarity: Values) -> Floats:  # noqa: D102
        return np.asarray(np.interp(np.asarray(similarity, np.float64), self.at, self.odds))


Calibration: TypeAlias = Platt | Beta | Isotonic
_ADAPTER: TypeAdapter[Calibration] = TypeAdapter(Calibration)


def calibration_from_json(text: str) -> Calibration:
    """Read what `to_json` wrote. {"slope", "intercept"} without a family, from older weights, is Platt's.

    Raises NoseprintError for anything else.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValueError as error:
        raise NoseprintError(f"{text[:200]!r} is not a calibration: calibrate again") from error


def probability_at(log_odds: Floats, prior: float = 0.5) -> Floats:
    """The probability in [0, 1] that a pair is the same, from its log-odds at even prior odds.

    A calibration is fitted to pairs half of which are the same. By Bayes' rule another prior adds
    log(prior / (1 - prior)) to the log-odds. A photograph that is compared with a gallery of N, one of which it shows,
    has a prior of about 1 / N: a pair with probability 0.99 at even odds has 0.50 at prior 0.01.

    `prior` is the share of same pairs among the pairs that are asked about; log_odds may have any shape.
    Raises NoseprintError unless 0 < prior < 1.
    """
    if not 0 < prior < 1:
        raise NoseprintError(f"prior {prior}: must lie between 0 and 1, such as 0.5, or 1 / N for a gallery of N")
    return np.asarray(np.exp(-np.logaddexp(0, -(log_odds + math.log(prior) - math.log1p(-prior)))))


def identity_probabilities(
    log_odds: Values, identities: Sequence[str], *, images: Sequence[int], gallery_identities: int
) -> tuple[Floats, float]:
    """For a query's K best gallery images, the probability that each shows the query's identity, and that none does.

    Before the search, the query is equally likely to be in the gallery or not, and equally likely to be each of its
    identities. A photograph of an identity resembles one of its gallery images, each with the same probability. So the
    mean over its images counts: among many images, one is more often similar by chance. By Bayes' rule an identity has
    the weight (the mean of exp(log-odds) over its images) / N, and "none of them" has the weight 1. Images that are not
    among the K count as 0, and identities without an image among them are left out.

    log_odds: (K,) of each image with the query, at even prior odds. identities: (K,) of the images; images of one
    identity get the same probability. images: (K,) how many images each of these identities has in the whole gallery.
    gallery_identities: N, the number of identities there.
    """
    weight: dict[str, float] = {}
    for name, value, number in zip(identities, np.asarray(log_odds, np.float64).tolist(), images, strict=True):
        weight[name] = float(np.logaddexp(weight.get(name, -np.inf), value - math.log(number)))
    weights = np.append(np.array(list(weight.values())) - math.log(gallery_identities), 0.0)
    share = np.exp(weights - np.logaddexp.reduce(weights))
    probability = dict(zip(weight, share, strict=False))
    return np.array([probability[name] for name in identities]), float(share[-1])


def beta_features(similarity: Values) -> Floats:
    """(ln x, -ln(1 - x)), shape (..., 2), which `Beta` multiplies by a and b."""
    x = np.clip((np.asarray(similarity, np.float64) + 1) / 2, _EPSILON, 1 - _EPSILON)
    return np.stack([np.log(x), -np.log1p(-x)], axis=-1)
