"""Answers within a capacity, against a search over all assignments and scipy."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from noseprint.errors import NoseprintError
from noseprint.inference import capacity as module
from noseprint.inference.capacity import assign_classes, balanced, prior_doubts
from noseprint.inference.predict_options import PredictOptions, images_of_each_class


def probabilities(images, classes, seed=0, scale=2.0):
    return softmax(scale * np.random.default_rng(seed).normal(size=(images, classes)), axis=1)


def total(p, answers):
    return p[np.arange(len(p)), answers].sum()


def best_of_all(p, capacity):
    images, classes = p.shape
    allowed = [a for a in product(range(classes), repeat=images) if np.bincount(a).max() <= capacity]
    return max(total(p, np.array(a)) for a in allowed)


@pytest.mark.parametrize(("images", "classes", "capacity"), [(6, 3, 2), (5, 3, 2), (4, 2, 3), (3, 5, 1), (1, 2, 4)])
def test_the_assignment_is_the_best_of_all(images, classes, capacity):
    for seed in range(5):
        p = probabilities(images, classes, seed)
        found = assign_classes(p, capacity=capacity)
        assert np.bincount(found).max() <= capacity
        assert total(p, found) == pytest.approx(best_of_all(p, capacity))


def test_a_capacity_that_nothing_exceeds_changes_nothing():
    p = probabilities(30, 6)
    most = np.bincount(p.argmax(axis=1)).max()
    np.testing.assert_array_equal(assign_classes(p, capacity=int(most)), p.argmax(axis=1))
    np.testing.assert_array_equal(assign_classes(p, capacity=10**9), p.argmax(axis=1))


def test_equal_probabilities_fill_the_classes():
    found = assign_classes(np.full((6, 3), 1 / 3), capacity=2)
    assert np.bincount(found).tolist() == [2, 2, 2]


def test_a_class_that_is_impossible_everywhere_still_takes_what_is_left():
    p = np.array([[0.9, 0.1, 0.0]] * 3)
    assert sorted(assign_classes(p, capacity=1)) == [0, 1, 2]


def test_more_images_than_places_are_refused():
    with pytest.raises(NoseprintError, match="3 classes take at most 6 images, and there are 7; give at least 3"):
        assign_classes(probabilities(7, 3), capacity=2)


def small_limits(monkeypatch, candidates):
    monkeypatch.setattr(module, "MOST_CELLS", 0)
    monkeypatch.setattr(module, "CANDIDATES", candidates)


def test_the_flow_finds_what_scipy_finds(monkeypatch):
    pytest.importorskip("ortools")
    small_limits(monkeypatch, 8)
    for seed in range(4):
        p = probabilities(60, 8, seed)
        columns = np.repeat(np.arange(8), 8)
        gain = p[:, columns]
        rows, places = linear_sum_assignment(gain, maximize=True)
        found = assign_classes(p, capacity=8)
        assert np.bincount(found).max() <= 8
        assert total(p, found) == pytest.approx(gain[rows, places].sum(), abs=1e-4)


def test_images_whose_candidates_are_full_get_another_class(monkeypatch):
    pytest.importorskip("ortools")
    small_limits(monkeypatch, 2)
    p = np.tile(softmax([5.0, 4.0, 1.0, 0.5, 0.0]), (20, 1))  # the same two candidates for all
    found = assign_classes(p, capacity=4)
    assert np.bincount(found).tolist() == [4, 4, 4, 4, 4]


def test_without_or_tools_a_large_problem_is_refused(monkeypatch):
    small_limits(monkeypatch, 2)
    monkeypatch.setitem(__import__("sys").modules, "ortools.graph.python.min_cost_flow", None)
    with pytest.raises(NoseprintError, match=r"OR-Tools for 6 images of 3 classes: pip install noseprint\[assign\]"):
        assign_classes(probabilities(6, 3), capacity=2)


# -- the prior ---------------------------------------------------------------------------------------------------------


def drawn(counts, seed=0, skill=3.0):
    """Calibrated probabilities of images, `counts` of each class, and their classes."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(counts)), counts)
    logits = rng.normal(size=(len(truth), len(counts)))  # the posterior of Gaussian scores with an even prior
    return softmax(skill * (logits + skill * np.eye(len(counts))[truth]), axis=1), truth


