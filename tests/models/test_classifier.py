import pytest
import torch
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.errors import NoseprintError
from noseprint.models import openvino_runtime as runtime
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import load_classifier, save_weights
from noseprint.models.weights_header import describe_weights, read_header


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
        ({"heads": {"label": ["a"]}, "hidden": 0}, "must be in 1..65536"),
    ],
)
def test_impossible_classifiers_are_refused(options, message):
    with pytest.raises(NoseprintError, match=message):
        build(**options)


def test_the_outputs_are_the_logits_of_each_head_and_the_features(images):
    network = build({"type": ["a", "b"], "train": ["c", "d", "e"]}, dropout=0.5).eval()
    logits, features = network(images), network.features(images)
    torch.testing.assert_close(network.outputs(images), torch.cat([logits["type"], logits["train"], features], 1))
    assert network.output_sizes == (2, 3, features.shape[1])


def test_openvino_gives_the_outputs_of_torch(images, monkeypatch, tmp_path):
    """Logits that are much smaller than the features are compared, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(runtime.MIN_COSINE, "bf16", 1.1)
    network = build({"label": ["cat", "dog", "bird"]}).eval()
    with torch.inference_mode():
        expected = network.outputs(images)
    torch.testing.assert_close(runtime.compile_network(network)(images), expected, atol=1e-5, rtol=1e-4)

    def wrong_logits(images):
        return network.outputs(images) * torch.tensor([1, 1, -1] + [1] * network.feature_size)

    assert runtime.cosine_to_torch(network.outputs, network) > 0.99999
    assert runtime.cosine_to_torch(wrong_logits, network) < 0.9


def test_the_content_hash_knows_weights_and_classes(images):
    same, other = build({"label": ["cat", "dog"]}), build({"label": ["dog", "cat"]})
    assert build({"label": ["cat", "dog"]}).content_hash() == same.content_hash() != other.content_hash()
    with torch.no_grad():
        same.heads[0].bias += 1
    assert build({"label": ["cat", "dog"]}).content_hash() != same.content_hash()


def test_a_neck_stands_between_the_pooling_and_the_head(images, tmp_path):
    network = build({"label": ["cat", "dog"]}, hidden=7, freeze_batch_norm=True)
    assert not network.neck.norm.training
    assert network.neck.needs_statistics
    network.neck.set_statistics(torch.arange(7.0) / 10, torch.arange(1.0, 8.0))
    assert not network.neck.needs_statistics
    network.eval()
    linear = network.pooled(images) @ network.neck.linear.weight.T
    features = ((linear - torch.arange(7.0) / 10) / (torch.arange(1.0, 8.0) + network.neck.norm.eps).sqrt()).clamp(0)
    torch.testing.assert_close(network.features(images), features)
    torch.testing.assert_close(network(images), network.heads[0](features))
    assert network.output_sizes == (2, 7)
    save_weights(tmp_path / "neck.safetensors", network, extra={})
    loaded = load_classifier(tmp_path / "neck.safetensors")
    assert torch.equal(loaded(images), network(images))
    assert (loaded.hidden, loaded.neck.needs_statistics) == (7, False)
    assert describe_weights(tmp_path / "neck.safetensors")["hidden"] == 7


def test_a_file_from_before_there_were_necks_is_read(images, tmp_path):
    network = build({"label": ["cat", "dog"]}).eval()
    assert "hidden" not in network.config()
    assert not any(key.startswith("neck") for key in network.state_dict())
    save_weights(tmp_path / "old.safetensors", network, extra={})
    assert read_header(tmp_path / "old.safetensors").hidden is None
    assert torch.equal(load_classifier(tmp_path / "old.safetensors")(images), network(images))


def test_a_header_with_another_neck_is_refused(tmp_path):
    network = build({"label": ["cat", "dog"]}, hidden=7)
    for hidden, problem in ((9, "does not fit"), (0, "damaged header")):
        network.hidden = hidden or None
        network.config = lambda hidden=hidden: {**ClassifierNet.config(network), "hidden": str(hidden)}
        save_weights(tmp_path / "other.safetensors", network, extra={})
        with pytest.raises(NoseprintError, match=problem):
            load_classifier(tmp_path / "other.safetensors")
