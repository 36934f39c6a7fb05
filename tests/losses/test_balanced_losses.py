"""Focal and weighted loss, against plain loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from noseprint.losses.focal import FocalLoss
from noseprint.losses.soft_targets import smoothed_targets
from noseprint.losses.weighted_cross_entropy import BETA, WeightedCrossEntropy, class_weights

COUNTS = torch.tensor([600.0, 30.0, 1.0, 0.0])


def batch():
    generator = torch.Generator().manual_seed(0)
    soft = torch.rand(6, 4, generator=generator)
    return (
        3 * torch.randn(6, 4, generator=generator),
        torch.tensor([0, 1, 2, 3, 0, 1]),
        soft / soft.sum(1, keepdim=True),
    )


def by_loop(logits, targets, smoothing, factor):
    """factor(k, p): what the term of class k is multiplied by."""
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        norm = math.log(sum(map(math.exp, row)))
        for k, z in enumerate(row):
            share = (1 - smoothing) * target[k] + smoothing / len(row)
            total -= share * factor(k, math.exp(z - norm)) * (z - norm)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_focal_loss_is_that_of_a_loop(smoothing, gamma):
    logits, numbers, soft = batch()
    loss = FocalLoss(gamma=gamma, smoothing=smoothing)
    for given, target in ((numbers, F.one_hot(numbers, 4)), (soft, soft)):
        expected = by_loop(logits, target, smoothing, lambda _, p: (1 - p) ** gamma)
        assert loss(logits, given).item() == pytest.approx(expected, rel=1e-5)
        if gamma == 0:
            plain = F.cross_entropy(logits, given, label_smoothing=smoothing)
            assert loss(logits, given).item() == pytest.approx(plain.item(), rel=1e-5)


def test_a_focal_loss_of_a_sure_network_has_a_gradient_that_is_finite():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = FocalLoss()(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_weighted_loss_is_that_of_a_loop(smoothing):
    logits, numbers, soft = batch()
    raised = [max(1, n) for n in COUNTS.tolist()]
    weights = [1 / sum(BETA**i for i in range(int(n))) for n in raised]  # 1 + b + b^2 + ... images count
    scale = 631 / sum(n * w for n, w in zip(COUNTS.tolist(), weights, strict=True))
    loss = WeightedCrossEntropy(COUNTS, smoothing=smoothing)
    for given, target in ((numbers, F.one_hot(numbers, 4)), (soft, soft)):
        expected = by_loop(logits, target, smoothing, lambda k, _: scale * weights[k])
        assert loss(logits, given).item() == pytest.approx(expected, rel=1e-4)


def test_weights_are_1_on_average_over_the_images():
    assert (class_weights(COUNTS) * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)
    assert class_weights(torch.tensor([7.0, 7.0])).tolist() == pytest.approx([1, 1])
    rare = class_weights(torch.tensor([20.0, 10.0]))
    assert rare[1] / rare[0] == pytest.approx(2, rel=0.01)  # nearly the inverse frequency for small classes


def test_targets_become_distributions():
    assert smoothed_targets(torch.tensor([1]), 2, smoothing=0.5).tolist() == [[0.25, 0.75]]
    soft = torch.tensor([[0.3, 0.7]])
    assert torch.equal(smoothed_targets(soft, 2, smoothing=0.0), soft)
