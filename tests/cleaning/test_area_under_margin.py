"""The area under the margin, against a plain loop, and on labels of which some are wrong."""

import numpy as np
import pytest

from noseprint.cleaning import area_under_margin as module
from noseprint.cleaning.area_under_margin import area_under_margin


def blobs(*, images=300, classes=4, noise=0.2, seed=0):
    """Features around a centre for each class, labels of which a share is wrong, and which are."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    features = 6 * np.eye(classes, 10)[truth] + random.normal(size=(images, 10))
    wrong = random.random(images) < noise
    labels = np.where(wrong, (truth + random.integers(1, classes, images)) % classes, truth)
    return features, labels, wrong


def test_the_mean_margin_is_that_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 3)
    features, labels, _ = blobs(images=12, classes=3)
    rows = [[*row, 1.0] for row in features.tolist()]
    size = np.linalg.eigvalsh(np.array(rows).T @ np.array(rows) / 12)[-1]
    weights = [[0.0] * 3 for _ in range(11)]
    speed = [[0.0] * 3 for _ in range(11)]
    margins = np.zeros(12)
    for _ in range(3):
        step = [[0.0] * 3 for _ in range(11)]
        for row, label in zip(rows, labels, strict=True):
            logits = [sum(x * weights[at][k] for at, x in enumerate(row)) for k in range(3)]
            total = sum(np.exp(value) for value in logits)
            for at, x in enumerate(row):
                for k in range(3):
                    step[at][k] += x * (np.exp(logits[k]) / total - (k == label)) / 12
        for at in range(11):
            for k in range(3):
                speed[at][k] = 0.9 * speed[at][k] - 2 / size * step[at][k]
                weights[at][k] += speed[at][k]
        for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
            logits = [sum(x * weights[at][k] for at, x in enumerate(row)) for k in range(3)]
            margins[number] += (logits[label] - max(z for k, z in enumerate(logits) if k != label)) / 3
    assert module.mean_margins(features, labels, 3) == pytest.approx(margins, rel=1e-3, abs=1e-4)


def test_wrong_labels_are_learned_late():
    features, labels, wrong = blobs()
    above = area_under_margin(features, labels)
    assert ((above < 0) == wrong).mean() > 0.93
    assert np.array_equal(above, area_under_margin(features, labels))


def test_every_image_is_judged_by_a_training_in_which_it_was_not_put_aside(monkeypatch):
    """The mean margins are replaced by the numbers of the labels: those put aside have the highest."""
    monkeypatch.setattr(module, "mean_margins", lambda features, labels, classes: labels.astype(float))
    above = area_under_margin(np.zeros((40, 3)), np.arange(40) % 4)
    assert above.tolist() == [row % 4 - 4.0 for row in range(40)]
