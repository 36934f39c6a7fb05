import numpy as np
import pytest

from noseprint.calibration.quality_limits import DEGRADATIONS, Level, Limit, Limits, learn_limit, reduced, shortfalls
from noseprint.data.photo_quality import Quality, measure_quality

NONE = Limit(None, ())


def limits(**least):
    found = {name: Limit(least.get(name), ()) for name in ("short_side", "sharpness", "brightness")}
    return Limits(fmr=0.01, photographs=40, **found)


def picture(height=200, width=300):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_each_degradation_lowers_its_measure_step_by_step(kind):
    degrade, levels = DEGRADATIONS[kind]
    image = picture()
    degraded = (degrade(image, level) for level in levels)
    values = [getattr(measure_quality(photo), kind) for photo in (image, *degraded)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 8
    assert len(levels) == 4


def test_sizes():
    assert min(DEGRADATIONS["short_side"][0](picture(), 31).shape[:2]) == 31
    assert DEGRADATIONS["short_side"][0](picture(20, 30), 31).shape == (20, 30, 3)
    assert reduced(picture(1000, 2000)).shape == (512, 1024, 3)
    assert reduced(picture(1, 5000)).shape == (1, 5000, 3)


def levels(*rows):
    return [Level(*row) for row in rows]


def test_a_limit_lies_where_half_of_the_matches_are_lost():
    tried = levels((100, 0.9, 0.01), (64, 0.9, 0.01), (16, 0.225, 0.01))
    limit = learn_limit(tried, fmr=0.01, undegraded=[100.0])
    assert limit.least == pytest.approx(64 ** (1 / 2) * 16 ** (1 / 2))  # lost is 0.5 there, 2 here: halfway
    assert limit.levels == tuple(tried)


def test_a_limit_lies_where_false_matches_treble():
    tried = levels((100, 0.9, 0.01), (64, 0.9, 0.015), (16, 0.9, 0.06))
    assert learn_limit(tried, fmr=0.01, undegraded=[100.0]).least == pytest.approx(32, rel=0.01)
    assert learn_limit(tried, fmr=0.03, undegraded=[100.0]).least is None


def test_no_limit_where_nothing_hurts_and_never_one_that_refuses_good_photographs():
    assert learn_limit(levels((100, 0.9, 0.01), (8, 0.8, 0.02)), fmr=0.01, undegraded=[100.0]).least is None
    tried = levels((100, 0.9, 0.01), (64, 0.1, 0.01))
    assert learn_limit(tried, fmr=0.01, undegraded=np.linspace(20, 200, 101)).least == pytest.approx(21.8)
    gone = levels((100, 0.9, 0.01), (64, 0.0, 0.0))
    assert 64 < learn_limit(gone, fmr=0.01, undegraded=[100.0]).least < 100


def test_shortfalls_name_measure_value_and_limit():
    found = shortfalls(Quality(31, 3.0, 120.0), limits(short_side=40.0, brightness=44.0, sharpness=5.0))
    assert [(s.measure, s.value, s.least) for s in found] == [("short_side", 31, 40), ("sharpness", 3, 5)]
    assert str(found[0]).startswith("too small (short side 31 px; below 40")
    assert shortfalls(Quality(31, 3.0, 120.0), limits()) == ()
    assert shortfalls(Quality(40, 5.0, 44.0), limits(short_side=40.0, brightness=44.0, sharpness=5.0)) == ()
