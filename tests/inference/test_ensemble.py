"""Ensembles of classifiers, against plain loops and a search over all ensembles."""

from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.special import softmax

from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs
from noseprint.inference.ensemble import (
    MOST_JOINS,
    choose_prior_share,
    fit_temperature,
    greedy_selection,
    mean_answers,
    vote,
    weighted_mean,
    with_temperature,
    without_prior,
)
from noseprint.metrics.classification import mean_per_class


def random_members(number=3, images=60, classes=5, skill=2.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=images)
    logits = rng.normal(size=(number, images, classes)) + skill * np.eye(classes)[truth]
    return list(softmax(logits, axis=2)), truth


def test_the_mean_is_weighted_and_a_weight_of_zero_leaves_out():
    members, _ = random_members()
    expected = np.zeros_like(members[0])
    for row in range(60):
        for k in range(5):
            expected[row, k] = (2 * members[0][row, k] + members[2][row, k]) / 3
    np.testing.assert_allclose(weighted_mean(iter(members), [2, 0, 1]), expected)


def test_a_vote_is_counted_and_a_tie_goes_to_the_more_probable_class():
    members, _ = random_members(number=4, skill=0.5)
    found = vote(members)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    ties = 0
    for row, answer in enumerate(found.argmax(axis=1)):
        votes = Counter(int(member[row].argmax()) for member in members)
        most = max(votes.values())
        tied = [k for k, number in votes.items() if number == most]
        ties += len(tied) > 1
        assert answer == max(tied, key=lambda k: np.mean([member[row, k] for member in members]))
    assert ties > 5


def naive_greedy(members, truth):
    """Ensembles as lists; each step tries every member."""
    chosen, best, best_right = [], [], -1
    for _ in range(MOST_JOINS):
        tried = []
        for m in range(len(members)):
            p = np.mean([members[k] for k in [*chosen, m]], axis=0)
            right = sum(row.argmax() == t for row, t in zip(p, truth, strict=True))
            loss = -np.mean([np.log(row[t]) for row, t in zip(p, truth, strict=True)])
            tried.append((-right, round(loss, 12), m))
        wrong, _, m = min(tried)
        chosen.append(m)
        if -wrong > best_right:
            best, best_right = list(chosen), -wrong
    return best, best_right / len(truth)


@pytest.mark.parametrize("seed", range(6))
def test_greedy_selection_is_that_of_a_naive_loop(seed):
    members, truth = random_members(number=4, skill=1.0, seed=seed)
    joins = greedy_selection(members, truth)
    expected, right = naive_greedy(members, truth)
    assert [join.member for join in joins] == expected
    assert joins[-1].accuracy == pytest.approx(right)
    mean = np.mean([members[join.member] for join in joins], axis=0)
    assert (mean.argmax(axis=1) == truth).mean() == pytest.approx(right)
    assert joins[-1].log_loss == pytest.approx(-np.log(mean[np.arange(60), truth]).mean())


def test_greedy_selection_is_at_least_as_good_as_every_single_member_and_no_better_than_a_full_search():
    members, truth = random_members(number=3, skill=1.0, seed=9)
    found = greedy_selection(members, truth)[-1].accuracy
    every = [
        (np.mean([members[k] for k in chosen], axis=0).argmax(axis=1) == truth).mean()
        for size in range(1, 7)
        for chosen in combinations_with_replacement(range(3), size)
    ]
    assert max(every[:3]) <= found <= max(every)


def test_one_member_joins_once_and_a_tie_keeps_the_smaller_ensemble():
    members, truth = random_members(number=1)
    assert [join.member for join in greedy_selection(members, truth)] == [0]
    twins = [members[0], members[0].copy()]
    assert [join.member for join in greedy_selection(twins, truth)] == [0]


def test_of_members_that_are_right_equally_often_the_one_with_the_lower_log_loss_comes_first():
    truth = np.array([0, 1])
    timid, sure = (np.array([[p, 1 - p], [1 - p, p]]) for p in (0.6, 0.9))
    assert [join.member for join in greedy_selection([timid, sure], truth)] == [1]


