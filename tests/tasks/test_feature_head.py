from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from noseprint.losses.margin_options import Margin
from noseprint.tasks.feature_head import train_head
from noseprint.tasks.phase_options import HeadOptions

DIM = 4


def features(classes=6, each=20, *, size=24, noise=0.4):
    """Directions of classes in a few dimensions, under noise that is larger in the others and far from 0."""
    random = np.random.default_rng(0)
    centres = np.zeros((classes, size))
    centres[:, :6] = random.normal(size=(classes, 6))
    rows = (
        centres.repeat(each, 0) + noise * random.normal(size=(classes * each, size)) * np.linspace(0.2, 3, size) + 0.5
    )
    return rows.astype(np.float32), [f"class {k}" for k in range(classes) for _ in range(each)]


def head(rows, identities, *, start=None, **changes):
    given = {"data": Path(), "part": "tiny", "dim": DIM, "epochs": 30, "lr": 1e-2, "batch_size": 32}
    return train_head(rows, identities, options=HeadOptions(**{**given, **changes}), start=start)


def nearest_is_right(rows, identities, weight, bias):
    found = F.normalize(F.linear(torch.from_numpy(rows), weight, bias))
    similarity = (found @ found.T).fill_diagonal_(-1)
    names = np.array(identities)
    return (names[similarity.argmax(1)] == names).mean()


@pytest.mark.parametrize(
    "more", [{}, {"batch_norm": True}, {"margin": Margin("cosface", start=0.35, by_size=True, centres=2)}]
)
def test_the_head_brings_images_of_one_identity_together(more):
    rows, identities = features()
    random = torch.randn(DIM, rows.shape[1], generator=torch.Generator().manual_seed(0))
    before = nearest_is_right(rows, identities, random, torch.zeros(DIM))
    found = head(rows, identities, **more)
    assert found.weight.shape == (DIM, rows.shape[1])
    assert nearest_is_right(rows, identities, found.weight, found.bias) > before + 0.3
    assert sorted(found.classifier) == sorted(set(identities))
    centres = torch.stack([found.classifier[name] for name in sorted(found.classifier)])
    assert centres.shape == (6, 2 if "margin" in more else 1, DIM)
    embedded = F.normalize(F.linear(torch.from_numpy(rows), found.weight, found.bias))
    nearest = (embedded @ F.normalize(centres, dim=2).flatten(0, 1).T).view(len(rows), 6, -1).amax(2).argmax(1)
    assert (np.array(sorted(found.classifier))[nearest] == identities).mean() > 0.6


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator_of_torch_alone():
    rows, identities = features()
    torch.manual_seed(5)
    one = head(rows, identities, epochs=2)
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(5))
    two, other = head(rows, identities, epochs=2), head(rows, identities, epochs=2, seed=1)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.classifier["class 0"], two.classifier["class 0"])
    assert not torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_starts_from_a_given_projection(batch_norm):
    rows, identities = features()
    weight, bias = 50 * torch.randn(DIM, rows.shape[1]), 50 * torch.randn(DIM)
    found = head(rows, identities, epochs=1, lr=1e-9, weight_decay=0.0, start=(weight, bias), batch_norm=batch_norm)
    factor = found.weight[0, 0] / weight[0, 0]
    torch.testing.assert_close(found.weight, weight * factor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.bias, bias * factor, rtol=1e-3, atol=1e-3)
    assert found.weight.norm(dim=1).mean().item() == pytest.approx(1, rel=1e-3)


def test_batch_norm_is_folded_into_weight_and_bias():
    """Features times any scale, plus any shift, give the same embedding."""
    rows, identities = features()
    stretched = (rows * np.linspace(0.5, 2, rows.shape[1]) + 1).astype(np.float32)
    one, two = (head(given, identities, epochs=3, batch_norm=True) for given in (rows, stretched))
    first, second = (F.linear(torch.from_numpy(r), h.weight, h.bias) for r, h in ((rows, one), (stretched, two)))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)
