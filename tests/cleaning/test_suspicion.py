"""Rules on probabilities whose right answers are known."""

import numpy as np
import pytest

from noseprint.cleaning.suspicion import confident_learning, label_ranks, margin, noise_channel, self_confidence

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
LABELS = np.array([1, 2, 1])


def test_ranks_confidence_and_margin():
    assert label_ranks(P, LABELS).tolist() == [2, 1, 1]  # equal probabilities share the best rank
    assert self_confidence(P, LABELS) == pytest.approx([0.8, 0.2, 0.6])
    assert margin(P, LABELS) == pytest.approx([0.5, -0.7, 0.0])


def noisy_labels(*, rate, images=3000, classes=5, flip=None, seed=0):
    """Probabilities of a network that is right 9 times in 10, and labels of which `rate` are wrong."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, images)
    seen = np.where(random.random(images) < 0.9, truth, random.integers(0, classes, images))
    probabilities = np.full((images, classes), 0.1 / (classes - 1))
    probabilities[np.arange(images), seen] = 0.9
    other = (truth + random.integers(1, classes, images)) % classes if flip is None else flip[truth]
    labels = np.where(random.random(images) < rate, other, truth)
    return probabilities, labels, truth


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.4])
def test_the_channel_estimates_the_share_of_wrong_labels(rate):
    probabilities, labels, truth = noisy_labels(rate=rate)
    channel = noise_channel(probabilities, labels)
    assert channel.rate == pytest.approx((labels != truth).mean(), abs=0.03)
    assert channel.matrix.sum(axis=1) == pytest.approx(1)
    assert channel.posterior.sum(axis=1) == pytest.approx(1)


def test_the_channel_learns_which_classes_are_mistaken_for_which():
    probabilities, labels, truth = noisy_labels(rate=0.3, flip=np.array([1, 0, 3, 2, 2]))
    channel = noise_channel(probabilities, labels)
    expected = np.zeros((5, 5))
    np.add.at(expected, (truth, labels), 1)
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(channel.matrix - expected).max() < 0.05
    wrong = channel.suspicion(labels) > 0.5
    found = wrong & (labels != truth)
    assert found.sum() > 0.85 * (labels != truth).sum()
    assert found.sum() > 0.85 * wrong.sum()


def test_the_channel_trusts_a_label_less_if_it_is_often_given_by_mistake():
    kinds = [[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]]
    probabilities = np.repeat(kinds, [1, 400, 400, 9], axis=0)
    of_the_rest = [1] * 200 + [0] * 200 + [1] * 400 + [2] * 9  # half of class 0 is labelled 1
    trust = [noise_channel(probabilities, np.array([label, *of_the_rest])).posterior[0, label] for label in (0, 1)]
    assert trust[0] > 0.9
    assert trust[1] < 0.75


def naive_confident_learning(probabilities, labels):
    classes = probabilities.shape[1]
    thresholds = [np.mean([p[k] for p, y in zip(probabilities, labels, strict=True) if y == k]) for k in range(classes)]
    counts = np.zeros((classes, classes))
    for p, y in zip(probabilities, labels, strict=True):
        above = [k for k in range(classes) if p[k] >= thresholds[k] - 1e-12]
        if above:
            counts[y, max(above, key=lambda k: p[k])] += 1
    suspect = set()
    for k in range(classes):
        own = [row for row, y in enumerate(labels) if y == k]
        number = int(len(own) * (1 - counts[k, k] / counts[k].sum()) + 1e-9)
        suspect |= set(sorted(own, key=lambda row: probabilities[row, k])[:number])
    return [row in suspect for row in range(len(labels))]


def test_confident_learning_is_that_of_the_paper():
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([0.4] * 6, 500)
    labels = np.array([random.choice(6, p=p) for p in probabilities])
    suspect = confident_learning(probabilities, labels)
    assert 0 < suspect.sum() < len(labels) / 2
    assert suspect.tolist() == naive_confident_learning(probabilities, labels)


def test_a_class_without_images_is_no_suspect():
    suspect = confident_learning(np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0]]), np.array([0, 1]))
    assert not suspect.any()
