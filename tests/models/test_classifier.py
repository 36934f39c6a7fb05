import pytest
import torch
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.errors import NoseprintError
from noseprint.models.classifier import ClassifierNet


def build(heads, **options):
    torch.manual_seed(0)
    return ClassifierNet("test_efficientnet.r160_in1k", heads=heads, image_size=64, pretrained=False, **options)


def test_logits_are_a_linear_map_of_the_pooled_features(images):
    network = build({"label": ["cat", "dog", "bird"]}).eval()
    maps = []
    network.backbone.register_forward_hook(lambda _, __, features: maps.append(features))
    logits = network(images)
    pooled = maps[0].mean((2, 3))
    torch.testing.assert_close(network.features(images), pooled)
    (head,) = network.heads
    torch.testing.assert_close(logits, F.linear(pooled, head.weight, head.bias))
    assert logits.shape == (3, 3)


def test_several_heads_give_logits_by_name(images):
    """Names that are attributes of every module are allowed: a head may well be called type."""
    network = build({"type": ["a", "b"], "train": ["c", "d", "e"]}).eval()
    logits = network(images)
    assert {name: tuple(values.shape) for name, values in logits.items()} == {"type": (3, 2), "train": (3, 3)}
    torch.testing.assert_close(logits["train"], network.heads[1](network.features(images)))


def test_dropout_is_active_in_training_only(images):
    network = build({"label": ["cat", "dog"]}, dropout=0.5, freeze_batch_norm=True)
    assert not torch.equal(network.train()(images), network(images))
    assert torch.equal(network.eval()(images), network(images))


@pytest.mark.parametrize("freeze", [False, True])
def test_batch_norm_learns_statistics_unless_it_is_frozen(images, freeze):
    network = build({"label": ["cat", "dog"]}, freeze_batch_norm=freeze).train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [norm.running_mean.clone() for norm in norms]
    network(images)
    assert [torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True)] == [freeze] * len(
        norms
    )


def test_logits_are_float32_under_autocast(images):
    network = build({"label": ["cat", "dog"]}).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(images).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": {}}, "at least one"),
        ({"heads": {"label": ["a", "a"]}}, "each once"),
        ({"heads": {"label": "ab"}}, "not a list of names"),
        ({"heads": {"label": ["a"]}, "pooling": "mean"}, "pooling 'mean': choose one of avg"),
        ({"heads": {"label": ["a"]}, "pooling": "token"}, "no class token"),
    ],
)
def test_impossible_classifiers_are_refused(options, message):
    with pytest.raises(NoseprintError, match=message):
        build(**options)
