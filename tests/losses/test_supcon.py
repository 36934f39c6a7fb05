import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import SupConLoss
from torch.nn import functional as F

from noseprint.losses.supcon import supcon_loss


def drawn(labels, dim=8, seed=0):
    raw = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed))
    return F.normalize(raw).requires_grad_(), torch.tensor(labels)


def by_loops(embeddings, labels, temperature):
    """Equation 2, anchor by anchor."""
    rows, losses = embeddings.double().tolist(), []
    for i, anchor in enumerate(rows):
        logit = [sum(a * b for a, b in zip(anchor, row, strict=True)) / temperature for row in rows]
        positives = [p for p in range(len(rows)) if p != i and labels[p] == labels[i]]
        if positives:
            total = math.log(sum(math.exp(logit[a]) for a in range(len(rows)) if a != i))
            losses.append(sum(total - logit[p] for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.sampled_from([0.07, 0.5]), st.integers(0, 99))
def test_the_loss_equals_the_equation_of_the_paper(labels, temperature, seed):
    embeddings, targets = drawn(labels, seed=seed)
    found = supcon_loss(embeddings, targets, temperature=temperature)
    assert found.item() == pytest.approx(by_loops(embeddings, labels, temperature), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 1, 1], [5, 5, 7]])
def test_loss_and_gradient_equal_those_of_the_library(labels):
    gradients, losses = [], []
    for loss_of in (lambda e, of: supcon_loss(e, of, temperature=0.07), SupConLoss(temperature=0.07)):
        raw = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = loss_of(F.normalize(raw), torch.tensor(labels))
        loss.backward()
        losses.append(loss.detach())
        gradients.append(raw.grad)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert float(gradients[0].abs().max()) > 1e-3


def test_without_a_positive_the_loss_and_the_gradient_are_zero():
    embeddings, labels = drawn([0, 1, 2])
    loss = supcon_loss(embeddings, labels, temperature=0.07)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_product_is_float32_under_autocast_and_for_half_precision_input(kind):
    embeddings, labels = drawn([0, 0, 1, 1, 1, 2])
    exact = supcon_loss(embeddings, labels, temperature=0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(supcon_loss(embeddings, labels, temperature=0.07), exact)
    rounded = supcon_loss(embeddings.to(kind), labels, temperature=0.07)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
