"""One answer for each image from what the members computed."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from noseprint.errors import NoseprintError
from noseprint.inference.class_answers import answer_classes, read_members, require_images, write_answers
from noseprint.inference.classify import ClassifierOutputs, write_outputs
from noseprint.inference.ensemble import fit_temperature, greedy_selection, with_temperature

CLASSES = ("a", "b", "c")


def outputs(truth, *, skill, seed, prefix="test"):
    """A member that is right the more often the higher its skill; at 0 it guesses."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(truth), 3)) + skill * np.eye(3)[truth]
    names = tuple(f"{prefix}/{row}.jpg" for row in range(len(truth)))
    return ClassifierOutputs(names, logits.astype(np.float32), np.zeros((len(truth), 1), np.float32), CLASSES, "0" * 16)


@pytest.fixture
def case():
    truth, held = np.repeat(np.arange(3), 20), np.tile(np.arange(3), 30)
    skills = {"b4": 1.5, "b5": 1.8, "guess": 0.0}
    members = {name: outputs(truth, skill=skill, seed=k) for k, (name, skill) in enumerate(skills.items())}
    holdout = {
        name: outputs(held, skill=skill, seed=10 + k, prefix="train") for k, (name, skill) in enumerate(skills.items())
    }
    names = next(iter(members.values())).names, next(iter(holdout.values())).names
    known, held_out = (
        {name: CLASSES[t] for name, t in zip(n, ts, strict=True)} for n, ts in zip(names, (truth, held), strict=True)
    )
    return members, holdout, held_out, known


def softmaxes(members):
    return [softmax(m.logits.astype(float), axis=1) for m in members.values()]


def test_the_mean_with_the_temperature_of_the_hold_out(case, tmp_path):
    members, holdout, held_out, known = case
    found = answer_classes(members, holdout, held_out=held_out, known=known, method="mean")
    truth = np.array([CLASSES.index(held_out[name]) for name in holdout["b4"].names])
    temperature = fit_temperature(np.mean(softmaxes(holdout), axis=0), truth)
    p = with_temperature(np.mean(softmaxes(members), axis=0), temperature)
    np.testing.assert_allclose(found.probability, p.max(axis=1), atol=1e-5)
    assert found.labels == found.plain == tuple(CLASSES[k] for k in p.argmax(axis=1))
    right = np.mean([known[n] == label for n, label in zip(found.names, found.labels, strict=True)])
    assert f"Right: {right:.1%} of the 60 images whose class is known." in found.lines
    write_answers(tmp_path / "prediction.csv", found)
    rows = list(csv.DictReader((tmp_path / "prediction.csv").open()))
    assert list(rows[0]) == ["image", "label", "probability"]
    assert [row["image"] for row in rows] == list(found.names)
    assert float(rows[5]["probability"]) == pytest.approx(found.probability[5], abs=1e-6)


def test_greedy_leaves_out_a_member_that_guesses_and_says_so(case):
    members, holdout, held_out, _ = case
    found = answer_classes(members, holdout, held_out=held_out, method="greedy")
    text = "\n".join(found.lines)
    assert "b5 is the best alone" in text or "b4 is the best alone" in text
    assert "Left out, since they add nothing there: guess." in text
    assert "Right:" not in text
    truth = np.array([CLASSES.index(held_out[name]) for name in holdout["b4"].names])
    chosen = [join.member for join in greedy_selection(softmaxes(holdout), truth)]
    weights = ", ".join(f"{name} {chosen.count(k)}" for k, name in enumerate(members) if k in chosen)
    assert set(text.partition("with the weights ")[2].partition(".")[0].split(", ")) == set(weights.split(", "))
    of_holdout, of_test = (np.mean([softmaxes(of)[k] for k in chosen], axis=0) for of in (holdout, members))
    expected = with_temperature(of_test, fit_temperature(of_holdout, truth))
    np.testing.assert_allclose(found.probability, expected.max(axis=1), atol=1e-5)
    alone = answer_classes(
        {n: members[n] for n in ("b4", "b5")}, {n: holdout[n] for n in ("b4", "b5")}, held_out=held_out, method="vote"
    )
    assert len(alone.labels) == 60


def test_one_member_answers_alone(case):
    members, holdout, held_out, _ = case
    for method in ("mean", "greedy", "vote", "fusion"):
        found = answer_classes({"b5": members["b5"]}, {"b5": holdout["b5"]}, held_out=held_out, method=method)
        assert found.labels == tuple(CLASSES[k] for k in members["b5"].logits.argmax(axis=1))
        assert found.lines[0] == "60 images. Answered by b5."


def test_answers_to_look_at_first_are_told_where_there_are_some(case):
    members, *_ = case

    def said(unsure):
        logits = np.where(np.arange(60)[:, None] < unsure, [0.0, 0, 0], [9.0, 0, 0]).astype(np.float32)
        none = {"b5": replace(members["b5"], names=(), logits=logits[:0], features=members["b5"].features[:0])}
        found = answer_classes({"b5": replace(members["b5"], logits=logits)}, none, held_out={}, method="mean")
        return [line for line in found.lines if "look at" in line]

    assert said(0) == []
    assert said(1) == ["1 answer has a probability below 0.5: look at it first."]
    assert said(2) == ["2 answers have a probability below 0.5: look at these first."]


