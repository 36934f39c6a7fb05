import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from noseprint.errors import NoseprintError
from noseprint.models import weights
from noseprint.models.classifier import ClassifierNet
from noseprint.models.network import SupConNet
from noseprint.models.weights import fingerprint, load_classifier, load_network, read_header, save_weights
from noseprint.models.weights_header import describe_weights


@pytest.fixture
def saved(tiny, tmp_path):
    path = tmp_path / "results" / "best.safetensors"
    tiny.set_pixel_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(path, tiny, extra={"recipe": "swin224 é", "holdout": json.dumps({"auc": 0.9})})
    return path


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    heads = {"kind": ["cat", "dog", "ünlü"], "type": ["a", "b"]}
    return ClassifierNet("test_efficientnet.r160_in1k", heads=heads, pooling="max", image_size=64, pretrained=False)


def rewrite(path, change=lambda tensors: None, **metadata):
    """Rewrite a weights file after `change` was made to its tensors; `metadata` replaces entries of its header."""
    tensors = load_file(path)
    change(tensors)
    with safe_open(path, framework="np") as file:
        header = {key: value for key, value in file.metadata().items() if key not in ("recipe", "holdout")}
    save_file(tensors, path, metadata={key: value for key, value in (header | metadata).items() if value is not None})


def to_format_1(path):
    """Turn a weights file into one as noseprint wrote it before format 2."""

    def rename(tensors):
        for key in list(tensors):
            tensors[key.replace("backbone.model.", "trunk.backbone.")] = tensors.pop(key)

    rewrite(path, rename, format="noseprint weights 1", trunk=read_header(path).backbone, backbone=None, kind=None)


def test_a_network_comes_back_from_its_file_alone(tiny, saved, images):
    network = load_network(saved)
    assert not network.training
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in tiny.state_dict().items())
    assert torch.equal(network.embed(images), tiny.eval().embed(images))
    assert (network.backbone_name, network.image_size, network.descriptors, network.dim) == (
        "test_efficientnet.r160_in1k", 64, "SM", 8)  # fmt: skip
    assert network.std == (0.4, 0.5, 0.6)
    header = read_header(saved)
    assert header.extra == {"recipe": "swin224 é", "holdout": '{"auc": 0.9}'}
    assert (header.backbone, header.mean) == ("test_efficientnet.r160_in1k", (0.1, 0.2, 0.3))


def test_the_same_network_gives_the_same_bytes_in_another_process(saved, tmp_path):
    """safetensors itself orders the header differently for every file."""
    again = tmp_path / "again.safetensors"
    code = (
        "import sys, pathlib; from noseprint.models.weights import *; one, two = map(pathlib.Path, sys.argv[1:]);"
        "save_weights(two, load_network(one), extra=read_header(one).extra)"
    )
    subprocess.run([sys.executable, "-c", code, saved, again], check=True)
    assert saved.read_bytes() == again.read_bytes()
    assert fingerprint(saved) == fingerprint(again)
    assert list(tmp_path.rglob("*.part")) == []


def test_the_fingerprint_depends_on_the_weights(saved):
    before = fingerprint(saved)
    rewrite(saved, lambda tensors: tensors["heads.0.weight"].add_(1))
    assert fingerprint(saved) != before


@pytest.mark.parametrize("size", [None, 96])
def test_a_classifier_comes_back_from_its_file_alone(classifier, tmp_path, images, size):
    path = tmp_path / "best.safetensors"
    classifier.set_pixel_statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_weights(path, classifier, extra={})
    network = load_classifier(path, image_size=size)
    assert not network.training
    assert (network.classes, network.pooling) == (classifier.classes, "max")
    assert (network.image_size, network.std) == (size or 64, (0.4, 0.5, 0.6))
    expected = classifier.eval()(images)
    assert all(torch.equal(logits, expected[name]) for name, logits in network(images).items())
    assert describe_weights(path)["heads"] == {"kind": 3, "type": 2}


def test_each_loader_refuses_the_other_kind_of_network(saved, classifier, tmp_path):
    path = tmp_path / "classifier.safetensors"
    save_weights(path, classifier, extra={})
    with pytest.raises(NoseprintError, match="holds a classifier; give the weights of an embedding network"):
        load_network(path)
    with pytest.raises(NoseprintError, match="holds an embedding network; give the weights of a classifier"):
        load_classifier(saved)


