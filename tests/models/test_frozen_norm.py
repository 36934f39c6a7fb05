import copy
import pickle

import pytest
import torch
from torch import nn

from noseprint.models.frozen_norm import fold_frozen_norms, unfold_norms
from noseprint.models.network import SupConNet

IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def networks(backbone):
    """The same network twice, the second folded; its norms differ from the identity."""
    torch.manual_seed(0)
    return twice(SupConNet(backbone, image_size=64, dim=16, pretrained=False))


def twice(plain):
    for norm in (module for module in plain.modules() if isinstance(module, nn.BatchNorm2d) and module.affine):
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
def test_a_joined_network_has_the_same_output_and_the_same_gradients(backbone, pairs):
    plain, folded, number = networks(backbone)
    assert number == pairs == sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    require_same_training(plain, folded)


def require_same_training(plain, folded):
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


def test_joined_convolutions_keep_less_for_the_backward_pass():
    kept = []
    for net in networks("test_efficientnet.r160_in1k")[:2]:
        storages = {}  # kept alive, so that no other one gets its address
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, found=storages: found.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage()),
            lambda _: None,
        ):
            net(IMAGES)
        kept.append(sum(storage.nbytes() for storage in storages.values()))
    assert kept[1] < 0.85 * kept[0]


def test_norms_that_learn_their_statistics_are_left_alone():
    network = SupConNet("test_resnet.r160_in1k", image_size=64, dim=16, pretrained=False, freeze_batch_norm=False)
    assert fold_frozen_norms(network) == 0


def test_a_convolution_whose_output_is_also_used_elsewhere_stays_as_it_is():
    """In CoAtNet, a shortcut takes what the norm takes, too."""
    plain, folded, number = networks("test_coatnet.untrained")
    assert number == 5 < sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    require_same_training(plain, folded)


class Odd(nn.Module):
    """Cases of a norm that cannot be folded, in the order of the names, and one that can."""

    def __init__(self):
        super().__init__()
        self.in_place, self.twice, self.ours = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))
        self.plain_norm = nn.BatchNorm2d(3, affine=False)

    def forward(self, x):
        assert x.shape[-1] == 64, "takes the size that the network was made for, and no other"
        x = self.norms[0](torch.relu_(self.in_place(x)))
        x = self.norms[1](self.twice(x))
        x = self.norms[2](self.twice(x))
        return self.plain_norm(self.norms[3](self.ours(x)))


def test_only_a_norm_that_directly_follows_a_convolution_used_once_is_joined():
    plain = SupConNet("test_efficientnet.r160_in1k", image_size=64, descriptors="S", dim=3, pretrained=False)
    torch.manual_seed(0)
    plain.backbone, plain.heads[0] = Odd(), nn.Linear(3, 3, bias=False)
    plain, folded, number = twice(plain.train())
    assert number == 1
    require_same_training(plain, folded)


def test_separated_modules_have_their_own_classes_again_and_can_be_pickled():
    plain, folded, _ = networks("test_efficientnet.r160_in1k")
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(folded)
    unfold_norms(folded)
    assert [type(module) for module in folded.modules()] == [type(module) for module in plain.modules()]
    assert torch.equal(pickle.loads(pickle.dumps(folded))(IMAGES), plain(IMAGES))
