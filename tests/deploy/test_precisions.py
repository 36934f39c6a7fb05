import time
from dataclasses import replace

import numpy as np
import pytest

from noseprint.deploy.precisions import PrecisionScore, choose_precision, compare_precisions, relative_times
from noseprint.metrics.bootstrap import Score, bootstrap_difference


def score(precision: str, loss: float, time: float) -> PrecisionScore:
    return PrecisionScore(precision, Score(0.8, 0.7, 0.9), Score(loss, loss - 0.01, loss + 0.01), time)


@pytest.mark.parametrize(
    ("bf16", "int8", "taken"),
    [
        ((0.0, 0.5), (0.0, 0.4), "int8"),
        ((0.005, 0.5), (0.006, 0.4), "bf16"),
        ((0.006, 0.5), (0.006, 0.4), "float32"),
        ((-0.01, 0.5), (0.005, 0.6), "bf16"),
        ((0.0, 0.95), (0.0, 1.2), "float32"),  # not faster
    ],
)
def test_the_fastest_is_taken_that_loses_little(bf16, int8, taken):
    scores = [score("float32", 0.0, 1.0), score("bf16", *bf16), score("int8", *int8)]
    assert choose_precision(scores, most_loss=0.005) == taken
    assert choose_precision(scores[:1], most_loss=0.005) == "float32"


def test_other_answers_that_are_right_as_often_are_not_taken():
    int8 = PrecisionScore("int8", Score(0.8, 0.7, 0.9), Score(-0.01, -0.1, 0.1), 0.4, same=0.9)
    assert choose_precision([score("float32", 0.0, 1.0), int8], most_loss=0.005) == "float32"
    assert choose_precision([score("float32", 0.0, 1.0), replace(int8, same=0.95)], most_loss=0.005) == "int8"


def test_the_loss_is_paired_and_its_interval_is_over_groups():
    rng = np.random.default_rng(0)
    classes, labels = ("a", "b", "c"), tuple(rng.choice(["a", "b", "c"], 60))
    groups = np.repeat(np.arange(12), 5)
    exact = rng.random((60, 3))
    rough = exact + rng.normal(0, 0.2, (60, 3))
    probability = {"float32": exact, "int8": rough}
    one, other = compare_precisions(
        probability, labels, times={"float32": 1.0, "int8": 0.5}, classes=classes, groups=groups
    )
    right = [
        np.array([classes[int(row.argmax())] == label for row, label in zip(rows, labels, strict=True)], float)
        for rows in (exact, rough)
    ]
    assert (one.accuracy.value, one.loss.value) == (right[0].mean(), 0)
    assert other.loss == bootstrap_difference(right[0], right[1], groups, seed=0)
    assert other.loss.value == pytest.approx(one.accuracy.value - other.accuracy.value)
    assert "loss against float32" in str(other)
    assert other.same == (exact.argmax(axis=1) == rough.argmax(axis=1)).mean()
    assert f"{other.same:.1%} of its answers, 50% of its time" in str(other)


def test_the_time_is_that_of_float32_in_turns():
    calls = []

    def engine(name, seconds):
        def compute(image):
            calls.append(name)
            time.sleep(seconds)

        return compute

    found = relative_times({"float32": engine("float32", 0.004), "int8": engine("int8", 0.001)}, [0, 1])
    assert calls[:4] == ["float32", "int8"] * 2
    assert found["float32"] == 1
    assert 0.05 < found["int8"] < 0.9
