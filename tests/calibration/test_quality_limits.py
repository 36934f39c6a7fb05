import numpy as np
import pytest

from noseprint.calibration.quality_limits import (
    DEGRADATIONS,
    Level,
    Limit,
    Limits,
    degraded_copies,
    learn_limit,
    shortfalls,
)
from noseprint.data.photo_quality import Quality, measure_quality


def noise(height=200, width=300):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("measure", DEGRADATIONS)
def test_each_degradation_lowers_its_measure_step_by_step(measure):
    degrade, strengths = DEGRADATIONS[measure]
    images = [noise(), *(degrade(noise(), strength) for strength in strengths)]
    values = [getattr(measure_quality(image), measure) for image in images]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 8


def test_degraded_copies_have_the_sizes_of_their_level():
    shapes = [copy.shape[:2] for copy in degraded_copies(noise(1000, 2000))]
    assert shapes == [(64, 128), (32, 64), (16, 32), (8, 16), *[(512, 1024)] * 8]
    assert {copy.shape for copy in degraded_copies(noise(1, 5000))} == {(1, 5000, 3)}
    assert degraded_copies(noise(20, 30))[0].shape == (20, 30, 3)


def levels(*rows):
    return [Level(*row) for row in rows]


def test_a_limit_lies_where_half_of_the_true_matches_are_lost():
    tried = levels((100, 0.9, 0.01), (64, 0.9, 0.01), (16, 0.225, 0.01))
    limit = learn_limit(tried, fmr=0.01, undegraded=[100.0])
    assert limit.least == pytest.approx(64 ** (1 / 2) * 16 ** (1 / 2))  # the ratio is 0.5 at 64, 2 at 16: halfway
    assert limit.levels == tuple(tried)


def test_a_limit_lies_where_false_matches_treble():
    tried = levels((100, 0.9, 0.01), (64, 0.9, 0.015), (16, 0.9, 0.06))
    assert learn_limit(tried, fmr=0.01, undegraded=[100.0]).least == pytest.approx(32, rel=0.01)
    assert learn_limit(tried, fmr=0.03, undegraded=[100.0]).least is None


def test_there_is_no_limit_if_nothing_does_harm():
    assert learn_limit(levels((100, 0.9, 0.01), (8, 0.8, 0.02)), fmr=0.01, undegraded=[100.0]).least is None


def test_a_limit_refuses_at_most_1_percent_of_undegraded_photographs():
    tried = levels((100, 0.9, 0.01), (64, 0.1, 0.01))
    assert learn_limit(tried, fmr=0.01, undegraded=np.linspace(20, 200, 101)).least == pytest.approx(21.8)


def test_a_level_without_any_match_gives_a_limit():
    tried = levels((100, 0.9, 0.01), (64, 0.0, 0.0))
    assert 64 < learn_limit(tried, fmr=0.01, undegraded=[100.0]).least < 100


def test_shortfalls_name_measure_value_and_limit():
    def limits(**least):
        measures = ("short_side", "sharpness", "brightness")
        return Limits(fmr=0.01, photographs=40, **{name: Limit(least.get(name), ()) for name in measures})

    three = limits(short_side=40.0, brightness=44.0, sharpness=5.0)
    found = shortfalls(Quality(31, 3.0, 120.0), three)
    assert [(s.measure, s.value, s.least) for s in found] == [("short_side", 31, 40), ("sharpness", 3, 5)]
    assert str(found[0]).startswith("too small (short side 31 px; below 40")
    assert shortfalls(Quality(31, 3.0, 120.0), limits()) == ()
    assert shortfalls(Quality(40, 5.0, 44.0), three) == ()
