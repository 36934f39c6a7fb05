import pytest
import torch

from noseprint.losses.margin import MarginSoftmax
from noseprint.models.projection_net import ProjectionNet
from noseprint.training.step_cost import step_cost

BATCH, CLASSES, DIM = 8, 10, 16


def cost(*trains, backbone="test_vit.r160_in1k", size=160, batch_size=BATCH, optimizer="adamw"):
    with torch.device("meta"):
        network = ProjectionNet(backbone, dim=DIM, image_size=size, pretrained=False, freeze_batch_norm=True)
        criterion = MarginSoftmax(CLASSES, DIM)
    network.requires_grad_(False)
    for name, part in (("backbone", network.backbone), ("head", network.projection), ("classifier", criterion)):
        part.requires_grad_(name in trains)
    return step_cost(network, criterion, batch_size=batch_size, optimizer=optimizer)


ALL = ("backbone", "head", "classifier")


def test_the_operations_of_a_transformer_are_those_of_the_formula():
    width, depth, tokens, patch = 64, 6, 1 + 10 * 10, 16
    hidden = 3 * width  # of test_vit
    linear = tokens * (4 * width * width + 2 * width * hidden)  # qkv, proj, two layers
    attention = 2 * tokens * tokens * width
    backbone = depth * (linear + attention) + (tokens - 1) * 3 * patch**2 * width
    forward = 2 * BATCH * (backbone + width * DIM + DIM * CLASSES)
    assert cost("classifier").operations == pytest.approx(forward, rel=0.01)
    whole = cost(*ALL).operations
    assert 2.9 * forward < whole < 3.4 * forward  # the fused attention computes its matrix once more


def test_memory_is_that_of_what_learns():
    frozen, whole, sgd = cost("classifier"), cost(*ALL), cost(*ALL, optimizer="sgd")
    assert frozen.parameters == whole.parameters == whole.learned
    assert frozen.learned == CLASSES * DIM
    assert frozen.gradients == frozen.optimizer / 2 == 4 * CLASSES * DIM
    assert whole.optimizer == 2 * sgd.optimizer == 8 * whole.parameters
    assert whole.weights == frozen.weights == 4 * (2 * whole.parameters - CLASSES * DIM)
    assert frozen.activations < whole.activations / 100
    assert cost(*ALL, batch_size=2 * BATCH).activations > 1.8 * whole.activations
    assert whole.memory == whole.weights + whole.gradients + whole.optimizer + whole.activations


def test_activations_are_those_that_a_real_step_keeps():
    torch.manual_seed(0)
    network = ProjectionNet("test_efficientnet.r160_in1k", dim=DIM, image_size=32, pretrained=False)
    network.freeze_batch_norm = True
    network.train()
    criterion = MarginSoftmax(CLASSES, DIM)
    own = {weight.untyped_storage().data_ptr() for part in (network, criterion) for weight in part.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # alive, so that no address is used twice
        return tensor

    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(BATCH, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        criterion(network(images), labels)
    real = sum(size for size, _ in kept.values())
    planned = cost(*ALL, backbone="test_efficientnet.r160_in1k", size=32).activations
    assert planned == pytest.approx(real, rel=0.05)


def test_vit_huge_is_planned_without_its_memory():
    """The numbers of its paper and of timm: 632 million weights with the classifier, 167.4 GMAC an image."""
    found = cost("head", "classifier", backbone="vit_huge_patch14_clip_224.laion2b", size=224, batch_size=2)
    assert found.parameters == 630_766_080 + 1280 * DIM + DIM + CLASSES * DIM
    assert found.operations / 2 / 2 == pytest.approx(167.4e9, rel=0.01)
