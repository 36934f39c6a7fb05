"""Suspicion by how a linear classifier learns: wrong labels are learned late, or never."""

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

STEPS, MOMENTUM = 100, 0.9
LIMIT = 0.99
"""A label is suspect if its margin is below this quantile of the margins of labels that are surely wrong."""


def area_under_margin(features: Floats, labels: Labels, *, seed: int = 0) -> Floats:
    """How far the area under the margin of N labels is above its limit; below 0, the label is suspect.

    The margin of a label is its logit minus the largest other one. Its mean over the steps of a training is the area
    (Pleiss et al. 2020, arXiv 2001.10528). To find the limit, as many images as a class has on average are put into a
    class of their own, in which no image belongs; a second training judges these, with others in their place.

    features: (N, C). labels: (N,) class numbers. seed: of the images that are put aside.
    """
    classes = int(labels.max()) + 1
    count = max(1, len(labels) // (classes + 1))
    drawn = np.random.default_rng(seed).permutation(len(labels))
    above = np.zeros(len(labels))
    for number, aside in enumerate((drawn[:count], drawn[count : 2 * count])):
        changed = labels.copy()
        changed[aside] = classes
        area = mean_margins(features, changed, classes + 1)
        rows = drawn[:count] if number else drawn[count:]
        above[rows] = area[rows] - np.quantile(area[aside], LIMIT)
    return above


def mean_margins(features: Floats, labels: Labels, classes: int) -> Floats:
    """The mean margin of each of N labels while a linear softmax classifier is trained on all images.

    It is trained by gradient steps from zero. features: (N, C). labels: (N,) class numbers below `classes`.
    """
    inputs = np.column_stack([features, np.ones(len(features))]).astype(np.float32)
    step = 2 / np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1]  # the loss curves at most half as much
    rows = np.arange(len(labels))
    weights = np.zeros((inputs.shape[1], classes), np.float32)
    speed, total = np.zeros_like(weights), np.zeros(len(labels))
    logits = inputs @ weights
    for _ in range(STEPS):
        error = softmax(logits, axis=1)
        error[rows, labels] -= 1
        speed = MOMENTUM * speed - step * (inputs.T @ error) / len(inputs)
        weights += speed
        logits = inputs @ weights
        others = logits.copy()
        others[rows, labels] = -np.inf
        total += logits[rows, labels] - others.max(axis=1)
    return total / STEPS
