import copy

import pytest
import torch
from torch import nn

from noseprint.models.frozen_norm import fold_frozen_norms
from noseprint.models.network import SupConNet

IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def networks(backbone):
    """The same network twice, the second folded; its norms differ from the identity."""
    torch.manual_seed(0)
    plain = SupConNet(backbone, image_size=64, dim=16, pretrained=False)
    for norm in (module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 2)
    folded = copy.deepcopy(plain)
    return plain, folded, fold_frozen_norms(folded)


@pytest.mark.parametrize(
    ("backbone", "pairs"),
    [("test_efficientnet.r160_in1k", 13), ("test_resnet.r160_in1k", 15), ("test_byobnet.r160_in1k", 14)],
)
def test_a_folded_network_has_the_same_output_and_the_same_gradients(backbone, pairs):
    plain, folded, number = networks(backbone)
    assert number == pairs == sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    outputs = [net(IMAGES) for net in (plain, folded)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    for (name, one), other in zip(plain.named_parameters(), folded.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_weights_names_and_eval_mode_are_untouched():
    plain, folded, _ = networks("test_efficientnet.r160_in1k")
    assert list(plain.state_dict()) == list(folded.state_dict())
    assert torch.equal(plain.eval().embed(IMAGES), copy.deepcopy(folded).eval().embed(IMAGES))


def test_folded_convolutions_keep_less_for_the_backward_pass():
    sizes = []
    for net in networks("test_efficientnet.r160_in1k")[:2]:
        kept = []  # the tensors themselves: an address may be used again once its tensor is gone
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
            net(IMAGES)
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
        sizes.append(sum(storages.values()))
    assert sizes[1] < 0.85 * sizes[0]


def test_norms_that_learn_their_statistics_are_left_alone():
    network = SupConNet("test_resnet.r160_in1k", image_size=64, dim=16, pretrained=False, freeze_batch_norm=False)
    assert fold_frozen_norms(network) == 0
