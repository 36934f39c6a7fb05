"""Every rule by which a label may become suspect, on labels of which it is known which are wrong."""

from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from noseprint.cleaning.options import RuleName
from noseprint.cleaning.suspicion import SUSPECT_ABOVE, choose_rule, noise_channel, outside_top

from .test_suspicion import noisy_labels


@pytest.mark.parametrize("name", get_args(RuleName))
def test_a_rule_finds_most_wrong_labels_and_ranks_them_first(name):
    probabilities, labels, truth = noisy_labels(rate=0.2, images=800)
    features = 5 * np.sqrt(probabilities) + np.random.default_rng(1).normal(0, 0.1, probabilities.shape)
    said = choose_rule(name, features)(probabilities, labels)
    wrong = labels != truth
    assert roc_auc_score(wrong, said.suspicion) > 0.9
    assert (said.suspect & wrong).sum() > 0.7 * wrong.sum()
    assert said.posterior.shape == probabilities.shape
    assert said.suspicion[said.suspect].mean() > said.suspicion[~said.suspect].mean()


def test_outside_the_top():
    probabilities = np.array([[0.5, 0.3, 0.2]] * 3)
    assert outside_top(1)(probabilities, np.array([0, 1, 2])).suspect.tolist() == [False, True, True]
    assert outside_top(2)(probabilities, np.array([0, 1, 2])).suspect.tolist() == [False, False, True]


def test_what_is_learned_early_is_less_suspect_by_the_channel():
    probabilities, labels, truth = noisy_labels(rate=0.2, images=400)
    features = 5 * np.eye(5)[truth] + np.random.default_rng(1).normal(0, 0.1, (400, 5))
    doubted = noise_channel(probabilities, labels).suspicion(labels) > SUSPECT_ABOVE
    unusual, wrong = doubted & (labels == truth), doubted & (labels != truth)
    said = choose_rule("noise-channel", features)(probabilities, labels)
    assert roc_auc_score(wrong[doubted], said.suspicion[doubted]) > 0.99
    assert said.suspect[wrong].all()
    assert 0 < said.suspect[unusual].mean() < 0.7
    assert not said.suspect[~doubted].any()


@pytest.mark.parametrize("name", ["self-confidence", "margin"])
def test_a_rule_without_a_limit_takes_as_many_as_the_channel_estimates(name):
    probabilities, labels, truth = noisy_labels(rate=0.1)
    suspect = choose_rule(name, probabilities)(probabilities, labels).suspect
    assert suspect.mean() == pytest.approx((labels != truth).mean(), abs=0.03)


def test_agreement_needs_two_rules_and_names_them():
    probabilities, labels, _ = noisy_labels(rate=0.2, images=400)
    features = 5 * np.sqrt(probabilities)
    names = ("noise-channel", "top-k", "confident-learning", "aum")
    votes = np.stack([choose_rule(name, features)(probabilities, labels).suspect for name in names])
    said = choose_rule("agreement", features)(probabilities, labels)
    assert said.suspect.tolist() == (votes.sum(axis=0) >= 2).tolist()
    assert 0 < said.suspect.sum() < len(labels)
    for row in range(len(labels)):
        assert said.found_by[row] == " and ".join(name for name, vote in zip(names, votes[:, row], strict=True) if vote)
