import dataclasses
import json
import shutil

import pytest

from noseprint.calibration.curves import Beta, Isotonic, Platt
from noseprint.calibration.verifier import check_weights, read_verifier, write_verifier
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score


def test_the_file_keeps_every_bit(campaign):
    assert read_verifier(campaign.path) == campaign.verifier
    check_weights(campaign.verifier)


def test_the_file_has_the_layout_of_format_1(campaign):
    content = json.loads(campaign.path.read_text())
    assert list(content) == [
        *("format", "version", "members", "calibration", "reliability", "holdout", "least_fmr", "points", "quality")
    ]
    assert content["format"] == "noseprint verifier 1"
    assert content["members"][1]["weights"] == "../../two/results/small/best.safetensors"
    assert list(content["holdout"])[:3] == ["share", "mark", "identities"]
    assert set(content["quality"]) == {"fmr", "photographs", "short_side", "sharpness", "brightness"}


def test_a_campaign_that_has_moved_is_found(campaign, tmp_path):
    root = shutil.copytree(campaign.root, tmp_path / "root")
    verifier = read_verifier(root / "results" / "small" / "verifier.json")
    assert verifier.members[0].weights == (root / "one" / "results" / "small" / "best.safetensors").resolve()
    check_weights(verifier)


def test_other_weights_are_refused(campaign, tmp_path, write_weights):
    root = shutil.copytree(campaign.root, tmp_path / "root")
    verifier = read_verifier(root / "results" / "small" / "verifier.json")
    weights = root / "two" / "results" / "small" / "best.safetensors"
    write_weights(weights, seed=9)
    with pytest.raises(NoseprintError, match=r"two.* not the weights .*calibrate again"):
        check_weights(verifier)
    weights.unlink()
    with pytest.raises(NoseprintError, match="no such weights file"):
        check_weights(verifier)


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(format="noseprint verifier 2"),
        lambda v: v.pop("points"),
        lambda v: v.update(more=1),
        lambda v: v.update(points=[]),
        lambda v: v.update(points=v["points"][::-1] if len(v["points"]) > 1 else v["points"] * 2),
        lambda v: v["points"][0].update(threshold=float("nan")),
        lambda v: v["points"][0].update(threshold=1e9),
        lambda v: v["points"][0].update(fmr="0.1"),
        lambda v: v["points"][0].update(fmr=True),
        lambda v: v["members"].append(v["members"][0]),
        lambda v: v.update(members=[]),
        lambda v: v["members"][0].update(fingerprint="x"),
        lambda v: v["members"][0].update(fingerprint=v["members"][1]["fingerprint"]),
        lambda v: v["members"][0].update(name="a\x1b[31m"),
        lambda v: v["members"][0].update(weights="a\x1b[31m"),
        lambda v: v["members"][0].update(calibration={"slope": "1", "intercept": 0}),
        lambda v: v["calibration"].clear(),
        lambda v: v["quality"]["sharpness"].update(least=-1),
        lambda v: v.update(holdout=None),
        lambda v: v["holdout"].update(identities=4),
        lambda v: v["points"].append(v["points"][-1] | {"fmr": 1e-4, "threshold": -1.0}),
        lambda v: v["points"][0].update(threshold=-1.0, fnmr_threshold=2.5),
        lambda v: v["points"].append(v["points"][-1] | {"fmr": 1e-4, "fnmr_threshold": 1.5}),
        lambda v: v["points"][0]["measured_fmr"].update(value=0.9),
        lambda v: v["points"][0]["measured_fmr"].update(low=0.9, high=0.1),
        lambda v: v["points"][0]["tmr"].update(value=7.0),
        lambda v: v["reliability"]["brier"].update(value=-0.1, low=-0.2),
        lambda v: v["members"][0]["reliability"]["log_loss"].update(value=-0.1),
        lambda v: v.update(calibration={"family": "platt", "slope": -1.0, "intercept": 0.0}),
        lambda v: v.update(least_fmr=10**400),
    ],
)
def test_impossible_values_are_refused(campaign, tmp_path, edit):
    content = json.loads(campaign.path.read_text())
    edit(content)
    wrong = tmp_path / "verifier.json"
    wrong.write_text(json.dumps(content))
    with pytest.raises(NoseprintError, match=r"not a verifier .*noseprint calibrate") as error:
        read_verifier(wrong)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("text", ["", "5", "[" * 100_000, '{"format": "noseprint verifier 1"}', "\xff"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "v.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(NoseprintError, match=r"not a verifier .*noseprint calibrate"):
        read_verifier(tmp_path / "v.json")


def test_an_fmr_that_the_hold_out_does_not_support_is_refused(campaign):
    verifier = campaign.verifier
    lowest = verifier.points[-1].fmr
    assert verifier.operating_point(None).fmr == verifier.operating_point(lowest).fmr == lowest
    # 5 held-out individuals and 10 others make 60 pairs; 1,595 different pairs of photographs are enough for 0.02.
    needs = r"needs 1500 different pairs of photographs, from 150 pairs of individuals\. It has 1595, from 60"
    with pytest.raises(
        NoseprintError,
        match=rf"{needs} pairs of individuals\. The lowest .* is 0\.1; .*add individuals, or hold out more",
    ):
        verifier.operating_point(0.02)
    many_individuals = dataclasses.replace(verifier, least_fmr=30 / 1595)
    with pytest.raises(NoseprintError, match=r"which needs 3000 .*, from 300 pairs of individuals\. It has 1595\. The"):
        many_individuals.operating_point(0.01)
    for fmr in (0.5, 0.07):
        with pytest.raises(NoseprintError, match="has thresholds for"):
            verifier.operating_point(fmr)
    for fmr in (0, -1, 1):
        with pytest.raises(NoseprintError, match="between 0 and 1"):
            verifier.operating_point(fmr)


def changed(verifier, *, identities=25, log_loss=(0.3, 0.2, 0.5), calibration=Platt(5.0, 0.0)):  # noqa: B008
    """The verifier with another number of held-out identities, another log loss of the ensemble, another curve."""
    return dataclasses.replace(
        verifier,
        holdout=dataclasses.replace(verifier.holdout, identities=identities),
        reliability=dataclasses.replace(verifier.reliability, log_loss=Score(*log_loss)),
        calibration=calibration,
    )


def test_few_held_out_identities_give_a_caution(campaign):
    caution = changed(campaign.verifier, identities=24).caution
    assert "24 held-out identities" in caution
    assert "strict" in caution
    assert changed(campaign.verifier).caution is None


@pytest.mark.parametrize(
    "worthless",
    [
        {"log_loss": (0.68, 0.67, 0.69)},
        {"log_loss": (0.5, 0.3, 0.7)},
        {"calibration": Platt(0.0, 0.1)},
        {"calibration": Beta(0.0, 0.0, 1.0)},
        {"calibration": Isotonic((0.5,), (1.0,))},
    ],
)
def test_a_worthless_probability_gives_a_caution(campaign, worthless):
    assert changed(campaign.verifier, **worthless).caution.startswith("the probability is useless")
    both = changed(campaign.verifier, identities=9, **worthless).caution
    assert both.startswith("made from 9")
    assert "the probability is useless" in both


def test_writing_again_gives_the_same_bytes(campaign, tmp_path):
    root = shutil.copytree(campaign.root, tmp_path / "root")
    path = root / "results" / "small" / "verifier.json"
    write_verifier(path, read_verifier(path))
    assert path.read_bytes() == campaign.path.read_bytes()
