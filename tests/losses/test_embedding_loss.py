import contextlib
import itertools
import math
import os
import signal
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.losses import LossName
from noseprint.losses.embedding_loss import build_loss
from noseprint.losses.supcon import supcon_loss
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.fit import fit

from ..processes import run_script

NAMES = get_args(LossName)
BACKBONE, DIM = "test_efficientnet.r160_in1k", 16
SCRIPT = str(Path(__file__).with_name("gradient_of_a_loss.py"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SupConNet(BACKBONE, image_size=32, dim=DIM, pretrained=False)


@pytest.fixture
def table(demo):
    return read_train(demo)


def build(name, network, *, identities=5, temperature=0.07):
    torch.manual_seed(3)
    return build_loss(name, network=network, classes=identities, temperature=temperature)


class FixedRows(torch.nn.Module):
    """Stands for a network: always returns the same rows."""

    def __init__(self, embedding, descriptor):
        super().__init__()
        self.embedding, self.descriptor = embedding, descriptor

    def forward(self, images, *, pooled=False):
        return torch.cat([self.embedding, self.descriptor], dim=1) if pooled else self.embedding


LABELS = [0, 0, 0, 1, 1, 2, 3, 3]  # 2 has no positive; no row has the label 4


def given(network):
    generator = torch.Generator().manual_seed(1)
    embedding = F.normalize(torch.randn(len(LABELS), DIM, generator=generator))
    descriptor = torch.randn(len(LABELS), network.backbone.num_features, generator=generator)
    return FixedRows(embedding, descriptor), torch.tensor(LABELS)


def smoothed_cross_entropy(logits, labels, smoothing):
    """Every class gets its share of `smoothing`, the right one the rest; row by row."""
    losses = []
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        total = math.log(sum(math.exp(v) for v in row))
        target = [smoothing / len(row) + (1 - smoothing) * (label == i) for i in range(len(row))]
        losses.append(sum(t * (total - v) for t, v in zip(target, row, strict=True)))
    return sum(losses) / len(losses)


def batch_hard(embedding, labels, margin):
    distance = torch.tensor([[math.dist(a, b) for b in embedding.tolist()] for a in embedding.tolist()])
    losses = []
    for i, label in enumerate(labels.tolist()):
        positives = [float(distance[i, j]) for j, other in enumerate(labels.tolist()) if other == label and j != i]
        negatives = [float(distance[i, j]) for j, other in enumerate(labels.tolist()) if other != label]
        if positives:
            losses.append(max(0.0, max(positives) - min(negatives) + margin))
    return sum(losses) / len(losses)


def additive_angular_margin(embedding, labels, weight, *, margin, scale):
    cosine = F.normalize(embedding.double()) @ F.normalize(weight.double(), dim=0)
    for i, label in enumerate(labels.tolist()):
        cosine[i, label] = math.cos(math.acos(float(cosine[i, label])) + margin)
    return smoothed_cross_entropy(cosine * scale, labels, 0.0)


def naive(name, loss, net, labels):
    kind, _, smoothing = name.partition("+")
    state = {key.rpartition(".")[2]: tensor.detach() for key, tensor in loss.state_dict().items()}
    value = 0.0
    if kind == "supcon":
        value += float(supcon_loss(net.embedding, labels, temperature=0.07))
    if kind == "triplet":
        value += batch_hard(net.embedding, labels, 0.1)
    if kind == "arcface":
        value += additive_angular_margin(net.embedding, labels, state["W"], margin=0.5, scale=64)
    if kind == "softmax" or smoothing:
        logits = net.descriptor @ state["weight"].T + state["bias"]
        share, temperature = (0.1, 0.5) if smoothing else (0.0, 1.0)
        value += smoothed_cross_entropy(logits / temperature, labels, share)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_equals_the_formula(name, network):
    net, labels = given(network)
    loss = build(name, network)
    with torch.no_grad():
        for parameter in loss.parameters():  # an auxiliary classifier begins at zero
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) / 10)
    found = loss(net, torch.empty(0), labels)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(naive(name, loss, net, labels), rel=2e-3)  # 28.6 degrees are 0.4992 rad


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [2, 2, 2, 2, 2]], ids=["no positive", "one identity"])
@pytest.mark.parametrize("name", NAMES)
def test_batches_with_no_pair_to_compare_give_a_number_and_a_finite_gradient(name, labels, network):
    net, _ = given(network)
    few = FixedRows(net.embedding[:5].requires_grad_(), net.descriptor[:5].requires_grad_())
    loss = build(name, network)
    value = loss(few, torch.empty(0), torch.tensor(labels))
    value.backward()
    assert value.isfinite()
    assert all(
        p.grad.isfinite().all() for p in (few.embedding, few.descriptor, *loss.parameters()) if p.grad is not None
    )
    if name == "triplet":
        assert value.item() == 0
        assert not few.embedding.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_change_the_loss(name, network):
    net, labels = given(network)
    loss = build(name, network)
    exact = loss(net, torch.empty(0), labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(net, torch.empty(0), labels), exact)


