"""From similarity to probability."""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Platt:
    """P(same) = 1 / (1 + exp(-(slope * similarity + intercept)))."""

    slope: float
    intercept: float

    def probability(self, similarity: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Probability in [0, 1] that each pair is the same, where half of all pairs are."""
        odds = self.slope * np.asarray(similarity, dtype=np.float64) + self.intercept
        return np.exp(-np.logaddexp(0, -odds))

    def to_json(self) -> str:
        """Both numbers, to the last bit."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Platt":
        """Read what `to_json` wrote; NoseprintError for anything else."""
        try:
            values = json.loads(text)
            platt = cls(slope=float(values["slope"]), intercept=float(values["intercept"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            platt = cls(math.nan, math.nan)
        if not (math.isfinite(platt.slope) and math.isfinite(platt.intercept)):
            raise NoseprintError(f"calibration {text[:200]!r} holds no slope and intercept: calibrate again")
        return platt


def fit_platt(similarity: npt.NDArray[np.floating], same: npt.NDArray[np.bool_]) -> Platt:
    """Fit P(same) to similarities (P,) of balanced hold-out pairs, so that it is the probability at even odds.

    Platt, "Probabilistic outputs for support vector machines" (1999), with his targets (N+ + 1) / (N+ + 2) and
    1 / (N- + 2) in place of 1 and 0, which keep the slope finite where a similarity parts the two without a fault. The
    ridge (C = 100 on the standardised similarity) only settles the last digits.

    Raises NoseprintError unless there are both same and different pairs.
    """
    similarity, same = np.asarray(similarity, dtype=np.float64), np.asarray(same, dtype=bool)
    positives, negatives = int(same.sum()), int((~same).sum())
    if positives == 0 or negatives == 0:
        raise NoseprintError(
            f"calibration needs same and different pairs, there are {positives} and {negatives}: "
            "hold out more identities"
        )
    centre, scale = float(similarity.mean()), float(similarity.std())
    if scale == 0:
        return Platt(slope=0.0, intercept=math.log((positives + 1) / (negatives + 1)))
    target = np.where(same, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    standard = ((similarity - centre) / scale)[:, None]
    # A soft target t is one sample of each kind, weighing t and 1 - t.
    model = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000)
    model.fit(
        np.concatenate([standard, standard]),
        np.repeat([True, False], len(same)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = float(model.coef_[0, 0]) / scale
    return Platt(slope=slope, intercept=float(model.intercept_[0]) - slope * centre)
