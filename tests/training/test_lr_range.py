"""The learning rate range test."""

import json
import math
import random
from copy import deepcopy
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from noseprint.distributed import World
from noseprint.errors import DataError, NoseprintError
from noseprint.reporting.lr_range_chart import draw_ranges
from noseprint.training.loader import training_loader
from noseprint.training.lr_range import (
    RangeCurve,
    find_rates,
    longest_fall,
    lr_range_test,
    range_rate,
    read_curves,
    suggested_rate,
    write_curves,
)
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep

from .tiny import options, task, train

WORLD = World(0, 1, torch.device("cpu"))


def prepared(table, tmp_path, **changes):
    """A step of a training, and batches for 60 steps."""
    chosen = options(epochs=30, warmup=0.0, **changes)
    made = task(table, chosen)
    made.prepare(WORLD, tmp_path)
    plan = Plan(chosen, epoch_steps=made.epoch_steps)
    step = TrainingStep(made, options=chosen, world=WORLD, plan=plan, epoch_steps=made.epoch_steps, results=tmp_path)
    return step, training_loader(made, made.batches(steps=60, first_step=0), options=chosen, world=WORLD)


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return one == other


def everything(step):
    """All that a training depends on, copied."""
    norms = [module.training for module in step.network.modules()]
    learns = [parameter.requires_grad for parameter in step.parameters()]
    return deepcopy(
        (step.state(), torch.get_rng_state(), np.random.get_state(), random.getstate(), norms, learns)  # noqa: NPY002
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("trained", [0, 3])
def test_everything_is_as_before_bit_for_bit(table, tmp_path, optimizer, trained):
    step, loader = prepared(table, tmp_path, optimizer=optimizer)
    batches = list(loader)
    for number in range(trained):
        step.update(number, batches[number])
    before = everything(step)

    def drawing():
        for batch in batches[3:23]:
            yield batch
            random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002

    curve = lr_range_test(step, drawing(), steps=20)
    assert len(curve.rates) > 10
    assert equal(everything(step), before)
    after = [float(step.update(number, batches[number])) for number in range(trained, trained + 3)]
    fresh, _ = prepared(table, tmp_path, optimizer=optimizer)
    straight = [float(fresh.update(number, batches[number])) for number in range(trained + 3)]
    assert after == straight[trained:]


def test_everything_is_as_before_if_the_test_breaks_off(table, tmp_path):
    step, loader = prepared(table, tmp_path)
    before = everything(step)

    def breaking():
        yield next(iter(loader))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lr_range_test(step, breaking())
    assert equal(everything(step), before)


def test_the_rate_climbs_evenly_on_a_logarithmic_scale():
    rates = np.array([range_rate(step) for step in range(100)])
    assert (rates[0], rates[-1]) == (1e-6, pytest.approx(1))
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10 ** (6 / 99))


def test_the_test_is_the_training_but_for_the_rate(table, tmp_path):
    step, loader = prepared(table, tmp_path)
    curve = lr_range_test(step, loader, steps=15)
    other, loader = prepared(table, tmp_path)
    rates, losses = [range_rate(number, 15) for number in range(15)], []
    for number, batch in zip(range(15), loader, strict=False):
        other._options = options(lr=rates[number], schedule="multi-step", milestones=(), warmup=0.0, epochs=30)
        losses.append(float(other.update(number, batch)))
    assert curve.rates.tolist() == rates[: len(curve.rates)]
    assert curve.losses.tolist() == losses[: len(curve.losses)]


def test_it_ends_when_the_loss_explodes(monkeypatch, table, tmp_path):
    step, loader = prepared(table, tmp_path)
    given = iter([1.0] * 10 + [200.0] + [1.0] * 30)
    monkeypatch.setattr(step, "update", lambda *_, **__: torch.tensor(next(given)))
    curve = lr_range_test(step, loader, steps=40)
    assert curve.losses.tolist() == [1.0] * 10 + [200.0]  # smoothed: 0.05 * 200 + 0.95 > 4
    given = iter([1.0] * 10 + [float("nan")])
    assert len(lr_range_test(step, loader, steps=40).losses) == 10


