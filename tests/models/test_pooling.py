import pytest
import torch

from noseprint.models.pooling import DESCRIPTORS


def naive(letter: str, values: list[float]) -> float:
    if letter == "S":
        return sum(values) / len(values)
    if letter == "M":
        return max(values)
    return (sum(max(v, 1e-6) ** 3 for v in values) / len(values)) ** (1 / 3)


@pytest.mark.parametrize("letter", "SMG")
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1)])
def test_a_descriptor_equals_a_loop_over_positions(letter, shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    got = DESCRIPTORS[letter](features)
    want = [[naive(letter, channel.flatten().tolist()) for channel in image] for image in features]
    torch.testing.assert_close(got, torch.tensor(want))


def test_gem_of_dead_channels_has_a_finite_gradient():
    features = torch.full((1, 2, 3, 3), -1.0, requires_grad=True)
    DESCRIPTORS["G"](features).sum().backward()
    assert torch.isfinite(features.grad).all()
