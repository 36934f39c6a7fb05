"""Folds, the linear classifier, the rounds, and the guard against harm."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from noseprint.cleaning.rounds import (
    SCALE,
    Settings,
    choose_settings,
    clean,
    gain_of_removal,
    linear_probabilities,
    out_of_fold,
    reduce_features,
)
from noseprint.data.holdout import assign_folds
from noseprint.errors import NoseprintError

USUAL = Settings(0.3, 1.0)


def noisy_blobs(*, images=360, classes=12, rate=0.3, spread=0.6, seed=0):
    """Reduced features, labels of which a share is wrong, folds, and which labels are wrong."""
    random = np.random.default_rng(seed)
    truth = np.arange(images) % classes
    features = reduce_features(np.eye(classes, 20)[truth] + spread * random.normal(size=(images, 20)) / 3)
    wrong = random.random(images) < rate
    labels = np.where(wrong, (truth + random.integers(1, classes, images)) % classes, truth)
    return features, labels, assign_folds(list(map(str, labels)), folds=3), wrong


def test_folds_share_the_classes_and_keep_groups_together():
    labels = ["cat"] * 30 + ["dog"] * 20 + ["owl"] * 2
    folds = assign_folds(labels, folds=5)
    assert Counter(folds[:30].tolist()) == dict.fromkeys(range(5), 6)
    assert Counter(folds[30:50].tolist()) == dict.fromkeys(range(5), 4)
    assert np.array_equal(folds, assign_folds(labels, folds=5))
    assert not np.array_equal(folds, assign_folds(labels, folds=5, seed=1))
    groups = [str(row // 4) for row in range(52)]
    grouped = assign_folds(labels, folds=5, groups=groups)
    assert len(set(zip(groups, grouped.tolist(), strict=True))) == 13


def test_too_many_folds_are_refused():
    with pytest.raises(NoseprintError, match="4 folds: there can be 2 to 3, the number of groups"):
        assign_folds(["a"] * 9, folds=4, groups=["x", "y", "z"] * 3)
    with pytest.raises(NoseprintError, match="1 folds: there can be 2 to 9, the number of images of the largest"):
        assign_folds(["a"] * 9, folds=1)
    with pytest.raises(NoseprintError, match="5 folds: there can be 2 to 4, the number of images of the largest"):
        assign_folds(["a", "b", "c", "d"] * 4, folds=5)


def test_reduced_features_keep_the_angles():
    features = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 51)[:, None]
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = SCALE * (directions - directions.mean(axis=0))
    reduced = reduce_features(features)
    assert reduced.shape == (50, 8)
    assert reduced @ reduced.T == pytest.approx(centred @ centred.T)
    assert reduce_features(np.zeros((3, 400))).shape == (3, 3)


def test_the_classifier_is_linear_discriminant_analysis():
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features, others = np.eye(3, 5)[labels] + random.normal(size=(90, 5)), random.normal(size=(7, 5))
    kept = (random.random(90) < 0.7) | (labels == 2)
    covariance = np.zeros((5, 5))
    for k in range(3):
        own = features[kept & (labels == k)]
        covariance += (own - own.mean(axis=0)).T @ (own - own.mean(axis=0)) / kept.sum()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0).fit(features[kept], labels[kept])
    assert model.covariance_ == pytest.approx(covariance)
    found = linear_probabilities(features, labels, kept, others, classes=3, settings=Settings(0.0, 1.0))
    assert found == pytest.approx(model.predict_proba(others), abs=1e-6)
    cold = linear_probabilities(features, labels, kept, others, classes=3, settings=Settings(0.0, 1e-9))
    assert cold == pytest.approx(np.tile(model.priors_, (7, 1)), abs=1e-6)
    round_ = linear_probabilities(features, labels, kept, others, classes=3, settings=Settings(1.0, 1.0))
    scores = [
        -((others - features[kept & (labels == k)].mean(axis=0)) ** 2).sum(axis=1) / (2 * np.trace(covariance) / 5)
        for k in range(3)
    ]
    expected = np.exp(scores).T * model.priors_
    assert round_ == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("present", [[0, 2, 3], [1, 2], [2]])
def test_a_class_without_images_has_no_probability(present):
    random = np.random.default_rng(0)
    labels = np.array(present * 20)
    features = 3 * np.eye(4)[labels] + random.normal(size=(len(labels), 4))
    every = np.ones(len(labels), bool)
    found = linear_probabilities(features, labels, every, features, classes=4, settings=Settings(0.1, 0.5))
    assert found.sum(axis=1) == pytest.approx(1)
    assert set(np.flatnonzero(found.max(axis=0))) == set(present)
    assert (found.argmax(axis=1) == labels).mean() > 0.8


def test_an_image_is_judged_without_its_own_label():
    features, labels, folds, _ = noisy_blobs()
    kept = np.ones(len(labels), bool)
    before = out_of_fold(features, labels, kept, folds, classes=12, settings=USUAL)
    changed = np.where(folds == 1, 0, labels)
    after = out_of_fold(features, changed, kept, folds, classes=12, settings=USUAL)
    assert np.array_equal(before[folds == 1], after[folds == 1])
    assert not np.array_equal(before[folds == 0], after[folds == 0])


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_settings_are_as_sure_as_the_features_allow_whatever_the_noise(rate):
    features, labels, folds, _ = noisy_blobs(rate=rate)
    nothing = np.random.default_rng(1).normal(size=features.shape)
    chosen, unsure = (choose_settings(each, labels, folds, classes=12) for each in (features, nothing))
    assert unsure.temperature < chosen.temperature


@pytest.mark.parametrize("rule", ["noise-channel", "top-k", "confident-learning", "margin", "agreement"])
def test_the_rounds_find_wrong_labels(rule):
    features, labels, folds, wrong = noisy_blobs()
    found = clean(features, labels, folds, classes=12, rule=rule, rounds=5, settings=USUAL)
    assert roc_auc_score(wrong, found.suspicion) > 0.95
    assert (found.suspect & wrong).sum() > 0.85 * wrong.sum()
    assert (found.suspect & wrong).sum() > 0.85 * found.suspect.sum()
    assert found.rate == pytest.approx(wrong.mean(), abs=0.06)
    assert found.rounds[-1].suspect == found.suspect.sum()
    assert sum(each.new - each.returned for each in found.rounds) == found.suspect.sum()
    assert [each.number for each in found.rounds] == list(range(1, len(found.rounds) + 1))
    assert found.since.max() <= len(found.rounds)


def test_the_loop_of_the_write_up_only_lets_suspects_return():
    features, labels, folds, _ = noisy_blobs(spread=1.2)
    found = clean(features, labels, folds, classes=12, rule="top-k", rounds=5, settings=USUAL)
    steps = [each.step for each in found.rounds]
    assert steps == sorted(steps)  # coarse, then fine
    first = {step: steps.index(step) for step in ("coarse", "fine")}
    assert all(each.new == 0 for at, each in enumerate(found.rounds) if at not in first.values())
    assert any(each.returned for each in found.rounds)


def test_few_classes_have_no_coarse_step():
    features, labels, folds, _ = noisy_blobs(classes=10)
    found = clean(features, labels, folds, classes=10, rule="top-k", rounds=2, settings=USUAL)
    assert {each.step for each in found.rounds} == {"fine"}


def test_what_a_person_confirmed_is_never_suspect():
    features, labels, folds, wrong = noisy_blobs()
    settings = {"classes": 12, "rule": "noise-channel", "rounds": 3, "settings": USUAL}
    assert clean(features, labels, folds, **settings).suspect[wrong].any()
    assert not clean(features, labels, folds, certain=wrong, **settings).suspect[wrong].any()


@pytest.mark.parametrize(("rate", "seed"), [(0.4, 0), (0.0, 0), *((0.9166, seed) for seed in range(5))])
def test_removal_gains_where_labels_are_wrong_and_not_where_they_are_right_or_random(rate, seed):
    features, labels, folds, _ = noisy_blobs(rate=rate, seed=seed)
    judge = partial(clean, classes=12, rule="noise-channel", rounds=3, settings=USUAL)
    gain = gain_of_removal(features, labels, folds, judge, certain=np.zeros(len(labels), bool))
    assert (gain.low > 0) == (rate == 0.4)
