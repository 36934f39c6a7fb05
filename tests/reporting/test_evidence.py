"""The report's statistics beyond the scores."""

import numpy as np

from noseprint.reporting.evidence import (
    check_thresholds,
    gain_over_best,
    hardest_pairs,
    member_gains,
    pair_probabilities,
)


def test_a_gain_is_the_difference_of_the_scores(make):
    labelled = make.labelled(12)
    evaluation = make.evaluation(labelled)
    scores = evaluation.scores
    best, over_best = gain_over_best(evaluation)
    assert scores[best].map.value == max(scores[name].map.value for name in ("one", "two"))
    gains = member_gains(evaluation)
    other = {"one": "two", "two": "one"}
    for rest, gain in [(best, over_best), *((other[name], gain) for name, gain in gains.items())]:
        assert np.isclose(gain.auc.value, scores["ensemble"].auc.value - scores[rest].auc.value)
        assert np.isclose(gain.map.value, scores["ensemble"].map.value - scores[rest].map.value)
        assert gain.auc.low < gain.auc.value < gain.auc.high
    single = make.evaluation(labelled, names=("one",))
    assert member_gains(single) == {}
    assert gain_over_best(single) is None


def test_intervals_are_the_whole_range_for_too_few_individuals(make):
    evaluation = make.evaluation(make.labelled(4))
    for gain in (*member_gains(evaluation).values(), gain_over_best(evaluation)[1]):
        for score in (gain.auc, gain.map):
            assert (score.low, score.high) == (-1, 1)
    (test,) = check_thresholds(make.verifier(evaluation, 0.1), evaluation)
    assert (test.fmr.low, test.fmr.high) == (test.tmr.low, test.tmr.high) == (0, 1)


def test_thresholds_are_counted_on_the_test_pairs(make):
    evaluation = make.evaluation(make.labelled(12))
    verifier = make.verifier(evaluation, 0.1)
    (test,) = check_thresholds(verifier, evaluation)
    reached = evaluation.similarity["ensemble"] >= verifier.points[0].threshold
    same = evaluation.labelled.same
    assert (test.false_matches, test.different, test.same) == (np.sum(reached & ~same), np.sum(~same), np.sum(same))
    assert (test.fmr.value, test.tmr.value) == (np.mean(reached[~same]), np.mean(reached[same]))
    assert check_thresholds(verifier, make.evaluation(evaluation.labelled, names=("one", "three"))) == []


def test_the_hardest_pairs_come_first(make):
    evaluation = make.evaluation(make.labelled(12))
    similarity, same = evaluation.similarity["ensemble"], evaluation.labelled.same
    probability = np.linspace(0, 1, len(same))
    different = hardest_pairs(evaluation, same=False, count=3, probability=probability)
    assert [pair.similarity for pair in different] == sorted(similarity[~same].tolist())[:-4:-1]
    row = int(np.argmin(np.where(same, similarity, 2)))
    (pair,) = hardest_pairs(evaluation, same=True, count=1, probability=probability)
    assert (pair.similarity, pair.probability) == (similarity[row], probability[row])
    pairs = evaluation.labelled.pairs
    assert (pair.image_a.name, pair.image_b.name) == (pairs.image_a[row], pairs.image_b[row])


def test_probabilities_come_from_the_verifier_or_from_all_members(make):
    evaluation = make.evaluation(make.labelled(12))
    verifier = make.verifier(evaluation, 0.1)
    prior = float(np.mean(evaluation.labelled.same))
    by_verifier = pair_probabilities(evaluation, verifier, {})
    assert np.allclose(by_verifier, verifier.calibration.probability(evaluation.similarity["ensemble"], prior))
    calibrations = {"one": verifier.calibration, "two": verifier.calibration}
    by_members = pair_probabilities(evaluation, None, calibrations)
    assert np.allclose(by_members, by_verifier, atol=1e-5)  # one straight line for all: the mean of both is the same
    assert pair_probabilities(evaluation, None, {"one": verifier.calibration}) is None