def curve_of(losses):
    return RangeCurve(np.geomspace(1e-6, 1, len(losses)), np.array(losses, float))


def test_the_smoothed_loss_is_an_exponential_mean():
    losses = np.random.default_rng(0).random(30)
    mean = losses[0]
    for step, found in enumerate(curve_of(losses).smoothed):
        mean = mean if step == 0 else 0.95 * mean + 0.05 * losses[step]
        assert found == pytest.approx(mean)


def test_the_longest_fall_is_the_longest_falling_subsequence():
    rng = np.random.default_rng(0)
    for _ in range(60):
        losses = rng.integers(0, 8, rng.integers(1, 9)).tolist()
        falls = [
            at
            for length in range(1, len(losses) + 1)
            for at in combinations(range(len(losses)), length)
            if all(losses[a] > losses[b] for a, b in pairwise(at))
        ]
        longest = max(map(len, falls))
        assert longest_fall(losses) == (min(at[-1] for at in falls if len(at) == longest), longest)


def as_fastai(rates, losses):
    """fastai's `valley`, as it is written there."""
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lds[i] < lds[j] + 1:
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return rates[max_start + int(sections) + int(sections / 2)]


def test_the_suggestions_are_those_of_the_other_libraries():
    rng = np.random.default_rng(1)
    for _ in range(20):
        at = np.linspace(-6, 0, 100)
        losses = 4 - 2.5 / (1 + np.exp(-3 * (at + 3))) + np.exp(4 * (at + 0.8)) + 0.15 * rng.random(100)
        curve = curve_of(losses)
        assert curve.valley() == as_fastai(curve.rates[10:-5], curve.smoothed[10:-5])
        assert curve.steepest() == curve.rates[10:-5][np.argmin(np.gradient(curve.smoothed[10:-5]))]
        assert 1e-4 < curve.valley() < curve.rates[curve.smoothed.argmin()]


def test_a_loss_that_never_falls_gives_no_suggestion(tmp_path):
    for losses in ([1.0] * 40, np.arange(40.0), [3.0, 2.0, 1.0]):
        with pytest.raises(NoseprintError, match=r"no learning rate at which the loss falls .* --lr NUMBER"):
            write_curves(tmp_path, {"a": curve_of(losses)})
        assert read_curves(tmp_path)["a"].losses.tolist() == list(losses)
        assert not (tmp_path / "lr_range.json").exists()


def test_curves_are_written_read_and_drawn(tmp_path):
    curves = {"a": curve_of(np.linspace(3, 1, 40)), "b": curve_of(np.linspace(4, 2, 50))}
    write_curves(tmp_path, curves)
    for name, curve in read_curves(tmp_path).items():
        assert curve.rates.tolist() == curves[name].rates.tolist()
        assert curve.losses.tolist() == curves[name].losses.tolist()
    assert suggested_rate(tmp_path / "lr_range.json", "b") == (curves["b"].valley() * curves["b"].steepest()) ** 0.5
    assert set(json.loads((tmp_path / "lr_range.json").read_text())["a"]) == {"steepest", "valley", "between"}
    for name in ("one.png", "two.png"):
        draw_ranges(tmp_path / name, curves)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with (tmp_path / "lr_range.csv").open("a") as file:
        file.write("b,51,fast,1,1\n")
    with pytest.raises(DataError, match="line 92: not a number"):
        read_curves(tmp_path)


def test_a_whole_test_leaves_the_training_as_it_would_have_been(table, tmp_path):
    chosen = options(epochs=2)
    train(tmp_path / "plain", table, chosen)
    made = task(table, chosen)
    curve = find_rates(made, results=tmp_path / "test", options=chosen, steps=20)
    assert len(curve.rates) >= 10
    assert math.isfinite(curve.losses[0])
    train(tmp_path / "after", table, chosen, net=made.network)
    one, other = (tmp_path / name / "best.safetensors" for name in ("plain", "after"))
    assert one.read_bytes() == other.read_bytes()
