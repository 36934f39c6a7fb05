import contextlib

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import nn

from noseprint.models.network import SupConNet
from noseprint.training.gradient_cache import ChunkedForward, even_chunks

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3])
IMAGES = torch.randint(0, 256, (len(LABELS), 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
LOSS = SupConLoss(temperature=0.07)
plain = contextlib.nullcontext()


def tiny():
    torch.manual_seed(0)
    return SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)


class Random(nn.Module):
    """A network whose rows draw random numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 32), nn.Dropout(0.5), nn.Linear(32, 8))

    def forward(self, images):
        return nn.functional.normalize(self.layers(images / 255.0))


def gradients(network):
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def cached_gradients(network, chunk_size, autocast=plain, seed=7):
    torch.manual_seed(seed)
    chunked = ChunkedForward(network, chunk_size, autocast)
    with autocast:
        loss = LOSS(chunked(IMAGES), LABELS)
    loss.backward()
    chunked.backward()
    return loss.detach(), gradients(network)


def assert_equal_gradients(ours, theirs, rtol=1e-4):
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=rtol, atol=rtol * float(gradient.abs().max()), msg=name)
    assert max(float(gradient.abs().max()) for gradient in theirs.values()) > 1e-2  # not a comparison of zeros


@pytest.mark.parametrize("chunk_size", [1, 4, 11, 64])
def test_the_gradient_is_that_of_the_whole_batch(chunk_size):
    direct = tiny()
    loss = LOSS(direct(IMAGES), LABELS)
    loss.backward()
    found, ours = cached_gradients(tiny(), chunk_size)
    torch.testing.assert_close(found, loss.detach())
    assert_equal_gradients(ours, gradients(direct))


def test_random_layers_draw_the_same_numbers_in_both_passes():
    direct = Random()
    torch.manual_seed(7)
    LOSS(torch.cat([direct(part) for part in torch.split(IMAGES, 4)]), LABELS).backward()
    _, ours = cached_gradients(Random(), 4)
    assert_equal_gradients(ours, gradients(direct), rtol=1e-6)
    _, others = cached_gradients(Random(), 4, seed=8)
    assert not torch.allclose(others["layers.1.weight"], ours["layers.1.weight"])


def test_the_second_pass_leaves_the_random_state_alone():
    network = Random()
    chunked = ChunkedForward(network, 4, plain)
    LOSS(chunked(IMAGES), LABELS).backward()
    state = torch.get_rng_state()
    chunked.backward()
    assert torch.equal(torch.get_rng_state(), state)


def test_both_passes_run_in_half_precision_and_the_gradient_reaches_the_weights():
    autocast = torch.autocast("cpu", torch.bfloat16)
    direct, chunked = Random(), Random()
    torch.manual_seed(7)
    with autocast:
        loss = LOSS(torch.cat([direct(part) for part in torch.split(IMAGES, 4)]), LABELS)
    loss.backward()
    types = []
    chunked.layers[1].register_forward_hook(lambda _, inputs, output: types.append(output.dtype))
    _, ours = cached_gradients(chunked, 4, autocast)
    assert types == [torch.bfloat16] * 6
    assert_equal_gradients(ours, gradients(direct), rtol=2e-2)


def test_activations_are_kept_for_one_chunk_at_a_time():
    network, rows = Random(), []
    network.layers[2].register_forward_hook(
        lambda _, inputs, output: rows.append(len(output)) if output.requires_grad else None
    )
    cached_gradients(network, 4)
    assert rows == [4, 4, 3]


def test_several_calls_in_one_step_add_up():
    direct, ours = tiny(), tiny()
    LOSS(torch.cat([direct(IMAGES[:5]), direct(IMAGES[5:])]), LABELS).backward()
    chunked = ChunkedForward(ours, 3, plain)
    LOSS(torch.cat([chunked(IMAGES[:5]), chunked(IMAGES[5:])]), LABELS).backward()
    chunked.backward()
    assert_equal_gradients(gradients(ours), gradients(direct))


def test_unused_embeddings_and_calls_without_gradient_cost_no_second_pass():
    network, calls = tiny(), []
    network.register_forward_pre_hook(lambda *_: calls.append(1))
    chunked = ChunkedForward(network, 6, plain)
    chunked(IMAGES)  # two chunks
    with torch.no_grad():
        assert not chunked(IMAGES).requires_grad  # two chunks
    LOSS(chunked(IMAGES), LABELS).backward()  # two chunks
    chunked.backward()  # the two of the last call
    assert len(calls) == 8


def test_chunks_are_even_and_keep_less_than_asked():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    images = torch.zeros(10, 3, 16, 16, requires_grad=True)
    own = 8 * 16 * 16 * 4  # bytes of an image: the output of ReLU; the batch itself is there anyhow
    assert even_chunks(network, images, most_bytes=10 * own) is None
    assert even_chunks(network, images, most_bytes=9.9 * own) == 5
    assert even_chunks(network, images, most_bytes=4.9 * own) == 4  # three chunks
    assert even_chunks(network, images, most_bytes=1) == 1
