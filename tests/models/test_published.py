"""Imitations of the published checkpoints: today's tensors under the names of 2022, by a map written for the tests."""

import argparse
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.published import IMAGENET_MEAN, IMAGENET_STD, describe_published, load_published


def old_name(key: str, kind: str) -> str:
    """The key of 2022 for today's key, by the position of each child in the old nn.Sequential."""
    part, _, rest = key.partition(".")
    if part == "heads":
        return f"main_modules.{rest[0]}.0.weight"
    words = rest.removeprefix("model.").split(".")
    if kind == "eff":
        position = ["conv_stem", "bn1", "act1", "blocks", "conv_head", "bn2"].index(words[0])
        return ".".join(["features", str(position), *words[1:]])
    if words[0] == "layers":
        stage = int(words[1]) - 1 if words[2] == "downsample" else int(words[1])
        return ".".join(["features", "2", str(stage), *words[2:]])
    return ".".join(["features", {"patch_embed": "0", "norm": "3"}[words[0]], *words[1:]])


def published(state, kind):
    """A checkpoint of 2022 with these tensors, and the extra entries of the operation counter and the old Swin."""
    table = {old_name(key, kind): tensor for key, tensor in state.items()}
    extras = {"total_ops": torch.zeros(1, dtype=torch.float64), "total_params": torch.zeros(1, dtype=torch.float64)}
    for parent in {key.rpartition(".")[0] for key in table}:
        extras[f"{parent}.total_ops"] = torch.zeros(1, dtype=torch.float64)
        extras[f"{parent}.total_params"] = torch.zeros(1, dtype=torch.float64)
    for key in table:
        if block := re.fullmatch(r"(features\.2\.(\d)\.blocks\.(\d+))\.norm1\.weight", key):
            extras[f"{block[1]}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
            if int(block[3]) % 2 and int(block[2]) < 3:
                extras[f"{block[1]}.attn_mask"] = torch.zeros(4, 49, 49)
    if kind == "swin":
        assert sum(key.endswith(("relative_position_index", "attn_mask")) for key in extras) == 35
    return extras | table


def kind_of(name):
    return "swin" if name.startswith("swin") else "eff"


def hollow(state):
    """The same keys and shapes, stored as one number each: quick to write."""
    return {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in state.items()}


@torch.no_grad()
def randomise(network):
    generator = torch.Generator().manual_seed(5)
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif key.endswith("running_var") or (tensor.ndim == 1 and key.endswith("weight")):
            tensor.copy_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))
        else:
            tensor.add_(torch.empty(tensor.shape).normal_(0, 0.01, generator=generator))


@torch.no_grad()
def overwrite(network):
    for tensor in network.state_dict().values():
        tensor.fill_(1)
    network.set_pixel_statistics((0.5,) * 3, (0.5,) * 3)


def probe(size):
    return torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "member.pth"
    yield path
    path.unlink(missing_ok=True)  # pytest keeps its folders, and these files are large