@pytest.mark.parametrize("name", ["supcon", "supcon+smoothing", "softmax"])
def test_some_losses_never_wait_for_the_device(name, network, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no such device
    net, _ = given(network)
    nowhere = FixedRows(net.embedding.to("meta").requires_grad_(), net.descriptor.to("meta").requires_grad_())
    build(name, network).to("meta")(nowhere, torch.empty(0), torch.empty(8, dtype=torch.long, device="meta")).backward()


def test_supcon_alone_has_no_weights(network):
    net, labels = given(network)
    loss = build("supcon", network)
    assert torch.equal(loss(net, torch.empty(0), labels), supcon_loss(net.embedding, labels, temperature=0.07))
    assert not list(loss.parameters())


def test_an_unknown_loss_is_refused_and_the_known_ones_are_listed(network):
    with pytest.raises(NoseprintError, match=r"loss 'triplets' is unknown: there are supcon, .*, softmax"):
        build("triplets", network)


def train(results, table, name, *, stop_at=None):
    options = EmbeddingOptions(
        data=Path(), epochs=3, batch_size=16, lr=3e-3, device="cpu", workers=0, holdout=0.2, eval_every=9, loss=name
    )
    torch.manual_seed(0)
    task = EmbeddingTask(
        SupConNet(BACKBONE, image_size=32, dim=DIM, pretrained=False),
        options=options,
        labelled=table,
        training_transform=lambda size: A.Compose([A.Resize(size, size), A.HorizontalFlip(p=0.5)]),
        evaluation_transform=lambda size: A.Resize(size, size),
    )
    calls = itertools.count(1)

    def interrupt(*_):
        if next(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    task.criterion.register_forward_pre_hook(interrupt)
    fit(task, results=results, options=options)
    return task.criterion


@pytest.mark.parametrize("name", NAMES)
def test_a_training_resumes_to_the_same_bits_and_its_weights_hold_no_head(name, tmp_path, table):
    whole_loss = train(tmp_path / "whole", table, name)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", table, name, stop_at=4)
    cut_loss = train(tmp_path / "cut", table, name)
    files = [(tmp_path / run / "best.safetensors").read_bytes() for run in ("whole", "cut")]
    assert files[0] == files[1]
    for key, tensor in whole_loss.state_dict().items():
        assert torch.equal(tensor, cut_loss.state_dict()[key])
    held = set(load_file(tmp_path / "whole" / "best.safetensors"))
    assert held == set(SupConNet(BACKBONE, image_size=32, dim=DIM, pretrained=False).state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_steps_on_one_batch_lower_the_loss(name, network):
    torch.manual_seed(0)
    net = SupConNet(BACKBONE, image_size=32, dim=DIM, pretrained=False)
    loss = build(name, net)
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    optimizer = torch.optim.AdamW([*net.parameters(), *loss.parameters()], lr=1e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        value = loss(net, images, torch.tensor(LABELS))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


def test_two_processes_in_chunks_compute_the_gradient_of_one_process_for_the_heads_too(tmp_path):
    run_script(SCRIPT, tmp_path / "one.pt", log=tmp_path)
    run_script(SCRIPT, tmp_path / "two.pt", "4", log=tmp_path, ranks=2)
    one, two = (torch.load(tmp_path / run, weights_only=True) for run in ("one.pt", "two.pt"))
    assert one.keys() == two.keys()
    assert sum(" loss." in key for key in one) == 3
    for key, gradient in one.items():
        tolerance = 1e-3 * float(gradient.abs().max()) + 1e-5
        torch.testing.assert_close(two[key], gradient, rtol=1e-3, atol=tolerance, msg=key)
        assert gradient.any() or "network.backbone" in key, key