def test_a_file_of_format_1_gives_the_same_network(tiny, saved, images):
    to_format_1(saved)
    with safe_open(saved, framework="np") as file:
        assert any(key.startswith("trunk.backbone.blocks.") for key in file.keys())  # noqa: SIM118
        assert not {"backbone", "kind"} & set(file.metadata())
    network = load_network(saved, backbone="test_efficientnet.r160_in1k")
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in tiny.state_dict().items())
    assert torch.equal(network.embed(images), tiny.eval().embed(images))
    described = describe_weights(saved)
    assert (described["format"], described["backbone"]) == ("noseprint weights 1", "test_efficientnet.r160_in1k")


def test_only_files_of_format_1_use_its_names(saved):
    to_format_1(saved)
    rewrite(saved, format="noseprint weights 2", kind="embedding", backbone=read_header(saved).backbone)
    with pytest.raises(NoseprintError, match=r"\d+ missing .*unexpected \(trunk"):
        load_network(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("heads.1.weight"), r"1 missing \(heads\.1\.weight\)"),
        (lambda t: t.update(stray=torch.zeros(1)), r"1 unexpected \(stray\)"),
        (
            lambda t: t.update({"heads.0.weight": torch.zeros(2, 2)}),
            r"1 wrongly shaped \(heads\.0\.weight: \(2, 2\), not \(4, 256\)\)",
        ),
        (lambda t: t["heads.0.weight"].view(-1)[3].fill_(float("nan")), r"1 not finite \(heads\.0\.weight\)"),
        (lambda t: t.update({"heads.0.weight": t["heads.0.weight"].half()}), "weight: F16, not float32"),
        (lambda t: t.update({"heads.0.weight": t["heads.0.weight"].bfloat16()}), "1 wrongly typed .*BF16"),
        (lambda t: t.update({"heads.0.weight": t["heads.0.weight"].int()}), "1 wrongly typed"),
        (lambda t: t.update({"heads.0.weight": t["heads.0.weight"].to(torch.complex64)}), "1 wrongly typed"),
        (lambda t: [t.pop(key) for key in list(t)[:5]], r"5 missing \(.*, \.\.\.\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(NoseprintError, match=message):
        load_network(saved)


def test_tensors_that_do_not_fit_change_nothing(tiny):
    before = {key: tensor.clone() for key, tensor in tiny.state_dict().items()}
    other = {key: torch.ones_like(tensor) for key, tensor in before.items()}
    other["heads.1.weight"][0, 0] = torch.nan
    with pytest.raises(NoseprintError, match="file: 1 not finite"):
        weights.check_tensors(tiny, other, path="file")
    with pytest.raises(NoseprintError, match="1 wrongly typed"):
        weights.check_tensors(tiny, before | {"heads.1.weight": before["heads.1.weight"].half()}, path="file")
    assert all(torch.equal(before[key], tensor) for key, tensor in tiny.state_dict().items())


def test_weights_of_another_backbone_are_refused_on_request(saved):
    with pytest.raises(NoseprintError, match=r"its backbone is test_efficientnet\.r160_in1k, not resnet10t"):
        load_network(saved, backbone="resnet10t.c3_in1k")


def test_files_that_are_not_weights_are_refused(saved, tmp_path):
    with pytest.raises(NoseprintError, match="no such weights file"):
        read_header(tmp_path / "absent.safetensors")
    bad = tmp_path / "bad.safetensors"
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    for content, says in (
        (b"", "empty"),
        (b"not a safetensors file at all", "header too large"),
        (saved.read_bytes()[:-100], "not fully covered|incomplete"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ((tmp_path / "a.pth").read_bytes(), r"does not end in \.pth"),
    ):
        bad.write_bytes(content)
        with pytest.raises(NoseprintError, match=f"not a safetensors file, or only part of one .*({says})"):
            read_header(bad)
    with pytest.raises(NoseprintError, match=r"a\.pth: a PyTorch file by its name.*give the best\.safetensors"):
        read_header(tmp_path / "a.pth")
    os.mkfifo(tmp_path / "pipe.safetensors")
    for other in (tmp_path, tmp_path / "pipe.safetensors"):
        with pytest.raises(NoseprintError, match="not a regular file"):
            read_header(other)
    save_file({"a": torch.zeros(1)}, bad)
    with pytest.raises(NoseprintError, match=r"another program's \('none'\): 1 tensors \(a\), 1 numbers"):
        read_header(bad)
    header = {"format": "noseprint weights 1", "backbone": "x", "image_size": "?"}
    save_file({"a": torch.zeros(1)}, bad, metadata=header)
    with pytest.raises(NoseprintError, match="damaged header"):
        read_header(bad)


def test_extra_cannot_overwrite_the_header(tiny, tmp_path):
    with pytest.raises(ValueError, match="backbone"):
        save_weights(tmp_path / "x.safetensors", tiny, extra={"backbone": "other"})
    assert list(tmp_path.iterdir()) == []


def raw(header, body=b""):
    """A file with these header bytes."""
    return len(header).to_bytes(8, "little") + header + body


def entry(start, end, shape="[1]", dtype="F32"):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}'


@pytest.mark.parametrize(
    "content",
    [
        (2**60).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        raw(b"{"),
        raw(b"[]"),
        raw(b'{"a":' + entry(0, 4).encode() + b"}"),  # nothing after the header
        raw(b'{"a":' + entry(0, 10**12, "[250000000000]").encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(4, 0).encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(-4, 0).encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(0, 4, "[2]").encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(0, 4, "[4294967296,4294967296]").encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(0, 4, dtype="Q8").encode() + b"}", b"1234"),
        raw(b'{"a":' + entry(0, 4).encode() + b',"b":' + entry(2, 6).encode() + b"}", b"123456"),  # overlapping
        raw(b'{"a":' + entry(0, 4).encode() + b',"b":' + entry(8, 12).encode() + b"}", b"123456789012"),  # a hole
        raw(b'{"a":' + entry(0, 4).encode() + b',"a":' + entry(4, 8).encode() + b"}", b"12345678"),  # a key twice
        raw(b'{"a":' + entry(0, 4).encode() + b"}", b"12345678"),  # more than the header mentions
        raw(b'{"__metadata__":{"format":1}}'),
        raw(b'{"__metadata__":' + b'{"a":' * 100_000),
        raw(b"[" * 1_000_000),
        raw(b'{"\xff":1}'),
    ],
)
def test_a_false_safetensors_header_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(NoseprintError, match=r"bad\.safetensors: not a safetensors file, or only part of one"):
        load_network(path)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"image_size": "1000000000"}, "image_size 1000000000, must be in 16..4096"),
        ({"image_size": "9" * 5000}, "damaged header"),
        ({"dim": "-1"}, "dim -1, must be"),
        ({"dim": "1000000"}, "dim 1000000, must be"),
        ({"dim": "65536"}, "2 wrongly shaped"),
        ({"backbone": "../../x"}, "backbone '../../x'"),
        ({"backbone": "hf_hub:timm/resnet18"}, "backbone 'hf_hub:timm/resnet18'"),
        ({"backbone": "local-dir:/tmp"}, "backbone 'local-dir"),
        ({"backbone": "resnet18"}, "is not a timm name with its tag"),
        ({"backbone": "x" * 10**6}, "damaged header"),
        ({"backbone": "eva02_enormous_patch14_clip_224.laion2b", "image_size": "224"}, "does not fit eva02_enormous"),
        ({"backbone": "swin_base_patch4_window7_224.ms_in22k", "image_size": "4096"}, "does not fit swin_base"),
        ({"descriptors": "SS"}, "each once"),
        ({"descriptors": "\x1b[31m"}, r"descriptors '\\x1b"),
        ({"mean": "[NaN,0,0]"}, "three numbers"),
        ({"mean": "[0,0]"}, "three numbers"),
        ({"mean": "[" * 100_000}, "RecursionError"),
        ({"mean": "[1" + "0" * 400 + ",0,0]"}, "OverflowError"),
        ({"std": "[0,1,1]"}, "three numbers"),
        ({"std": "[-1,1,1]"}, "three numbers"),
        ({"std": "null"}, "damaged header"),
        ({"calibration": "not JSON"}, "damaged header"),
        ({"calibration": "[1,2]"}, "not a table"),
        ({"calibration": '{"slope": 1e999, "intercept": 0}'}, "calibration"),
        ({"holdout": '{"auc": "0.9"}'}, "holdout"),
        ({"holdout": '{"auc": [0.9]}'}, "holdout"),
        ({"holdout": '{"a":' * 100_000}, "RecursionError"),
        ({"training": '{"holdout": [0.05]}'}, "training"),
        ({"training": '{"holdout": "0.05"}'}, "training"),
        ({"training": "5"}, "not a table"),
        ({"recipe": "a\nb"}, "recipe"),
        ({"kind": "detector"}, "kind 'detector'"),
        ({"format": "noseprint weights 1"}, "KeyError: 'trunk'"),
    ],
)
def test_a_false_header_of_noseprint_is_refused(saved, lie, says):
    rewrite(saved, **lie)
    with pytest.raises(NoseprintError, match=says) as error:
        load_network(saved)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"heads": None}, "KeyError: 'heads'"),
        ({"heads": "[1]"}, "not a table"),
        ({"heads": "{}"}, "at least one"),
        ({"heads": '{"kind": "cat"}'}, "not a list of names"),
        ({"heads": '{"kind": ["cat", 1]}'}, "not a list of names"),
        ({"heads": '{"kind": ["cat", "cat"]}'}, "each once"),
        ({"heads": '{"kind": []}'}, "between 1 and"),
        ({"heads": '{"kind": ["\\u001b[2J"]}'}, "needs a printable name"),
        ({"heads": '{"": ["cat"]}'}, "head ''"),
        ({"heads": '{"kind": [""]}'}, "needs a printable name"),
        ({"heads": '{"kind": ["", "a", "\\u0007", "\\u2028"]}'}, r"characters, unlike '', '\\x07', '\\u2028'"),
        ({"heads": '{"kind": ["a\\u3000", "b\\u202f", "c\\u200d"]}'}, "2 wrongly shaped|2 unexpected"),
        ({"heads": '{"kind": ["cat", "dog", "bird"], "type": ["a"]}'}, "2 wrongly shaped"),
        ({"heads": '{"kind": ["cat", "dog", "bird"]}'}, "2 unexpected"),
        ({"pooling": "average"}, "pooling 'average'"),
        ({"pooling": "token"}, "no class token"),
        ({"pooling": "\x1b[31m"}, "damaged header"),
    ],
)
def test_a_false_header_of_a_classifier_is_refused(classifier, tmp_path, lie, says):
    path = tmp_path / "best.safetensors"
    save_weights(path, classifier, extra={})
    rewrite(path, **lie)
    with pytest.raises(NoseprintError, match=says):
        load_classifier(path)