def test_balanced_probabilities_have_the_sums_of_the_prior():
    p = probabilities(40, 5, scale=4)
    found = balanced(p)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found.sum(axis=0), 8, rtol=2e-3)
    ratios = found / p  # scaled by row and by column, and in no other way
    np.testing.assert_allclose(ratios[0, 0] * ratios[1:, 1:], ratios[1:, :1] * ratios[:1, 1:], rtol=1e-6)


def test_balanced_probabilities_are_about_the_posterior_of_all_labellings_with_the_right_numbers():
    """The exact posterior, by a sum over all labellings with two images of each of three classes."""
    p = probabilities(6, 3, scale=1.0)
    exact = np.zeros_like(p)
    for labelling in product(range(3), repeat=6):
        if np.bincount(labelling, minlength=3).tolist() == [2, 2, 2]:
            rows = np.arange(6), np.array(labelling)
            exact[rows] += p[rows].prod()
    exact /= exact.sum(axis=1, keepdims=True)
    error, before = (np.abs(q - exact).mean() for q in (balanced(p), p))
    assert error < 0.03 < before


def test_probabilities_that_are_balanced_already_stay():
    np.testing.assert_allclose(balanced(np.full((6, 3), 1 / 3)), 1 / 3)
    assert np.isfinite(balanced(np.array([[1.0, 0.0, 0.0]] * 3))).all()


def test_a_true_prior_raises_no_doubt():
    for seed in range(10):
        p, truth = drawn([10] * 12, seed, skill=1.5)
        holdout = drawn([5] * 12, 100 + seed, skill=1.5)
        assert prior_doubts(p, each=10, truth=truth, holdout=holdout) == []
        assert prior_doubts(p, each=10) == []


def test_another_number_of_images_is_a_contradiction():
    p, _ = drawn([10] * 12)
    assert "12 classes with 9 images each are 108 images, and there are 120" in prior_doubts(p, each=9)[0]


def test_known_classes_that_come_too_often_are_a_contradiction_also_if_few_are_known():
    p, truth = drawn([12, 8, *[10] * 10])
    assert any("2 of 12 classes" in doubt for doubt in prior_doubts(p, each=10, truth=truth))
    few = np.where(np.arange(120) < 12, truth, -1)  # all of class 0
    assert any("1 of 12 classes" in doubt for doubt in prior_doubts(p, each=10, truth=few))
    few[:3] = -1
    assert not any("by their labels" in doubt for doubt in prior_doubts(p, each=10, truth=few))


def test_probabilities_that_are_spread_otherwise_are_a_contradiction():
    for seed in range(10):
        p, _ = drawn([90, 60, 45, 30, 30, 24, 21, 18, 15, 12, 9, 6], seed, skill=2.0)
        holdout = drawn([10] * 12, 100 + seed, skill=2.0)
        doubts = prior_doubts(p, each=30, holdout=holdout)
        assert len(doubts) == 1
        assert "spread over the classes in another way" in doubts[0]


@pytest.mark.parametrize("text", ["", "20", "exactly-0-each", "exactly--1-each", "about-20-each", "exactly-20-each "])
def test_a_prior_that_says_something_else_is_refused(text):
    with pytest.raises(NoseprintError, match="write how many images each class has, such as exactly-20-each"):
        images_of_each_class(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"capacity": 10}, "--capacity 10: needs --prior"),
        ({"capacity": 9, "prior": "exactly-10-each"}, "must not be below the number in --prior"),
        ({"images": "photos"}, "belong together"),
        ({"out": "x.csv"}, "belong together"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, message, tmp_path):
    with pytest.raises(NoseprintError, match=message):
        PredictOptions(data=tmp_path, **given)
    assert PredictOptions(data=tmp_path, capacity=25, prior="exactly-20-each").capacity == 25
