import math

import pytest
import torch
from torch import nn

from noseprint.training.schedules import average_decay, cosine_with_warmup, parameter_groups, update_average


def test_the_rate_climbs_then_falls_along_half_a_cosine():
    rates = [cosine_with_warmup(step, steps=100, warmup=10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 0.001


def test_the_shape_does_not_depend_on_the_number_of_steps():
    short = [cosine_with_warmup(s, steps=100, warmup=0) for s in range(0, 100, 10)]
    long = [cosine_with_warmup(s, steps=1000, warmup=0) for s in range(0, 1000, 100)]
    assert short == pytest.approx(long)


def test_one_step_without_warmup_has_a_rate():
    assert cosine_with_warmup(0, steps=1, warmup=0) == 1


def test_the_average_forgets_half_in_a_half_life_after_its_warmup():
    assert average_decay(0, half_life=50) == pytest.approx(0.1)
    assert average_decay(10**6, half_life=50) == pytest.approx(0.5 ** (1 / 50))
    weight = math.prod(average_decay(10**6 + n, half_life=50) for n in range(50))
    assert weight == pytest.approx(0.5)


def test_update_average_moves_parameters_and_copies_buffers():
    average, network = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        network.weight.fill_(5.0)
        network.running_mean.fill_(7.0)
    update_average(average, network, decay=0.75)
    assert average.weight.tolist() == pytest.approx([2.0] * 3)
    assert average.running_mean.tolist() == [7.0] * 3
    assert network.weight.tolist() == [5.0] * 3


def test_vectors_do_not_decay_and_frozen_ones_are_left_out():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1, bias=False))
    module[2].requires_grad_(requires_grad=False)
    decayed, plain = parameter_groups([module], weight_decay=0.1)
    assert [p.shape for p in decayed["params"]] == [(3, 2)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert len(plain["params"]) == 3
