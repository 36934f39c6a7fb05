import pytest
from scipy.stats import norm

from noseprint.cleaning.decisions import Decision
from noseprint.cleaning.sample import NoiseRate, draw_sample, margin_of_error, noise_rate
from noseprint.errors import NoseprintError

NAMES = [f"{row}.jpg" for row in range(200)]


def line(name, decision, **fields):
    given = {"who": "Ann", "rule": "sample"} | fields
    return Decision(image=name, sha256="0" * 64, label="x", decision=decision, **given)


def test_the_sample_depends_on_the_seed_and_the_names_only():
    sample = draw_sample(NAMES, share=0.4, seed=1)
    assert len(sample) == len(set(sample)) == 80
    assert draw_sample(NAMES[::-1], share=0.4, seed=1) == sample
    assert draw_sample(NAMES, share=0.4, seed=2) != sample
    assert draw_sample(NAMES, share=0.5, seed=1)[:80] == sample
    assert sample != sorted(sample)
    assert draw_sample([], share=0.1) == []


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(NoseprintError, match="--share"):
        draw_sample(NAMES, share=share)


def test_a_sample_is_large_enough_to_measure_something():
    assert len(draw_sample(NAMES, share=0.05)) == 60
    assert sorted(draw_sample(NAMES[:50], share=0.05)) == sorted(NAMES[:50])
    found = noise_rate([line(f"{row}.jpg", "drop" if row < 12 else "keep") for row in range(60)])
    assert margin_of_error(60) == pytest.approx((found.high - found.low) / 2)
    assert margin_of_error(60) == pytest.approx(0.1, abs=0.005)
    assert margin_of_error(1) <= 0.5


def test_every_image_is_drawn_equally_often():
    drawn = [name for seed in range(400) for name in draw_sample(NAMES, share=0.4, seed=seed)]
    counts = [drawn.count(name) for name in NAMES]  # 160 +- 10 each
    assert 115 < min(counts) < 160 < max(counts) < 205


def test_the_rate_is_that_of_wilson_and_counts_only_what_a_person_said_in_the_sample():
    lines = [line(f"{row}.jpg", "drop" if row < 4 else "keep") for row in range(30)]
    lines += [
        line("29.jpg", "not a member"),  # a person changes their mind
        line("40.jpg", "drop", rule="top-5"),  # seen among the suspects
        line("41.jpg", "drop", who="rule"),
        line("150.jpg", "drop"),  # of another sample
    ]
    found = noise_rate(lines, NAMES[:100])
    everything = noise_rate(lines)
    assert (everything.wrong, everything.reviewed, everything.drawn) == (6, 31, 31)
    n, p, z = 30, 5 / 30, norm.ppf(0.975)
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (p * (1 - p) / n + (z / 2 / n) ** 2) ** 0.5,
    )
    assert (found.wrong, found.reviewed, found.drawn, found.rate) == (5, 30, 100, p)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))


def test_nothing_reviewed_gives_no_rate_and_nothing_wrong_an_interval():
    assert noise_rate([], NAMES) == NoiseRate(0, 0, 200)
    found = noise_rate([line("1.jpg", "keep")], NAMES)
    assert (found.rate, found.low) == (0, 0)
    assert 0.7 < found.high < 0.9
