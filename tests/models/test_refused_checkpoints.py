"""Files that are damaged, harmful or no published checkpoint are refused with the reason."""

import argparse
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.published import describe_published, load_published

from .conftest import hollow, kind_of, prefixed, published, zeros


@pytest.mark.parametrize(
    "fault", ["missing", "unexpected", "a second time", "wrongly shaped", "not finite", "the same tensor"]
)
def test_a_checkpoint_that_does_not_fit_exactly_is_refused(real_network, file, fault):
    name, _, network = real_network
    table = published(hollow(network.state_dict()), kind_of(name))
    key = next(key for key in table if re.search(r"blocks\.1\..*weight", key) or re.search(r"3\.1\.1\..*weight", key))
    named = key
    if fault == "missing":
        del table[key]
        fault = "1 missing"
        named = ""
    elif fault == "unexpected":
        named = "features.3.extra.weight" if name.startswith("swin") else "features.9.weight"
        table[named] = torch.zeros(1)
    elif fault == "wrongly shaped":
        table[key] = torch.zeros(*table[key].shape, 2)
    elif fault == "not finite":
        table[key] = torch.full((), float("inf")).expand(table[key].shape)
    elif fault == "a second time":
        fault, named = "1 unexpected", f"module.{key}"
        table[named] = table[key]
    else:
        table[f"_orig_mod.{key}"] = table[key]
    torch.save(table, file)
    with pytest.raises(NoseprintError) as described:
        describe_published(file)
    version = network.heads[0].weight._version
    with pytest.raises(NoseprintError, match=rf"{fault}.*{re.escape(named)}|{re.escape(named)}.*{fault}") as loaded:
        load_published(file, network)
    assert str(described.value) == str(loaded.value)
    assert network.heads[0].weight._version == version


@pytest.mark.parametrize(
    ("actual", "key", "shape"),
    [
        ("swin224", "features.2.0.blocks.0.attn.relative_position_bias_table", (169, 4)),
        ("swin384", "features.2.0.blocks.0.attn.relative_position_bias_table", (529, 4)),
        ("v2", "features.4.weight", (1280, 640, 1, 1)),
        ("b7ns", "features.4.weight", (2560, 640, 1, 1)),
    ],
)
def test_a_file_of_another_network_is_recognised(real_network, file, actual, key, shape):
    name, _, network = real_network
    torch.save({key: torch.zeros(shape)}, file)
    message = "missing" if actual == name else f"looks like {actual}, the folder expects {name}"
    with pytest.raises(NoseprintError, match=message):
        load_published(file, network)


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("write", [torch.save, lambda table, path: path.write_bytes(pickle.dumps(table))])
def test_code_in_a_file_is_refused_and_never_runs(tiny, file, tmp_path, write):
    trace = tmp_path / "trace"
    write({"features.0.weight": Payload(trace)}, file)
    says = r"it holds more than tensors|a Python pickle|none of its code was executed"
    with pytest.raises(NoseprintError, match=says):
        load_published(file, tiny)
    assert not trace.exists()
    # The payload is live: a plain unpickling runs it.
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.empty(2**50, device="meta"), "features.0.weight is sparse, quantised or without values"),
        (torch.zeros(1).to_sparse(), "features.0.weight is sparse, quantised or without values"),
        (torch.zeros(1, dtype=torch.float16).expand(2**50), "1 wrongly shaped|unexpected"),
        (torch.zeros(1).expand(2**50), "1 wrongly shaped|unexpected"),
        (torch.zeros(1, dtype=torch.complex64), "1 wrongly shaped"),
    ],
)
def test_unusual_tensors_are_refused(tiny, file, value, says, legacy):
    torch.save({"features.0.weight": value}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(NoseprintError, match=says):
        load_published(file, tiny)


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "complex64", "float8_e4m3fn"])
def test_numbers_that_are_not_floating_point_are_refused(tiny, file, dtype):
    table = published(tiny.state_dict(), "eff")
    table["features.0.weight"] = table["features.0.weight"].to(getattr(torch, dtype))
    torch.save(table, file)
    with pytest.raises(NoseprintError, match=rf"1 wrongly typed \(features\.0\.weight: {dtype}, not float32\)"):
        load_published(file, tiny)


class Options(argparse.Namespace):
    """What training programs save beside the weights."""


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda t: {"student": t, "teacher": zeros(t)}, "of several networks ('student', 'teacher'); save one of them"),
        (lambda t: {"ema": {"student": t, "teacher": zeros(t)}}, "of several networks ('ema.student', 'ema.teacher')"),
        (lambda t: prefixed("q.", t) | prefixed("k.", t), "of several networks ('q.', 'k.')"),
        (lambda t: {"epoch": 3, "args": {}}, "not a table of named tensors (keys epoch, args); give the network's"),
        (lambda t: {1: torch.zeros(1)}, "not a table of named tensors (keys 1)"),
        (lambda t: [t], "not a table of named tensors (list)"),
        (lambda t: torch.zeros(3), "not a table of named tensors (Tensor)"),
        (lambda t: {"model": {key: one for key, one in t.items() if key != "features.0.weight"}},
         "1 missing (backbone.model.conv_stem.weight)"),
        (lambda t: {"model": {**t, "features.0.weight": [1.0, 2.0]}}, "1 missing (backbone.model.conv_stem.weight)"),
        (lambda t: torch.nn.Linear(2, 2), "it holds more than tensors: torch.nn.modules.linear.Linear); none of its"),
        (lambda t: {"model": t, "args": Options(lr=1)}, "Options); none of its code was executed; save its"),
    ],
)  # fmt: skip
def test_what_holds_no_single_network_is_named(tiny, file, wrap, says):
    torch.save(wrap(published(tiny.state_dict(), "eff")), file)
    with pytest.raises(NoseprintError, match=re.escape(says)):
        load_published(file, tiny)


