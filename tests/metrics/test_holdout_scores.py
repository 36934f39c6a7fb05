import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from noseprint.errors import NoseprintError
from noseprint.metrics.holdout_scores import evaluate_holdout

IDENTITIES = [str(i) for i in range(20) for _ in range(4)]


def normalised(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_the_hold_out_is_scored_on_balanced_pairs_and_repeatably():
    rng = np.random.default_rng(0)
    x = normalised(np.repeat(rng.standard_normal((20, 16)), 4, axis=0) + rng.standard_normal((80, 16)))
    scores = evaluate_holdout(x, IDENTITIES, seed=0)
    assert len(scores.same) == 2 * 20 * 6
    assert scores.same.sum() == 120
    assert scores.auc == pytest.approx(roc_auc_score(scores.same, scores.similarity))
    assert 0.8 < scores.auc < 1
    assert 0.3 < scores.map < 1
    assert 0.3 < scores.rank_1 <= 1
    again = evaluate_holdout(x, IDENTITIES, seed=0)
    np.testing.assert_array_equal(scores.similarity, again.similarity)
    assert len(evaluate_holdout(x, IDENTITIES, seed=0, max_pairs=50).same) == 50


def test_near_copies_from_one_encounter_do_not_count():
    rng = np.random.default_rng(0)
    encounters = ["morning", "morning", "evening", "evening"] * 20
    x = normalised(np.repeat(rng.standard_normal((40, 16)), 2, axis=0))  # equal within an encounter, else random
    copies = evaluate_holdout(x, IDENTITIES, seed=0)
    assert copies.rank_1 == 1
    honest = evaluate_holdout(x, IDENTITIES, seed=0, encounters=encounters)
    assert honest.same.sum() == 20 * 4
    assert honest.auc < 0.65 < copies.auc
    assert honest.rank_1 < 0.3


def test_one_identity_cannot_be_scored():
    with pytest.raises(NoseprintError, match="two identities"):
        evaluate_holdout(np.ones((3, 4), np.float32), ["a"] * 3, seed=0)
