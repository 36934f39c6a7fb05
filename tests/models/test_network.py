import pytest
import torch
from safetensors.torch import save_file
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.errors import NoseprintError
from noseprint.models.classifier import ClassifierNet
from noseprint.models.network import SupConNet


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture
def captured(tiny, images):
    """The network, images, and the input and output of the backbone in its last call."""
    seen = {}
    tiny.backbone.register_forward_hook(lambda _, given, out: seen.update(pixels=given[0], features=out))
    return tiny.eval(), images, seen


def test_pixels_are_normalised_inside(captured):
    network, images, seen = captured
    network.set_pixel_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    network.embed(images)
    for channel, (mean, std) in enumerate([(0.1, 0.4), (0.2, 0.5), (0.3, 0.6)]):
        value = images[1, channel, 5, 7].item()
        assert seen["pixels"][1, channel, 5, 7].item() == pytest.approx((value / 255 - mean) / std, rel=1e-5)


def test_the_inference_embedding_equals_the_formula(captured):
    network, images, seen = captured
    got = network.embed(images)
    flat = seen["features"].flatten(2)
    want = unit(torch.cat([flat.mean(2), flat.max(2).values], 1))
    torch.testing.assert_close(got, want)
    assert got.shape == (3, network.embedding_size) == (3, 2 * network.backbone.num_features)


def test_the_training_embedding_equals_the_formula(captured):
    network, images, seen = captured
    got = network(images)
    flat = seen["features"].flatten(2)
    first, second = (head.weight for head in network.heads)
    want = unit(torch.cat([unit(flat.mean(2) @ first.T), unit(flat.max(2).values @ second.T)], 1))
    torch.testing.assert_close(got, want)
    assert got.shape == (3, network.dim)


def test_descriptors_come_in_the_order_written(images):
    def embedding(letters):
        torch.manual_seed(0)
        network = SupConNet("test_efficientnet.r160_in1k", descriptors=letters, dim=6, image_size=64, pretrained=False)
        return network.eval().embed(images)

    first, second = embedding("GMS"), embedding("SMG")
    width = first.shape[1] // 3
    torch.testing.assert_close(
        first, torch.cat([second[:, 2 * width :], second[:, width:-width], second[:, :width]], 1)
    )


def test_a_training_step_changes_affine_weights_but_no_statistics(tiny, images):
    tiny.train()
    norms = [module for module in tiny.modules() if isinstance(module, _BatchNorm)]
    assert norms
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    optimizer = torch.optim.SGD(tiny.parameters(), lr=1.0)
    tiny(images)[:, 0].sum().backward()
    optimizer.step()
    after = tiny.state_dict()
    statistics = [key for key in before if "running_" in key or "num_batches" in key]
    assert len(statistics) == 3 * len(norms)
    assert all(torch.equal(before[key], after[key]) for key in statistics)
    assert not torch.equal(before["backbone.model.bn1.weight"], after["backbone.model.bn1.weight"])
    assert not torch.equal(before["backbone.model.bn1.bias"], after["backbone.model.bn1.bias"])


def test_other_layers_do_enter_training_mode(tiny):
    modes = {isinstance(module, _BatchNorm): module.training for module in tiny.eval().train().modules()}
    assert modes == {True: False, False: True}


def test_embedding_is_float32_under_autocast(tiny, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained, used = tiny(images), tiny.embed(images)
    assert trained.dtype == used.dtype == torch.float32
    # Rows normalised in bfloat16 would miss length 1 by about 1e-3.
    torch.testing.assert_close(trained.norm(dim=1), torch.ones(3), atol=1e-6, rtol=0)


def test_state_dict_holds_no_configuration(tiny):
    own = {key for key, _ in tiny.named_parameters()}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert all(key in own or key.endswith(statistics) for key in tiny.state_dict())


def test_pixel_statistics_default_to_those_of_the_backbone():
    network = SupConNet("test_vit.r160_in1k", image_size=32, pretrained=False)
    assert (network.mean, network.std) == ((0.5,) * 3, (0.5,) * 3)
    network = SupConNet("test_vit.r160_in1k", image_size=32, pretrained=False, mean=(0, 0, 0), std=(1, 1, 1))
    assert (network.mean, network.std) == ((0.0,) * 3, (1.0,) * 3)


def test_both_networks_start_from_a_local_file(tiny, tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_file(tiny.backbone.model.state_dict(), path)
    for network in (
        SupConNet("test_efficientnet.r160_in1k", image_size=64, backbone_weights=path),
        ClassifierNet("test_efficientnet.r160_in1k", heads={"kind": ["a", "b"]}, image_size=64, backbone_weights=path),
    ):
        state = network.backbone.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in tiny.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("descriptors", "dim", "message"),
    [("", 512, "descriptors"), ("SS", 512, "each once"), ("SX", 512, "S, M, G"), ("SMG", 512, "multiple of 3")],
)
def test_impossible_networks_are_refused(descriptors, dim, message):
    with pytest.raises(NoseprintError, match=message):
        SupConNet("test_vit.r160_in1k", descriptors=descriptors, dim=dim, image_size=32, pretrained=False)


def test_images_that_are_not_uint8_are_refused(tiny, images):
    with pytest.raises(ValueError, match="uint8"):
        tiny(images.float())


def test_training_size_is_that_of_the_input_unless_another_is_requested(tiny):
    assert (tiny.training_size(None), tiny.training_size(64), tiny.training_size(48)) == (64, 64, 48)


def test_a_backbone_of_fixed_size_trains_at_no_other_size():
    network = SupConNet("test_vit.r160_in1k", image_size=32, pretrained=False)
    assert network.training_size(32) == 32
    with pytest.raises(NoseprintError, match="32 pixels only"):
        network.training_size(48)
