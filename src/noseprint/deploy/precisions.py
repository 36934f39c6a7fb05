"""What a classifier loses in lower precision, on images that were held out, and which precision to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.deploy.classifier_answers import Precision
from noseprint.metrics.bootstrap import Score, bootstrap_difference, bootstrap_mean
from noseprint.metrics.similarity import Labels

FASTEST_FIRST: tuple[Precision, ...] = ("int8", "bf16", "float32")
"""On CPUs that have them. Not measured here, so that two exports are the same: `noseprint benchmark` measures."""


@dataclass(frozen=True)
class PrecisionScore:
    """The accuracy of one precision, and how much more float32 has: the paired difference."""

    precision: Precision
    accuracy: Score
    loss: Score

    def __str__(self) -> str:
        if self.precision == "float32":
            return f"float32: accuracy {self.accuracy}"
        return f"{self.precision:7}: accuracy {self.accuracy}, loss against float32 {self.loss}"


def compare_precisions(
    probability: Mapping[Precision, npt.NDArray[np.floating]],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    groups: Labels | None = None,
) -> list[PrecisionScore]:
    """Score the answers (N, K) of each precision, among them float32, with 95 % intervals.

    labels: (N,). classes: (K,). groups: (N,), such as the photographer; intervals are over them, else over the images.
    """
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    names = np.asarray(classes)
    right = {kind: (names[p.argmax(axis=1)] == np.asarray(labels)).astype(float) for kind, p in probability.items()}
    return [
        PrecisionScore(
            kind,
            Score(float(hits.mean()), *bootstrap_mean(hits, units, seed=0)),
            bootstrap_difference(right["float32"], hits, units, seed=0),
        )
        for kind, hits in right.items()
    ]


def choose_precision(scores: Sequence[PrecisionScore], *, most_loss: float) -> Precision:
    """The first of FASTEST_FIRST that loses at most this share of right answers against float32."""
    loss = {score.precision: score.loss.value for score in scores}
    return next(kind for kind in FASTEST_FIRST if kind in loss and loss[kind] <= max(most_loss, 0.0) + 1e-12)
