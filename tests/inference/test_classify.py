import numpy as np
import pytest
import torch

from noseprint.data.decoding import decode
from noseprint.data.listing import list_photographs
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.inference import classify as module
from noseprint.inference.array_file import write_arrays
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, read_outputs, write_outputs
from noseprint.models import openvino_runtime as runtime
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import save_weights
from noseprint.models.weights_header import fingerprint

CPU = torch.device("cpu")


def build(heads=None, seed=0):
    torch.manual_seed(seed)
    heads = heads or {"label": ["cat", "dog", "bird"]}
    return ClassifierNet("test_efficientnet.r160_in1k", heads=heads, dropout=0.5, image_size=32, pretrained=False)


@pytest.fixture(scope="module")
def paths(demo):
    folder, names = list_photographs(demo / "train" / "images")
    return [folder / name for name in names[:7]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(path, build(), extra={})
    return path


def classified(network, paths, **options):
    return classify_photographs(network, paths, **{"device": CPU, "engine": "torch", "workers": 0} | options)


def test_logits_and_features_are_those_of_each_photograph(paths, weights):
    found = classified(weights, paths, batch_size=3)
    assert (found.classes, found.names) == (("cat", "dog", "bird"), tuple(map(str, paths)))
    network = build().eval()
    for row, path in enumerate(paths):
        pixels = A.Resize(32, 32)(image=decode(path))["image"]
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        with torch.inference_mode():
            np.testing.assert_allclose(found.logits[row], network(image)[0], atol=1e-5)
            np.testing.assert_allclose(found.features[row], network.features(image)[0], atol=1e-5)
    assert found.logits.dtype == found.features.dtype == np.float32


def test_openvino_gives_the_same_and_is_the_default_on_a_cpu(paths, weights, monkeypatch):
    reference = classified(weights, paths)
    compiled = []
    compile_network = runtime.compile_network
    monkeypatch.setattr(runtime, "compile_network", lambda net: compiled.append(net) or compile_network(net))
    monkeypatch.setitem(runtime.MIN_COSINE, "bf16", 1.1)
    found = classify_photographs(weights, paths, device=CPU)
    assert compiled
    np.testing.assert_allclose(found.logits, reference.logits, atol=1e-4)
    np.testing.assert_allclose(found.features, reference.features, atol=1e-4)


def test_a_photograph_that_comes_twice_is_computed_once(paths, weights, monkeypatch):
    computed = []
    embed_with = module.embed_with
    monkeypatch.setattr(module, "embed_with", lambda run, p, **k: computed.append(len(p)) or embed_with(run, p, **k))
    twice = [*paths[:3], *paths[:2]]
    found = classified(weights, twice, names=["a", "b", "c", "d", "e"])
    assert computed == [3]
    assert found.names == ("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(found.logits[[0, 1]], found.logits[[3, 4]])
    assert not np.array_equal(found.logits[0], found.logits[1])


def test_the_transform_is_made_for_the_side_of_the_input(paths, weights):
    plain = classified(weights, paths)
    cropped = classified(weights, paths, transform=lambda side: A.Compose([A.Resize(43, 43), A.CenterCrop(side, side)]))
    assert not np.allclose(plain.logits, cropped.logits)


def test_outputs_are_read_as_they_were_written(paths, weights, tmp_path):
    outputs = classified(weights, paths)
    for name in "xy":
        write_outputs(tmp_path / name, outputs)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    read = read_outputs(tmp_path / "x", network=fingerprint(weights))
    np.testing.assert_array_equal(read.logits, outputs.logits)
    np.testing.assert_array_equal(read.features, outputs.features)
    assert (read.names, read.classes, read.network) == (outputs.names, outputs.classes, fingerprint(weights))
    with pytest.raises(NoseprintError, match=r"another network made it \(.*, not 0123\); classify again"):
        read_outputs(tmp_path / "x", network="0123")


def test_networks_in_memory_have_a_fingerprint_too(paths):
    one, same, other = (classified(build(seed=seed), paths[:1]) for seed in (0, 0, 1))
    assert one.network == same.network != other.network
    assert len(one.network) == 16


def test_files_that_are_no_outputs_are_refused(tmp_path, paths, weights):
    good = classified(weights, paths)
    arrays = {"logits": good.logits, "features": good.features, "names": module.pack_names(good.names)}
    header = {"format": module.FORMAT, "network": "x", "classes": '["cat", "dog", "bird"]'}
    faults = [
        ({**arrays, "names": module.pack_names(good.names[1:])}, header, "is damaged: 6 names"),
        ({**arrays, "logits": good.logits[:, :2].copy()}, header, "3 classes for logits"),
        (arrays, {**header, "classes": "[]"}, "header is damaged"),
        (arrays, {**header, "format": "noseprint embeddings 1"}, "not a table of logits"),
        ({**arrays, "names": np.frombuffer(b"a\0\0b", np.uint8)}, header, "header is damaged"),
    ]
    for number, (wrong, metadata, message) in enumerate(faults):
        write_arrays(tmp_path / str(number), wrong, metadata)
        with pytest.raises(NoseprintError, match=message):
            read_outputs(tmp_path / str(number))
    with pytest.raises(NoseprintError, match="no such table of logits"):
        read_outputs(tmp_path / "missing")
    with pytest.raises(ValueError, match="1 names for 7 rows"):
        write_outputs(tmp_path / "x", ClassifierOutputs(("a",), good.logits, good.features, good.classes, "x"))
    names = ("a\nb", *good.names[1:])
    with pytest.raises(NoseprintError, match=r"1 names are empty or hold control characters.*'a\\nb'"):
        write_outputs(tmp_path / "x", ClassifierOutputs(names, good.logits, good.features, good.classes, "x"))


def test_what_cannot_be_classified_is_refused(paths, tmp_path):
    with pytest.raises(NoseprintError, match="2 heads"):
        classified(build({"a": ["x"], "b": ["y"]}), paths)
    with pytest.raises(NoseprintError, match="no photographs"):
        classified(build(), [])
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(NoseprintError, match=r"broken\.jpg"):
        classified(build(), [tmp_path / "broken.jpg"])
    network = build()
    with torch.no_grad():
        network.heads[0].bias.fill_(float("nan"))
    with pytest.raises(NoseprintError, match="not finite"):
        classified(network, paths)