def test_the_temperature_brings_back_that_which_was_planted():
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(20000, 6)) * 2, axis=1)
    truth = np.array([rng.choice(6, p=row) for row in p])
    for planted in (0.5, 1.0, 2.5):
        assert fit_temperature(with_temperature(p, 1 / planted), truth) == pytest.approx(planted, rel=0.04)


def test_the_temperature_has_the_lowest_log_loss_of_a_grid():
    members, truth = random_members(images=300, skill=1.0)
    sharp = with_temperature(members[0], 0.3)
    found = fit_temperature(sharp, truth)
    losses = {t: -np.log(with_temperature(sharp, t)[np.arange(300), truth]).mean() for t in np.geomspace(0.2, 10, 400)}
    assert found == pytest.approx(min(losses, key=losses.get), rel=0.03)


def test_few_images_that_are_all_right_do_not_make_it_sure_of_everything():
    p = np.array([[0.8, 0.1, 0.1]] * 4)
    found = with_temperature(p, fit_temperature(p, np.zeros(4, int)))
    assert 0.8 < found[0, 0] < 0.99


def test_a_probability_of_zero_stays_finite():
    p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    temperature = fit_temperature(p, np.array([0, 1, 1]))
    assert np.isfinite(with_temperature(p, temperature)).all()


def outputs(classes=("a", "b"), seed=0):
    logits = np.random.default_rng(seed).normal(size=(4, len(classes))).astype(np.float32)
    return ClassifierOutputs(tuple("wxyz"), logits, np.zeros((4, 1), np.float32), classes, "0" * 16)


def test_the_mean_of_members_is_that_of_their_softmax():
    members = [outputs(seed=1), outputs(seed=2)]
    expected = [np.mean([np.exp(m.logits[r]) / np.exp(m.logits[r]).sum() for m in members], axis=0) for r in range(4)]
    found = mean_answers(members, classes=["a", "b"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_member_with_other_classes_is_refused():
    with pytest.raises(NoseprintError, match="other classes than the training images have now, such as b, c"):
        mean_answers([outputs(), outputs(classes=("a", "c"))], classes=["a", "b"])


def tail(*, images=600, seed=0):
    """Probabilities of a classifier that has learned how frequent its classes are, the classes, and their counts."""
    random = np.random.default_rng(seed)
    counts = np.array([400, 150, 40, 10])
    truth = random.choice(4, images, p=counts / counts.sum())
    logits = 1.2 * np.eye(4)[truth] + random.normal(0, 0.7, (images, 4)) + np.log(counts)
    return softmax(logits, axis=1), truth, counts


def test_without_the_prior_each_row_is_divided_by_a_power_of_the_counts():
    found = without_prior(np.array([[0.6, 0.4], [0.9, 0.1]]), np.array([4, 1]), 0.5)
    np.testing.assert_allclose(found, [[0.3 / 0.7, 0.4 / 0.7], [0.45 / 0.55, 0.1 / 0.55]])
    np.testing.assert_allclose(without_prior(found, np.array([4, 0]), 0), found)


def test_the_chosen_share_helps_rare_classes_and_costs_no_right_answer():
    chosen = []
    for seed in range(5):
        probability, truth, counts = tail(seed=seed)
        share = choose_prior_share(probability, truth, counts)
        before, after = (
            probability.argmax(axis=1) == truth,
            without_prior(probability, counts, share).argmax(axis=1) == truth,
        )
        assert after.sum() >= before.sum()
        if share:
            assert mean_per_class(after, truth.tolist()) > mean_per_class(before, truth.tolist())
        chosen.append(share)
    assert any(chosen)


def test_nothing_is_taken_away_where_it_changes_nothing_or_does_harm():
    probability, truth, _ = tail()
    assert choose_prior_share(probability, truth, np.full(4, 7)) == 0
    sure = np.eye(4)[truth] * 0.96 + 0.01
    assert choose_prior_share(sure, truth, np.array([400, 150, 40, 10])) == 0
