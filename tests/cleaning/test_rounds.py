"""Folds, the linear classifier, the rounds, and the guard against harm."""

from collections import Counter

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score

from noseprint.cleaning.rounds import (
    PENALTIES,
    SCALE,
    assign_folds,
    choose_penalty,
    clean,
    gain_of_removal,
    linear_probabilities,
    out_of_fold,
    reduce_features,
)
from noseprint.errors import NoseprintError


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
    with pytest.raises(NoseprintError, match="--folds 4: give 2 to 3, the number of groups"):
        assign_folds(["a"] * 9, folds=4, groups=["x", "y", "z"] * 3)
    with pytest.raises(NoseprintError, match="--folds 1: give 2 to 9, the number of images"):
        assign_folds(["a"] * 9, folds=1)


def test_reduced_features_keep_the_angles():
    features = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 51)[:, None]
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = SCALE * (directions - directions.mean(axis=0))
    reduced = reduce_features(features)
    assert reduced.shape == (50, 8)
    assert reduced @ reduced.T == pytest.approx(centred @ centred.T)
    assert reduce_features(np.zeros((3, 400))).shape == (3, 3)


def test_the_classifier_minimises_the_weighted_loss_and_the_penalty():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 3)), random.integers(0, 3, 60)
    weights, penalty = random.choice([0.0, 0.5, 1.0], 60), 1e-2

    def loss(flat):
        matrix, bias = flat[:9].reshape(3, 3), flat[9:]
        each = -log_softmax(features @ matrix + bias, axis=1)[np.arange(60), labels]
        return (weights @ each) / weights.sum() + penalty * (matrix**2).sum()

    best = minimize(loss, np.zeros(12), tol=1e-9).x
    others = random.normal(size=(5, 3))
    expected = softmax(others @ best[:9].reshape(3, 3) + best[9:], axis=1)
    found = linear_probabilities(features, labels, weights, others, classes=3, penalty=penalty)
    assert found == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("present", [[0, 2, 3], [1, 2], [2]])
def test_a_class_without_images_has_no_probability(present):
    random = np.random.default_rng(0)
    labels = np.array(present * 20)
    features = 3 * np.eye(4)[labels] + random.normal(size=(len(labels), 4))
    found = linear_probabilities(features, labels, np.ones(len(labels)), features, classes=4, penalty=1e-3)
    assert found.sum(axis=1) == pytest.approx(1)
    assert set(np.flatnonzero(found.max(axis=0))) == set(present)
    assert (found.argmax(axis=1) == labels).mean() > 0.8


def test_an_image_is_judged_without_its_own_label():
    features, labels, folds, _ = noisy_blobs()
    weights = np.ones(len(labels))
    before = out_of_fold(features, labels, weights, folds, classes=12, penalty=1e-3)
    changed = np.where(folds == 1, 0, labels)
    after = out_of_fold(features, changed, weights, folds, classes=12, penalty=1e-3)
    assert np.array_equal(before[folds == 1], after[folds == 1])
    assert not np.array_equal(before[folds == 0], after[folds == 0])


def test_the_penalty_is_large_where_features_say_nothing_and_small_where_they_say_all():
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    folds = assign_folds(list(map(str, labels)), folds=4)
    nothing = random.normal(size=(200, 30))
    everything = np.where(labels[:, None] == 1, 1.0, -1.0) + 0.01 * random.normal(size=(200, 30))
    assert choose_penalty(nothing, labels, folds, classes=2) == max(PENALTIES)
    assert choose_penalty(everything, labels, folds, classes=2) == min(PENALTIES)


@pytest.mark.parametrize("rule", ["noise-channel", "top-k", "confident-learning", "margin", "agreement"])
def test_the_rounds_find_wrong_labels(rule):
    features, labels, folds, wrong = noisy_blobs()
    found = clean(features, labels, folds, classes=12, rule=rule, rounds=5, penalty=1e-3)
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
    found = clean(features, labels, folds, classes=12, rule="top-k", rounds=5, penalty=1e-3)
    steps = [each.step for each in found.rounds]
    assert steps == sorted(steps)  # coarse, then fine
    first = {step: steps.index(step) for step in ("coarse", "fine")}
    assert all(each.new == 0 for at, each in enumerate(found.rounds) if at not in first.values())
    assert any(each.returned for each in found.rounds)


def test_few_classes_have_no_coarse_step():
    features, labels, folds, _ = noisy_blobs(classes=10)
    found = clean(features, labels, folds, classes=10, rule="top-k", rounds=2, penalty=1e-3)
    assert {each.step for each in found.rounds} == {"fine"}


def test_what_a_person_confirmed_is_never_suspect():
    features, labels, folds, wrong = noisy_blobs()
    settings = {"classes": 12, "rule": "noise-channel", "rounds": 3, "penalty": 1e-3}
    assert clean(features, labels, folds, **settings).suspect[wrong].any()
    assert not clean(features, labels, folds, certain=wrong, **settings).suspect[wrong].any()


@pytest.mark.parametrize(("rate", "spread"), [(0.4, 0.6), (0.0, 1.0), (0.9166, 0.6)])
def test_removal_gains_where_labels_are_wrong_and_not_where_they_are_right_or_random(rate, spread):
    features, labels, folds, _ = noisy_blobs(rate=rate, spread=spread)
    settings = {"classes": 12, "rule": "noise-channel", "rounds": 3, "penalty": 1e-3}
    gain = gain_of_removal(features, labels, folds, certain=np.zeros(len(labels), bool), **settings)
    assert (gain.low > 0) == (rate == 0.4)