def test_a_header_can_neither_take_memory_nor_contact_a_host(saved):
    """A backbone of 16 GiB, and one with 8 GiB of attention masks, in a process with 2 GiB to spare and no sockets."""
    code = """
import resource, socket, sys
from pathlib import Path
from noseprint.errors import NoseprintError
from noseprint.models.weights import load_network
def refuse(*_, **__):
    raise SystemExit("a socket was opened")
socket.socket = refuse
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
for name in sys.argv[1:]:
    try:
        load_network(Path(name))
    except NoseprintError as error:
        print(error)
"""
    lies = {"eva02_enormous_patch14_clip_224.laion2b": 224, "swin_base_patch4_window12_384.ms_in22k": 4096}
    files = [saved.with_name(f"{backbone}.safetensors") for backbone in lies]
    for file, (backbone, size) in zip(files, lies.items(), strict=True):
        shutil.copy(saved, file)
        rewrite(file, backbone=backbone, image_size=str(size))
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True)
    assert all(f"does not fit {backbone}" in done.stdout for backbone in lies), done.stderr


def test_another_image_size_is_used_or_refused(saved, tmp_path, monkeypatch):
    """A convolutional backbone takes any size; one with windows or position embeddings takes its own only."""
    assert load_network(saved).image_size == 64
    assert load_network(saved, image_size=96).image_size == 96
    path = tmp_path / "fixed.safetensors"
    for backbone, size in (("test_vit.r160_in1k", 64), ("swin_tiny_patch4_window7_224.ms_in1k", 224)):
        save_weights(path, SupConNet(backbone, dim=8, image_size=size, pretrained=False), extra={})
        says = f"was trained at {size} pixels and takes no other size, not 256"
        with pytest.raises(NoseprintError, match=says):
            load_network(path, image_size=256)
    # The tensors of windows do not depend on the image size; the attention masks do, and they are not in the file.
    rewrite(path, image_size="4096")
    monkeypatch.setattr(weights, "_SPARE_BYTES", 0)
    with pytest.raises(NoseprintError, match=r"takes 0\.4 GiB at 4096 pixels; choose a smaller size"):
        load_network(path)
    path.unlink()


def test_weights_of_another_recipe_are_refused_on_request(saved):
    load_network(saved, recipe="swin224 é")
    says = "these are the weights of swin224 é, not of v2; put each file under its own name"
    with pytest.raises(NoseprintError, match=says):
        load_network(saved, recipe="v2")
    rewrite(saved)
    load_network(saved, recipe="v2")
