import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch

from noseprint.calibration.curves import Platt
from noseprint.calibration.operating_points import OperatingPoint
from noseprint.calibration.verify import decide, probability_text, verdict_lines, verify
from noseprint.data.decoding import decode
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network

CPU = torch.device("cpu")


@pytest.fixture
def pair(campaign):
    a, b = sorted((campaign.data / "test" / "images").iterdir())[:2]
    return a, b


def limited(verifier, *, short_side=None, sharpness=None, brightness=None):
    """The verifier with other limits on the quality of a photograph."""
    limits = {"short_side": short_side, "sharpness": sharpness, "brightness": brightness}
    limits = {name: dataclasses.replace(getattr(verifier.quality, name), least=least) for name, least in limits.items()}
    return dataclasses.replace(verifier, quality=dataclasses.replace(verifier.quality, **limits))


def test_similarity_is_the_mean_cosine_and_the_prior_changes_only_the_probability(campaign, pair):
    verifier = limited(campaign.verifier)
    verdict = verify(pair, verifier, device=CPU, engine="torch")
    cosines = []
    for path in campaign.weights.values():
        a, b = embed_images(load_network(path), pair, transform=A.Resize(32, 32), device=CPU, workers=0)
        cosines.append(float(a @ b))
    assert [member.name for member in verdict.members] == ["one", "two"]
    assert [member.similarity for member in verdict.members] == pytest.approx(cosines, abs=1e-5)
    assert verdict.similarity == pytest.approx(np.mean(cosines), abs=1e-5)
    assert verdict.probability == pytest.approx(float(verifier.calibration.probability(verdict.similarity)))
    rare = verify(pair, verifier, device=CPU, prior=0.001, engine="torch")
    assert rare.probability < verdict.probability
    assert rare.decision == verdict.decision
    swapped = verify(pair[::-1], verifier, device=CPU, engine="torch")
    assert (swapped.similarity, swapped.decision) == (pytest.approx(verdict.similarity, abs=1e-6), verdict.decision)
    with pytest.raises(NoseprintError, match="prior 1"):
        verify(pair, verifier, device=CPU, prior=1)


def point(threshold, fnmr_threshold, *, fmr=0.01):
    measured = Score(0.0043, 0.0007, 0.0098)
    return OperatingPoint(fmr, threshold, measured, Score(0.8436, 0.7, 0.9), fnmr_threshold)


def test_two_thresholds_give_three_answers():
    answers = [decide(similarity, point(0.7, 0.5)) for similarity in (0.49, 0.5, 0.69, 0.7)]
    assert [(decision, reasons[0].code) for decision, reasons in answers] == [
        ("different", "below_threshold"),
        ("cannot tell", "uncertain"),
        ("cannot tell", "uncertain"),
        ("same", "above_threshold"),
    ]


def test_thresholds_in_reverse_order_leave_nothing_between_them():
    answers = [decide(similarity, point(0.5, 0.7))[0] for similarity in (0.49, 0.5, 0.6, 0.7)]
    assert answers == ["different", "same", "same", "same"]


def test_a_photograph_below_a_limit_gives_cannot_tell(campaign, pair, tmp_path):
    verifier = limited(campaign.verifier, short_side=40.0, brightness=30.0)
    small, dark = tmp_path / "small.png", tmp_path / "dark.png"
    cv2.imwrite(str(small), cv2.resize(decode(pair[0]), (50, 31)))
    cv2.imwrite(str(dark), decode(pair[0]) // 8)
    verdict = verify((pair[0], small), verifier, device=CPU, engine="torch")
    assert verdict.decision == "cannot tell"
    assert [(r.code, r.photograph, r.value, r.limit) for r in verdict.reasons] == [("short_side", str(small), 31, 40)]
    assert "too small (short side 31 px; below 40" in verdict.reasons[0].text
    (line,) = verdict_lines(verdict, verifier)
    assert line.startswith(f"cannot tell: {small} is too small (short side")
    verdict = verify((dark, small), verifier, device=CPU, engine="torch")
    assert [reason.code for reason in verdict.reasons] == ["brightness", "short_side"]
    assert verdict.probability is None
    assert all(member.probability is None for member in verdict.members)


def test_one_photograph_twice_is_reported(campaign, pair, tmp_path):
    verifier = limited(dataclasses.replace(campaign.verifier, calibration=Platt(1.0, 0.0)))  # at most 0.73
    copy = shutil.copy(pair[0], tmp_path / "copy.jpg")
    twice, once = (verify(photographs, verifier, device=CPU, engine="torch") for photographs in ((pair[0], copy), pair))
    assert [reason.code for reason in twice.reasons][1:] == ["identical"]
    assert len(once.reasons) == 1
    assert once.probability < 0.74
    assert twice.probability > 0.999  # whatever the curve says of two photographs
    assert 0.99 < twice.similarity <= 1


def test_a_low_true_match_rate_gives_a_caution(campaign, pair):
    points = campaign.verifier.points
    weak = dataclasses.replace(points[-1], tmr=Score(0.02, 0.0, 0.1))
    verifier = dataclasses.replace(campaign.verifier, points=(*points[:-1], weak))
    assert "2 % of the same pairs are recognised" in verify(pair, verifier, device=CPU, engine="torch").caution


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.99951, "probability above 0.999"),
        (0.0004, "probability below 0.001"),
        (0.9, "probability 0.900"),
        (None, "no probability"),
    ],
)
def test_a_probability_is_shown_with_no_more_digits_than_are_known(probability, text):
    assert probability_text(probability) == text


@pytest.mark.parametrize(
    ("similarity", "fmr", "rate"),
    [
        (0.9, 0.01, "of 1,000 different pairs of the hold-out (FEW), 4 were called the same"),
        (0.9, 0.001, "of 10,000 different pairs of the hold-out (FEW), 43 were called the same"),
        (0.6, 0.01, "of 1,000 same pairs of the hold-out (FEW), 844 were called the same"),
        (0.2, 0.01, "of 1,000 same pairs of the hold-out (FEW), at most 10 were called different"),
    ],
)
def test_the_lines_of_a_verdict(campaign, pair, similarity, fmr, rate):
    at = point(0.7, 0.5, fmr=fmr)
    decision, reasons = decide(similarity, at)
    verdict = verify(pair, limited(campaign.verifier), device=CPU, engine="torch")
    verdict = dataclasses.replace(verdict, point=at, decision=decision, reasons=reasons, probability=0.9)

    def lines(verdict, *, identities, log_loss=(0.1, 0.05, 0.2)):
        verifier = dataclasses.replace(
            campaign.verifier,
            holdout=dataclasses.replace(campaign.verifier.holdout, identities=identities),
            reliability=dataclasses.replace(campaign.verifier.reliability, log_loss=Score(*log_loss)),
            calibration=Platt(9.0, -6.0),
        )
        return verdict_lines(verdict, verifier)

    first, second, *rest = lines(verdict, identities=8)
    assert first == f"{decision}, probability 0.900: {reasons[0].text}"
    assert second == rate.replace("FEW", "8 individuals, which are few")
    assert [line.partition(":")[0] for line in rest] == ["not checked"] * (decision != "cannot tell")
    assert lines(verdict, identities=25)[1] == rate.replace(" (FEW)", "")
    assert "at prior 0.1 (which" in lines(dataclasses.replace(verdict, prior=0.1), identities=25)[0]
    guessing = lines(verdict, identities=25, log_loss=(0.69, 0.6, 0.8))
    assert guessing[-1].startswith("caution: the probability is useless")
