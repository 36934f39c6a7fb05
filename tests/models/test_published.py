"""Published checkpoints imitated: today's state written under the names of 2022, by a map of the tests' own."""

import pickle
import re
from pathlib import Path

import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.published import IMAGENET_MEAN, IMAGENET_STD, load_published


def old_name(key: str, kind: str) -> str:
    """Today's key -> the key of 2022, by the position of each child in the old nn.Sequential."""
    room, _, rest = key.partition(".")
    if room == "heads":
        return f"main_modules.{rest[0]}.0.weight"
    words = rest.removeprefix("backbone.").split(".")
    if kind == "eff":
        position = ["conv_stem", "bn1", "act1", "blocks", "conv_head", "bn2"].index(words[0])
        return ".".join(["features", str(position), *words[1:]])
    if words[0] == "layers":
        stage = int(words[1]) - 1 if words[2] == "downsample" else int(words[1])
        return ".".join(["features", "2", str(stage), *words[2:]])
    return ".".join(["features", {"patch_embed": "0", "norm": "3"}[words[0]], *words[1:]])


def published(state, kind):
    """A 2022 checkpoint of this state, with the strays of the operation counter and of the old Swin."""
    table = {old_name(key, kind): tensor for key, tensor in state.items()}
    strays = {"total_ops": torch.zeros(1, dtype=torch.float64), "total_params": torch.zeros(1, dtype=torch.float64)}
    for parent in {key.rpartition(".")[0] for key in table}:
        strays[f"{parent}.total_ops"] = torch.zeros(1, dtype=torch.float64)
        strays[f"{parent}.total_params"] = torch.zeros(1, dtype=torch.float64)
    for key in table:
        if block := re.fullmatch(r"(features\.2\.(\d)\.blocks\.(\d+))\.norm1\.weight", key):
            strays[f"{block[1]}.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
            if int(block[3]) % 2 and int(block[2]) < 3:
                strays[f"{block[1]}.attn_mask"] = torch.zeros(4, 49, 49)
    if kind == "swin":
        assert sum(key.endswith(("relative_position_index", "attn_mask")) for key in strays) == 35
    return strays | table


def kind_of(name):
    return "swin" if name.startswith("swin") else "eff"


def hollow(state):
    """The same keys and shapes, one number of storage each: quick to write."""
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
def spoil(network):
    for tensor in network.state_dict().values():
        tensor.fill_(1)
    network.set_pixel_statistics((0.5,) * 3, (0.5,) * 3)


def probe(size):
    return torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "member.pth"
    yield path
    path.unlink(missing_ok=True)  # pytest keeps its folders, and these are large


@torch.no_grad()
def test_a_published_network_comes_back_bit_for_bit(real_network, file):
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

    spoil(network)
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


@pytest.mark.parametrize("fault", ["missing", "unexpected", "wrongly shaped", "not finite", "twice"])
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
    else:
        table[f"module.{key}"] = table[key]
    torch.save(table, file)
    version = network.heads[0].weight._version
    with pytest.raises(NoseprintError, match=rf"{fault}.*{re.escape(named)}|{re.escape(named)}.*{fault}"):
        load_published(file, network)
    assert network.heads[0].weight._version == version


@pytest.mark.parametrize(
    ("looks", "key", "shape"),
    [
        ("swin224", "features.2.0.blocks.0.attn.relative_position_bias_table", (169, 4)),
        ("swin384", "features.2.0.blocks.0.attn.relative_position_bias_table", (529, 4)),
        ("v2", "features.4.weight", (1280, 640, 1, 1)),
        ("b7ns", "features.4.weight", (2560, 640, 1, 1)),
    ],
)
def test_a_file_under_the_wrong_name_is_recognised(real_network, file, looks, key, shape):
    name, _, network = real_network
    torch.save({key: torch.zeros(shape)}, file)
    message = "missing" if looks == name else f"looks like {looks}, the folder expects {name}"
    with pytest.raises(NoseprintError, match=message):
        load_published(file, network)


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("write", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))])
def test_code_in_a_file_is_refused_and_never_runs(tiny, file, tmp_path, write):
    trace = tmp_path / "trace"
    write({"features.0.weight": Payload(trace)}, file)
    with pytest.raises(NoseprintError, match=r"member\.pth: refused, nothing in it was executed"):
        load_published(file, tiny)
    assert not trace.exists()
    # The payload is live: a plain unpickling runs it.
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


def test_files_of_other_kinds_are_refused(tiny, file):
    with pytest.raises(NoseprintError, match="no such checkpoint"):
        load_published(file, tiny)
    torch.save({"a": torch.zeros(100)}, file)
    whole = file.read_bytes()
    for content in (b"", b"<html>sign in to download</html>", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(NoseprintError, match=r"unreadable|refused"):
            load_published(file, tiny)
    for held in ({"state_dict": {"a": torch.zeros(1)}}, [torch.zeros(1)]):
        torch.save(held, file)
        with pytest.raises(NoseprintError, match="holds no flat table"):
            load_published(file, tiny)


@torch.no_grad()
@pytest.mark.parametrize("legacy", [False, True])
def test_a_parallel_prefix_and_the_old_file_layout_are_read(tiny, file, images, legacy):
    tiny.eval().set_pixel_statistics(IMAGENET_MEAN, IMAGENET_STD)
    randomise(tiny)
    used = tiny.embed(images)
    table = {f"module.{key}": tensor.clone() for key, tensor in published(tiny.state_dict(), "eff").items()}
    torch.save(table, file, _use_new_zipfile_serialization=not legacy)
    spoil(tiny)
    load_published(file, tiny)
    assert torch.equal(tiny.embed(images), used)


def test_descriptors_in_another_order_are_refused(file):
    network = SupConNet("test_efficientnet.r160_in1k", descriptors="MS", dim=8, image_size=64, pretrained=False)
    with pytest.raises(NoseprintError, match="SM"):
        load_published(file, network)
