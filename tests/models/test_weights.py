import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.weights import fingerprint, load_network, load_weights, read_header, save_weights


@pytest.fixture
def saved(tiny, tmp_path):
    path = tmp_path / "results" / "best.safetensors"
    tiny.set_pixel_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(path, tiny, extra={"recipe": "swin224 é", "holdout": json.dumps({"auc": 0.9})})
    return path


def changed(path, change):
    """Rewrite a weights file with its own header after `change` was made to its tensors."""
    tensors = load_file(path)
    change(tensors)
    header = read_header(path)
    save_file(
        tensors,
        path,
        metadata={"format": "noseprint weights 1", "trunk": header.trunk, "image_size": "64", "mean": "[0,0,0]",
                  "std": "[1,1,1]", "descriptors": "SM", "dim": "8", "version": "0"},
    )  # fmt: skip


def test_a_network_comes_back_from_its_file_alone(tiny, saved, images):
    network = load_network(saved)
    assert not network.training
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in tiny.state_dict().items())
    assert torch.equal(network.embed(images), tiny.eval().embed(images))
    assert (network.trunk_name, network.image_size, network.descriptors, network.dim) == (
        "test_efficientnet.r160_in1k", 64, "SM", 8)  # fmt: skip
    assert network.std == (0.4, 0.5, 0.6)


def test_the_header_tells_what_was_given(saved):
    header = read_header(saved)
    assert header.extra == {"recipe": "swin224 é", "holdout": '{"auc": 0.9}'}
    assert (header.trunk, header.mean) == ("test_efficientnet.r160_in1k", (0.1, 0.2, 0.3))


def test_the_same_network_gives_the_same_bytes_in_another_process(saved, tmp_path):
    """safetensors leaves the header in an order drawn anew for every file."""
    again = tmp_path / "again.safetensors"
    code = (
        "import sys, pathlib; from noseprint.models.weights import *; one, two = map(pathlib.Path, sys.argv[1:]);"
        "save_weights(two, load_network(one), extra=read_header(one).extra)"
    )
    subprocess.run([sys.executable, "-c", code, saved, again], check=True)
    assert saved.read_bytes() == again.read_bytes()
    assert fingerprint(saved) == fingerprint(again)
    assert list(tmp_path.rglob("*.part")) == []


def test_the_fingerprint_follows_the_weights(saved):
    before = fingerprint(saved)
    changed(saved, lambda tensors: tensors["heads.0.weight"].add_(1))
    assert fingerprint(saved) != before


def test_pixel_statistics_follow_the_weights(saved):
    network = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False)
    load_weights(saved, network)
    assert network.mean == (0.1, 0.2, 0.3)
    assert network.pixel_mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("heads.1.weight"), r"1 missing \(heads\.1\.weight\)"),
        (lambda t: t.update(stray=torch.zeros(1)), r"1 unexpected \(stray\)"),
        (lambda t: t.update({"heads.0.weight": torch.zeros(2, 2)}), r"1 wrongly shaped \(heads\.0\.weight\)"),
        (lambda t: t["heads.0.weight"].view(-1)[3].fill_(float("nan")), r"1 not finite \(heads\.0\.weight\)"),
        (lambda t: [t.pop(key) for key in list(t)[:5]], r"5 missing \(.*, \.\.\.\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_change_nothing(tiny, saved, change, message):
    changed(saved, change)
    before = {key: tensor.clone() for key, tensor in tiny.state_dict().items()}
    with pytest.raises(NoseprintError, match=message):
        load_weights(saved, tiny)
    assert all(torch.equal(before[key], tensor) for key, tensor in tiny.state_dict().items())
    assert tiny.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk_name": "resnet10t.c3_in1k"}, "its trunk is test_efficientnet"),
        ({"descriptors": "MS"}, "its descriptors is SM"),
        ({"dim": 16}, "its dim is 8"),
    ],
)
def test_weights_of_another_network_are_refused(saved, options, message):
    given = {"trunk_name": "test_efficientnet.r160_in1k", "dim": 8, "image_size": 64, "pretrained": False} | options
    with pytest.raises(NoseprintError, match=message):
        load_weights(saved, SupConNet(**given))


def test_files_of_other_kinds_are_refused(saved, tmp_path):
    with pytest.raises(NoseprintError, match="no such weights file"):
        read_header(tmp_path / "absent.safetensors")
    bad = tmp_path / "bad.safetensors"
    for content in (b"", b"not a safetensors file at all", saved.read_bytes()[:-100]):
        bad.write_bytes(content)
        with pytest.raises(NoseprintError, match="not a safetensors file, or only part"):
            read_header(bad)
    save_file({"a": torch.zeros(1)}, bad)
    with pytest.raises(NoseprintError, match="another program"):
        read_header(bad)
    save_file({"a": torch.zeros(1)}, bad, metadata={"format": "noseprint weights 1", "trunk": "x", "image_size": "?"})
    with pytest.raises(NoseprintError, match="damaged header"):
        read_header(bad)


def test_extra_cannot_overwrite_the_header(tiny, tmp_path):
    with pytest.raises(ValueError, match="trunk"):
        save_weights(tmp_path / "x.safetensors", tiny, extra={"trunk": "other"})
    assert list(tmp_path.iterdir()) == []
