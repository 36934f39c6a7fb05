"""What a classifier loses and gains in lower precision, and which precision to take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.data.decoding import Image
from noseprint.deploy.classifier_answers import Compute, Precision
from noseprint.metrics.bootstrap import Score, bootstrap_difference, bootstrap_mean
from noseprint.metrics.similarity import Labels

LEAST_GAIN = 0.1
"""A lower precision must save this share of the time. Less may be chance, and is not worth a change of answers."""
LEAST_SAME = 0.95
"""At least this share of its answers must be those of float32. With few held-out images, equal accuracy may be
chance."""
ROUNDS = 5


@dataclass(frozen=True)
class PrecisionScore:
    """One precision.

    loss: the accuracy of float32 minus its own, paired. time: as a share of that of float32. same: the share of its
    answers that are those of float32.
    """

    precision: Precision
    accuracy: Score
    loss: Score
    time: float
    same: float = 1.0

    def __str__(self) -> str:
        if self.precision == "float32":
            return f"float32: accuracy {self.accuracy}"
        return (
            f"{self.precision}: accuracy {self.accuracy}, loss against float32 {self.loss}, {self.same:.1%} of its "
            f"answers, {self.time:.0%} of its time"
        )


def compare_precisions(
    probability: Mapping[Precision, npt.NDArray[np.floating]],
    labels: Sequence[str],
    *,
    times: Mapping[Precision, float],
    classes: Sequence[str],
    groups: Labels | None = None,
) -> list[PrecisionScore]:
    """Score the answers (N, K) of each precision, among them float32, with 95 % intervals.

    labels: (N,). times: see `relative_times`. classes: (K,). groups: (N,), such as the photographer; intervals are over
    them, else over the images.
    """
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    names = np.asarray(classes)
    right = {kind: (names[p.argmax(axis=1)] == np.asarray(labels)).astype(float) for kind, p in probability.items()}
    return [
        PrecisionScore(
            kind,
            Score(float(hits.mean()), *bootstrap_mean(hits, units, seed=0)),
            bootstrap_difference(right["float32"], hits, units, seed=0),
            times[kind],
            float((probability[kind].argmax(axis=1) == probability["float32"].argmax(axis=1)).mean()),
        )
        for kind, hits in right.items()
    ]


def relative_times(engines: Mapping[Precision, Compute], images: Sequence[Image]) -> dict[Precision, float]:
    """The time of each precision for an image, as a share of that of float32: the median over images and ROUNDS.

    They take turns with each image, so that a busy machine slows all of them alike.
    """
    ratios: dict[Precision, list[float]] = {kind: [] for kind in engines}
    for rounds in range(1 + ROUNDS):
        for image in images:
            seconds = {}
            for kind, compute in engines.items():
                start = time.perf_counter()
                compute(image)
                seconds[kind] = time.perf_counter() - start
            for kind in engines if rounds else ():  # the first round compiles for the size of the image
                ratios[kind].append(seconds[kind] / seconds["float32"])
    return {kind: float(np.median(values)) for kind, values in ratios.items()}


def choose_precision(scores: Sequence[PrecisionScore], *, most_loss: float) -> Precision:
    """The fastest precision that loses little against float32; float32 if there is none.

    Its accuracy is at most `most_loss` lower, it gives LEAST_SAME of the answers of float32, and saves LEAST_GAIN of
    its time.
    """
    good = [
        score
        for score in scores
        if score.loss.value <= most_loss + 1e-12 and score.same >= LEAST_SAME and score.time <= 1 - LEAST_GAIN
    ]
    return min(good, key=lambda score: score.time).precision if good else "float32"
