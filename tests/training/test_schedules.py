import math
from functools import partial

import pytest

from noseprint.training.schedules import LOWEST, average_decay, learning_rate_factor, phase_at

cosine = partial(learning_rate_factor, "cosine")


def test_the_rate_climbs_then_falls_along_half_a_cosine():
    rates = [cosine(step, steps=100, warmup=10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 0.001


def test_one_step_without_warmup_has_a_rate():
    assert cosine(0, steps=1, warmup=0) == 1


def test_restarts_are_cosines_one_after_the_other():
    rates = [learning_rate_factor("restarts", s, steps=100, warmup=0, cycles=4) for s in range(100)]
    assert rates == pytest.approx([cosine(s % 25, steps=25, warmup=0) for s in range(100)])


def test_cyclic_climbs_to_one_in_the_middle_of_each_cycle():
    rates = [learning_rate_factor("cyclic", s, steps=80, warmup=0, cycles=2) for s in range(80)]
    assert rates[0] == rates[40] == LOWEST
    assert rates[20] == rates[60] == 1
    assert rates[10] == pytest.approx((1 + LOWEST) / 2)


def test_one_cycle_has_one_peak_at_three_tenths():
    rates = [learning_rate_factor("one-cycle", s, steps=100, warmup=0) for s in range(100)]
    assert max(range(100), key=rates.__getitem__) == 30
    assert rates[30] == pytest.approx(1)
    assert rates[0] == pytest.approx(LOWEST)
    assert rates[99] < 0.02


def test_multi_step_divides_by_ten_at_each_milestone():
    rates = [learning_rate_factor("multi-step", s, steps=10, warmup=0, milestones=(0.5, 0.8)) for s in range(10)]
    assert rates == pytest.approx([1] * 5 + [0.1] * 3 + [0.01] * 2)


def test_phase_at_gives_the_phase_and_the_step_within_it():
    assert [phase_at(step, [2, 3]) for step in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_the_average_forgets_half_in_a_half_life_after_its_warmup():
    assert average_decay(0, half_life=50) == pytest.approx(0.1)
    assert average_decay(10**6, half_life=50) == pytest.approx(0.5 ** (1 / 50))
    weight = math.prod(average_decay(10**6 + n, half_life=50) for n in range(50))
    assert weight == pytest.approx(0.5)