@pytest.mark.parametrize("numbers", [torch.zeros(2**20), torch.randint(-(2**62), 2**62, (2**12,))])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tiny, file, tmp_path, numbers):
    """Random numbers do not shrink, but torch would still take the compressed bytes for numbers."""
    torch.save({"features.0.weight": numbers}, tmp_path / "honest.pth")
    with zipfile.ZipFile(tmp_path / "honest.pth") as honest, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in honest.infolist():
            bomb.writestr(entry.filename, honest.read(entry))
    with pytest.raises(NoseprintError, match="it is compressed"):
        load_published(file, tiny)


def rewrite(file, change):
    """The same zip with its table of contents changed and correct checksums."""
    with zipfile.ZipFile(file) as archive:
        contents = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents:
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


def test_a_table_that_claims_more_numbers_than_the_file_holds_is_refused(tiny, file):
    torch.save({"features.0.weight": torch.zeros(2**20)}, file)
    true, false = (b"J" + count.to_bytes(4, "little") for count in (2**20, 2**31 - 1))
    rewrite(file, lambda table: table)
    with pytest.raises(NoseprintError, match="does not fit"):
        load_published(file, tiny)
    rewrite(file, lambda table: table.replace(true, false))
    with pytest.raises(NoseprintError, match="not a PyTorch file of tensors"):
        load_published(file, tiny)


def test_a_flipped_bit_is_noticed(tiny, file):
    torch.save(published(tiny.state_dict(), "eff"), file)
    load_published(file, tiny)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(NoseprintError, match=r"not a PyTorch file .*data/\d+ is damaged"):
        load_published(file, tiny)


def test_files_that_are_not_checkpoints_are_refused(tiny, file, tmp_path):
    with pytest.raises(NoseprintError, match="no such checkpoint"):
        load_published(file, tiny)
    torch.save({"a": torch.zeros(100)}, file)
    whole = file.read_bytes()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("holiday.jpg", b"x")
    for content, says in (
        (b"", "empty"),
        (b"<html>sign in to download</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (whole[: len(whole) // 2], "a zip"),
        ((tmp_path / "other.zip").read_bytes(), ".*in a subdirectory"),
        (pickle.dumps([1, 2]), "a Python pickle, which noseprint never runs"),
        (b"\x1f\x8b" + whole[: len(whole) // 2], "compressed"),
    ):
        file.write_bytes(content)
        expected = rf"member\.pth: not a PyTorch file of tensors, or only part of one \({says}"
        with pytest.raises(NoseprintError, match=expected):
            load_published(file, tiny)
    file.unlink()
    os.mkfifo(file)
    for other in (file, tmp_path):
        with pytest.raises(NoseprintError, match="no such checkpoint"):
            load_published(other, tiny)


def test_descriptors_in_another_order_are_refused(file):
    network = SupConNet("test_efficientnet.r160_in1k", descriptors="MS", dim=8, image_size=64, pretrained=False)
    with pytest.raises(NoseprintError, match="SM"):
        load_published(file, network)


def test_a_foreign_checkpoint_is_described_in_the_refusal(file, tiny):
    torch.save(tiny.state_dict(), file)
    says = r"none of the four published checkpoints: \d+ tensors \(backbone\.model\.conv_stem\.weight"
    for read in (describe_published, lambda path: load_published(path, tiny)):
        with pytest.raises(NoseprintError, match=says):
            read(file)
    torch.save({"features.4.weight": torch.full((1280, 640, 1, 1), torch.nan)}, file)
    with pytest.raises(NoseprintError, match=r"\d+ missing \(backbone\.model"):
        describe_published(file)
    torch.save({"features.4.weight": torch.zeros(1280, 640, 1, 1), "x": torch.zeros(1).expand(2**50)}, file)
    with pytest.raises(NoseprintError, match=r"1 unexpected \(x\)"):
        describe_published(file)
    torch.save({"features.4.weight": torch.zeros(1280, 640, 1, 1), "main_modules.0.0.weight": torch.zeros(())}, file)
    with pytest.raises(NoseprintError, match=r"1 wrongly shaped \(main_modules\.0\.0\.weight: \(\), not \(256, 1280\)"):
        describe_published(file)


def test_control_codes_in_a_key_do_not_reach_the_terminal(file, tiny):
    stray = {"\x1b[2J" + "x" * 10**6: torch.zeros(1)}
    for table, says in ((stray, r"1 tensors \(\\x1b"), (stray | {"features.0.weight": torch.zeros(1)}, r"\(\\x1b")):
        torch.save(table, file)
        with pytest.raises(NoseprintError, match=says) as error:
            load_published(file, tiny)
        assert len(str(error.value)) < 1000


def test_a_zip_that_claims_a_second_disk_is_refused(tiny, file):
    torch.save({"a": torch.ones(1)}, file)
    data = bytearray(file.read_bytes())
    data[data.rindex(b"PK\x06\x07") + 4] = 1  # the number of the disk: zipfile.is_zipfile raises
    file.write_bytes(data)
    with pytest.raises(NoseprintError, match="not a PyTorch file of tensors"):
        load_published(file, tiny)