@torch.no_grad()
def test_a_published_network_loads_to_the_same_bits(real_network, file):
    name, member, network = real_network
    randomise(network)
    network.set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)
    network.eval()
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = probe(member.image_size)
    used, trained = network.embed(images), network(images)
    assert torch.isfinite(used).all()
    table = published(state, kind_of(name))
    torch.save(table, file)

    described = describe_published(file)
    assert (described["network"], described["image_size"], described["dim"]) == (name, member.image_size, 512)
    assert described["parameters"] == sum(weight.numel() for weight in network.parameters())

    overwrite(network)
    load_published(file, network)
    assert (network.mean, network.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())
    assert torch.equal(network.embed(images), used)
    assert torch.equal(network(images), trained)

    weights = [key for key in table if key.startswith("features.") and key.endswith("weight") and table[key].ndim > 1]
    key = weights[len(weights) // 2]
    table[key] = table[key].flip(0)
    torch.save(table, file)
    load_published(file, network)
    assert (network.embed(images) - used).abs().max() > 1e-6


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


@pytest.mark.parametrize("counters", ["kept", "converted"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_another_precision_is_converted_to_float32_and_said(tiny, file, capsys, dtype, counters):
    """Also where the counters of BatchNorm were converted, too: 100,000 is infinite in float16."""
    number = getattr(torch, dtype)
    randomise(tiny)
    for key, tensor in tiny.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(100_000)
    state = {key: tensor.clone() for key, tensor in tiny.state_dict().items()}
    convert = [key for key, tensor in state.items() if counters == "converted" or tensor.is_floating_point()]
    torch.save(published(state | {key: state[key].to(number) for key in convert}, "eff"), file)
    overwrite(tiny)
    load_published(file, tiny)
    assert capsys.readouterr().err == f"{file}: converts {len(convert)} tensors from {dtype} to float32\n"
    loaded = tiny.state_dict()
    for key, tensor in state.items():
        assert loaded[key].dtype == tensor.dtype
        if tensor.is_floating_point():
            assert torch.equal(loaded[key], tensor.to(number).float())
        else:
            converted = {"float16": 0, "bfloat16": 99_840, "float64": 100_000}[dtype]
            assert loaded[key] == (100_000 if counters == "kept" else converted)


class Options(argparse.Namespace):
    """What training programs save beside the weights."""


@torch.enable_grad()
def beside():
    """Counters, options, scores and the state of an optimizer that has made a step."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    args = argparse.Namespace(lr=0.1, out=Path("runs"), sizes=[1, 2])
    return {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "args": args,
        "best": np.float64(0.5),
        "torch": torch.__version__,
        "losses": np.ones(3),
    }


@torch.no_grad()
@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda t: {"state_dict": t}, "reads state_dict"),
        (lambda t: {"state_dict": t, **beside()}, "reads state_dict; leaves out epoch, optimizer, args, best, torch,"),
        (lambda t: {**beside(), "model": t}, "reads model; leaves out epoch, optimizer, args, best"),
        (lambda t: {"epoch": 3, "model_state_dict": t}, "reads model_state_dict; leaves out epoch"),
        (lambda t: {"net": t, "acc": 0.9}, "reads net; leaves out acc"),
        (lambda t: {"ema": t}, "reads ema"),
        (lambda t: {"ema": {"decay": 0.9, "shadow": t}}, "reads ema.shadow"),
        (lambda t: {"checkpoint": {"weights": {"student": t}}}, "reads checkpoint.weights.student"),
        (lambda t: {"model": zeros(t), "ema": t}, "reads ema; leaves out model"),
        (lambda t: {"state_dict": zeros(t), "state_dict_ema": t}, "reads state_dict_ema; leaves out state_dict"),
        (lambda t: {"epoch": 3, **t}, "leaves out epoch"),
        (lambda t: {"model": prefixed("module.", t)}, "reads model"),
        (lambda t: prefixed("_orig_mod.module.", t), ""),
        (lambda t: prefixed("model.backbone.", t), ""),
        (lambda t: {"state_dict": prefixed("model.", t) | {"criterion.weight": torch.ones(2)}},
         "reads state_dict.model.*; leaves out criterion.weight"),
        (lambda t: prefixed("module.", t) | {"n_averaged": torch.tensor(5)}, "reads module.*; leaves out n_averaged"),
        (lambda t: prefixed("online_model.", zeros(t)) | prefixed("ema_model.", t), "reads ema_model.*; leaves out"),
        (lambda t: {key.replace("features.3.", "features._orig_mod.3."): one for key, one in t.items()}, ""),
    ],
)  # fmt: skip
def test_the_usual_wrappings_give_the_same_network(tiny, file, capsys, wrap, says):
    tiny.eval().set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)
    randomise(tiny)
    images = probe(64)
    used = tiny.embed(images)
    table = published({key: tensor.clone() for key, tensor in tiny.state_dict().items()}, "eff")
    for zipped in (True, False):
        torch.save(wrap(table), file, _use_new_zipfile_serialization=zipped)
        overwrite(tiny)
        load_published(file, tiny)
        assert torch.equal(tiny.embed(images), used)
        message = capsys.readouterr().err
        assert message.startswith(f"{file}: {says}") if says else not message


def zeros(table):
    return {key: torch.zeros_like(tensor) for key, tensor in table.items()}


def prefixed(prefix, table):
    return {f"{prefix}{key}": tensor for key, tensor in table.items()}


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


def test_the_description_says_how_a_wrapped_file_in_half_precision_is_read(real_network, file):
    name, _, network = real_network
    table = published(hollow(network.state_dict()), kind_of(name))
    halved = {key: one.half() if key.endswith("weight") and one.ndim > 1 else one for key, one in table.items()}
    torch.save({"epoch": 3, "model": prefixed("module.", halved)}, file)
    described = describe_published(file)
    count = sum(tensor.dtype == torch.float16 for tensor in halved.values())
    assert described["network"] == name
    assert described["reading"] == f"reads model; leaves out epoch; converts {count} tensors from float16 to float32"


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


@torch.no_grad()
@pytest.mark.parametrize("legacy", [False, True])
def test_the_prefix_of_dataparallel_and_the_old_file_layout_are_read(tiny, file, images, legacy):
    tiny.eval().set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)
    randomise(tiny)
    used = tiny.embed(images)
    table = {f"module.{key}": tensor.clone() for key, tensor in published(tiny.state_dict(), "eff").items()}
    torch.save(table, file, _use_new_zipfile_serialization=not legacy)
    overwrite(tiny)
    load_published(file, tiny)
    assert torch.equal(tiny.embed(images), used)


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
