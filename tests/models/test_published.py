"""The published checkpoints are read as the same network, however they are wrapped."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.models.published import IMAGENET_MEAN, IMAGENET_STD, describe_published, load_published

from .conftest import hollow, kind_of, prefixed, published, zeros


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


def test_the_description_says_how_a_wrapped_file_in_half_precision_is_read(real_network, file):
    name, _, network = real_network
    table = published(hollow(network.state_dict()), kind_of(name))
    halved = {key: one.half() if key.endswith("weight") and one.ndim > 1 else one for key, one in table.items()}
    torch.save({"epoch": 3, "model": prefixed("module.", halved)}, file)
    described = describe_published(file)
    count = sum(tensor.dtype == torch.float16 for tensor in halved.values())
    assert described["network"] == name
    assert described["reading"] == f"reads model; leaves out epoch; converts {count} tensors from float16 to float32"


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