def test_a_capacity_with_a_true_prior_gains_and_both_results_are_told(case):
    members, holdout, held_out, known = case
    found = answer_classes(
        members, holdout, held_out=held_out, known=known, method="mean", capacity=20, prior="exactly-20-each"
    )
    assert max(found.labels.count(name) for name in CLASSES) == 20
    assert found.plain != found.labels
    assert any(line.startswith("Without --prior:") for line in found.lines)
    assert not any("Warning" in line for line in found.lines)
    softer = answer_classes(members, holdout, held_out=held_out, known=known, method="mean", prior="exactly-20-each")
    assert np.mean([a == b for a, b in zip(softer.labels, found.labels, strict=True)]) > 0.9
    assert softer.plain == found.plain


def test_a_false_prior_warns(case):
    members, holdout, held_out, known = case
    wrong = dict.fromkeys(known, "a")
    found = answer_classes(
        members, holdout, held_out=held_out, known=wrong, method="mean", capacity=20, prior="exactly-20-each"
    )
    assert any("Warning: --prior exactly-20-each does not fit" in line for line in found.lines)


def test_without_a_hold_out_greedy_is_refused_and_the_mean_is_not_calibrated(case):
    members, holdout, held_out, _ = case
    with pytest.raises(NoseprintError, match="greedy chooses by the images that were held out, and there are none"):
        answer_classes(members, None, held_out=held_out, method="greedy")
    with pytest.raises(NoseprintError, match="there are none"):
        answer_classes(members, holdout, held_out={}, method="greedy")
    found = answer_classes(members, None, held_out={}, method="mean")
    assert any("no image was held out" in line for line in found.lines)
    np.testing.assert_allclose(found.probability, np.mean(softmaxes(members), axis=0).max(axis=1), atol=1e-6)


def test_held_out_images_of_an_unknown_class_are_left_out(case):
    members, holdout, held_out, _ = case
    some = {name: "a new class" if k < 30 else label for k, (name, label) in enumerate(held_out.items())}
    found = answer_classes(members, holdout, held_out=some, method="greedy")
    assert any("fitted on 60 images" in line for line in found.lines)


def test_members_of_other_classes_or_images_are_refused(case, tmp_path):
    members, *_ = case
    for name, one in members.items():
        write_outputs(tmp_path / name / "results/small/test.safetensors", one)
    found = read_members(tmp_path, ["b5", "b4"], run="small", kind="test")
    assert list(found) == ["b5", "b4"]
    write_outputs(tmp_path / "b5/results/small/test.safetensors", replace(members["b5"], classes=("a", "b", "d")))
    with pytest.raises(NoseprintError, match="b4 and b5 have different classes"):
        read_members(tmp_path, ["b4", "b5"], run="small", kind="test")
    cut = ClassifierOutputs(*(part[:9] for part in (members["b5"].names, members["b5"].logits, members["b5"].features)),
                            CLASSES, "0" * 16)  # fmt: skip
    write_outputs(tmp_path / "b5/results/small/test.safetensors", cut)
    with pytest.raises(NoseprintError, match="b4 and b5 have different images"):
        read_members(tmp_path, ["b4", "b5"], run="small", kind="test")
    with pytest.raises(NoseprintError, match="each once"):
        read_members(tmp_path, ["b4", "b4"], run="small", kind="test")
    with pytest.raises(NoseprintError, match=r"is missing: the data have no test images, or train.sh has not come"):
        read_members(tmp_path, ["b6"], run="small", kind="test")


def test_test_images_that_came_later_are_noticed(case):
    members, *_ = case
    names = members["b4"].names
    require_images(members, names, some_skipped=False)
    with pytest.raises(NoseprintError, match=r"1 differ, such as test/new.jpg\): run train.sh again"):
        require_images(members, [*names, "test/new.jpg"], some_skipped=False)
    require_images(members, [*names, "test/broken.jpg"], some_skipped=True)
    with pytest.raises(NoseprintError, match=r"such as test/0\.jpg"):
        require_images(members, names[1:], some_skipped=True)


def test_frequent_classes_are_favoured_less_unless_a_prior_is_known(case):
    members, holdout, held_out, known = case
    leaning = {
        name: replace(one, logits=one.logits + np.log(np.array([100, 10, 1], np.float32)))
        for name, one in {**members, **{f"{k} held": v for k, v in holdout.items()}}.items()
    }
    members = {name: leaning[name] for name in members}
    holdout = {name: leaning[f"{name} held"] for name in holdout}
    counts = {"a": 1000, "b": 100, "c": 10}
    plain = answer_classes(members, holdout, held_out=held_out, known=known, method="mean")
    found = answer_classes(members, holdout, held_out=held_out, known=known, counts=counts, method="mean")
    assert any("Frequent classes are favoured less (0.5 of" in line for line in found.lines)
    assert found.labels.count("c") > plain.labels.count("c")
    assert np.mean([known[n] == label for n, label in zip(found.names, found.labels, strict=True)]) > np.mean(
        [known[n] == label for n, label in zip(plain.names, plain.labels, strict=True)]
    )
    options = {"held_out": held_out, "known": known, "method": "mean", "prior": "exactly-20-each"}
    with_counts = answer_classes(members, holdout, counts=counts, **options)
    assert with_counts.lines == answer_classes(members, holdout, **options).lines
