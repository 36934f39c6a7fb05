import contextlib
from pathlib import Path

import pytest
import torch

from noseprint.data.datasets import Sample
from noseprint.data.tables import ImageTable
from noseprint.distributed import World
from noseprint.losses.supcon import supcon_loss
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep
from noseprint.training.task import Part, Phase

from .tiny import network, options, task

BATCH = Sample(torch.randint(0, 256, (8, 3, 32, 32)).byte(), torch.arange(8) // 2, torch.arange(8))


def training_step(made, chosen, device="cpu"):
    world = World(0, 1, torch.device(device))
    plan = Plan(chosen, epoch_steps=5)
    return TrainingStep(made, options=chosen, world=world, plan=plan, epoch_steps=5, results=Path())


def a_task(chosen):
    table = ImageTable(tuple(map(Path, "abcdefgh")), tuple("aabbccdd"))
    return task(table, chosen, loss=lambda net, images, labels: supcon_loss(net(images), labels, temperature=0.07))


def test_a_step_never_asks_the_device_for_a_value(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no such device
    monkeypatch.setattr(torch, "Generator", lambda device: torch.default_generator)  # likewise; only bfloat16 draws
    step = training_step(a_task(options(holdout=0)), options(holdout=0), "meta")  # has no values, and raises when asked
    loss = step.update(0, BATCH)
    assert loss.device == torch.device("meta")


def test_parts_learn_at_their_own_rates_and_rest_in_phases_that_do_not_train_them():
    chosen = options(holdout=0, warmup=0.0, weight_decay=0.0, epochs=2)
    made = a_task(chosen)
    net = made.network
    made.parts = lambda: (Part("backbone", net.backbone, lr_scale=0.1), Part("heads", net.heads))
    made.phases = lambda: (Phase(0.5, trains=("heads",), lr=1e-2), Phase(0.5))
    step = training_step(made, chosen)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}

    def changed():
        differing = (key for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key]))
        return {key.partition(".")[0] for key in differing}

    for number in range(5):
        step.update(number, BATCH)
    assert changed() == {"heads"}
    step.update(5, BATCH)
    assert changed() == {"heads", "backbone"}
    assert [step.rate(0), step.rate(5)] == [1e-2, chosen.lr]
    rates = {group["part"]: group["lr"] for group in step._optimizer.param_groups}
    assert rates == {"backbone": pytest.approx(0.1 * chosen.lr), "heads": chosen.lr}


def test_each_phase_has_its_optimizer_which_a_resume_finds_again():
    chosen = options(holdout=0, warmup=0.0, epochs=2, optimizer="radam", schedule="multi-step", milestones=())
    made = a_task(chosen)
    made.phases = lambda: (Phase(0.4), Phase(0.4, optimizer="sgd", lr=0.5), Phase(0.2))
    step = training_step(made, chosen)

    def kinds(number):
        step.update(number, BATCH)
        return type(step._optimizer).__name__, len(step._optimizer.state)

    number = len(list(made.network.parameters()))
    assert [kinds(k) for k in (0, 4, 8)] == [("RAdam", number), ("SGD", number), ("RAdam", number)]
    assert step.rate(4) == 0.5
    state = step.state()
    again = training_step(a_task(chosen), chosen)
    assert "sgd" not in again.state()
    other = a_task(chosen)
    other.phases = made.phases
    resumed = training_step(other, chosen)
    resumed.load(state)
    assert len(resumed.state()["sgd"]["state"]) == number


@pytest.mark.parametrize("name", ["adamw", "sgd", "radam"])
def test_every_optimizer_lowers_the_loss(name):
    chosen = options(holdout=0, optimizer=name, lr=3e-3, warmup=0.0)
    step = training_step(a_task(chosen), chosen)
    losses = [step.update(number, BATCH).item() for number in range(8)]
    assert losses[-1] < losses[0]


def test_vectors_do_not_decay():
    chosen = options(holdout=0, weight_decay=0.1)
    groups = training_step(a_task(chosen), chosen)._optimizer.param_groups
    decays = {(group["weight_decay"], min(p.ndim for p in group["params"]) > 1) for group in groups}
    assert decays == {(0.1, True), (0.0, False)}


def test_the_average_moves_towards_the_network():
    chosen = options(holdout=0)
    step = training_step(a_task(chosen), chosen)
    start = network().state_dict()["heads.0.weight"]
    step.update(0, BATCH)
    average, now = (net.state_dict()["heads.0.weight"] for net in (step.average, step._network))
    torch.testing.assert_close(average, start.lerp(now, 0.9))  # the first decay is 0.1
    assert not step.average.training


def test_finding_the_size_of_the_chunks_draws_no_random_numbers_of_the_step(monkeypatch):
    """The first step after a resume finds them anew: dropout must be the same as without an interruption."""
    drawn = []

    def draw(net, images, labels):
        drawn.append(torch.rand(3).tolist())
        return net(images).sum()

    chosen = options(holdout=0, small=True)
    table = ImageTable(tuple(map(Path, "abcdefgh")), tuple("aabbccdd"))
    monkeypatch.setattr("noseprint.training.step.even_chunks", lambda *_, **__: torch.rand(5) is None or None)
    whole, resumed = (training_step(task(table, chosen, loss=draw), chosen) for _ in range(2))
    whole.update(0, BATCH)
    whole.update(1, BATCH)
    resumed.update(1, BATCH)
    assert drawn[2] == drawn[1] != drawn[0]
