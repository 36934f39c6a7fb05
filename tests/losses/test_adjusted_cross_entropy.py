import math

import pytest
import torch

from noseprint.losses.adjusted_cross_entropy import AdjustedCrossEntropy


def by_loop(logits, targets, bias, smoothing):
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        moved = [z + b for z, b in zip(row, bias, strict=True)]
        norm = math.log(sum(map(math.exp, moved)))
        smooth = [(1 - smoothing) * t + smoothing / len(row) for t in target]
        total -= sum(t * (z - norm) for t, z in zip(smooth, moved, strict=True))
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("counts", [None, [6.0, 3.0, 1.0]])
def test_the_loss_equals_that_of_a_loop_for_classes_and_soft_targets(smoothing, counts):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator)
    numbers = torch.tensor([0, 1, 2, 2, 0])
    soft = torch.rand(5, 3, generator=generator)
    soft /= soft.sum(1, keepdim=True)
    loss = AdjustedCrossEntropy(None if counts is None else torch.tensor(counts), smoothing=smoothing)
    bias = [0, 0, 0] if counts is None else [math.log(n / 10) for n in counts]
    hard = torch.nn.functional.one_hot(numbers, 3)
    assert loss(logits, numbers).item() == pytest.approx(by_loop(logits, hard, bias, smoothing), rel=1e-5)
    assert loss(logits, soft).item() == pytest.approx(by_loop(logits, soft, bias, smoothing), rel=1e-5)


def test_the_logits_of_the_best_constant_answer_are_balanced():
    """Without adjustment, they would be the logarithms of the frequencies."""
    counts = torch.tensor([90.0, 9.0, 1.0])
    targets = (counts / counts.sum()).repeat(1, 1)
    for adjusted in (True, False):
        loss = AdjustedCrossEntropy(counts if adjusted else None)
        logits = torch.zeros(1, 3, requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

        def closure(loss=loss, logits=logits, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss(logits, targets)
            value.backward()
            return value

        optimizer.step(closure)
        shares = logits.detach().softmax(1)[0]
        expected = torch.full((3,), 1 / 3) if adjusted else counts / 100
        torch.testing.assert_close(shares, expected, atol=1e-3, rtol=0)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    loss = AdjustedCrossEntropy(torch.tensor([8.0, 0.0, 1.0]), smoothing=0.2)
    torch.testing.assert_close(loss.log_prior, torch.tensor([0.8, 0.1, 0.1]).log())
    assert loss(torch.zeros(2, 3), torch.tensor([0, 2])).isfinite()


def test_the_prior_is_saved_but_not_learned():
    loss = AdjustedCrossEntropy(torch.tensor([8.0, 2.0]))
    assert not list(loss.parameters())
    assert set(loss.state_dict()) == {"log_prior"}
