import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import binary_sensitivity_at_specificity

from noseprint.errors import NoseprintError
from noseprint.metrics.verification import (
    equal_error_rate,
    least_fmr,
    least_fmr_rounded_up,
    roc_auc,
    roc_curve,
    tmr_at_fmr,
    why_fmr_unsupported,
)

labelled = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({same for _, same in rows}) == 2
)


def columns(rows):
    return np.array([s for s, _ in rows], dtype=np.float32), np.array([b for _, b in rows])


def drawn(seed, *, pairs=1200):
    """Scores without ties, of pairs of which a little under half are the same."""
    rng = np.random.default_rng(seed)
    same = rng.random(pairs) < 0.45
    return rng.standard_normal(pairs) + 1.5 * same, same


@given(labelled)
def test_the_curve_equals_that_of_scikit_learn(rows):
    scores, same = columns(rows)
    fmr, tmr, threshold = sklearn_metrics.roc_curve(same, scores, drop_intermediate=False)
    found = roc_curve(scores, same)
    np.testing.assert_allclose(found.fmr, fmr, atol=1e-12)
    np.testing.assert_allclose(found.tmr, tmr, atol=1e-12)
    np.testing.assert_array_equal(found.threshold, threshold)
    for k, at in enumerate(found.threshold):
        assert found.fmr[k] == pytest.approx(np.mean(scores[~same] >= at))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_the_auc_equals_that_of_scikit_learn(rows):
    scores = np.array([s for s, _ in rows], dtype=np.float32)
    same = np.array([b for _, b in rows])
    if same.all() or not same.any():
        with pytest.raises(NoseprintError, match="needs same and different"):
            roc_auc(scores, same)
    else:
        assert roc_auc(scores, same) == pytest.approx(sklearn_metrics.roc_auc_score(same, scores), abs=1e-12)


def test_no_pairs_and_scores_that_are_not_numbers_are_refused():
    with pytest.raises(NoseprintError, match="there are 0 and 0"):
        roc_auc(np.array([]), np.array([], dtype=bool))
    with pytest.raises(NoseprintError, match="first pair 2"):
        roc_auc(np.array([0.1, np.nan]), np.array([False, True]))


@given(labelled)
def test_equal_error_rate_is_where_the_curve_meets_the_diagonal(rows):
    scores, same = columns(rows)
    fmr, tmr, _ = sklearn_metrics.roc_curve(same, scores, drop_intermediate=False)
    # along the curve, where both rates are linear between thresholds
    where = np.arange(len(fmr))
    crossing = brentq(lambda x: np.interp(x, where, fmr) - 1 + np.interp(x, where, tmr), 0, len(fmr) - 1, xtol=1e-13)
    assert equal_error_rate(scores, same) == pytest.approx(np.interp(crossing, where, fmr), abs=1e-9)
    assert equal_error_rate(-scores, same) == pytest.approx(1 - equal_error_rate(scores, same), abs=1e-12)


@pytest.mark.parametrize("fmr", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_tmr_at_fmr_equals_torchmetrics_sensitivity_at_a_specificity(seed, fmr):
    scores, same = drawn(seed)
    chances = torch.sigmoid(torch.from_numpy(scores))
    theirs, _ = binary_sensitivity_at_specificity(chances, torch.from_numpy(same).long(), min_specificity=1 - fmr)
    assert tmr_at_fmr(scores, same, fmr) == pytest.approx(theirs.item(), abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=30, max_size=40))
def test_tmr_at_fmr_accepts_part_of_a_tie(positive, negative):
    positive, negative = np.sort(positive), np.sort(negative)
    scores, same = np.append(positive, negative), np.repeat([True, False], [len(positive), len(negative)])
    for number in (30, len(negative)):
        fmr = number / len(negative)
        tie = negative[-number]  # the last score that is accepted, at least in part
        share = (number - np.sum(negative > tie)) / np.sum(negative == tie)
        expected = np.mean(positive > tie) + share * np.mean(positive == tie)
        if share == 1:  # same pairs down to the next different pair are accepted, too
            below = negative[negative < tie]
            expected = np.mean(positive > below[-1]) if len(below) else 1
        assert tmr_at_fmr(scores, same, fmr) == pytest.approx(expected)


def test_perfect_inverted_and_equal_scores_have_their_known_rates():
    same = np.repeat([True, False], 40)
    for scores, error, expected_tmr in ((same, 0, 1), (~same, 1, 0), (np.zeros(80), 0.5, 0.75)):
        assert equal_error_rate(scores, same) == error
        assert tmr_at_fmr(scores, same, 0.75) == expected_tmr
        assert roc_auc(scores, same) == 1 - error
    assert roc_curve(np.zeros(80), same).fmr.tolist() == [0, 1]


def test_an_fmr_that_the_pairs_do_not_support_is_refused():
    same = np.arange(400) < 100
    assert least_fmr(300) == 0.1
    assert least_fmr(0) == np.inf
    rounded = [least_fmr_rounded_up(different) for different in (0, 29, 30, 288, 300, 301, 29_999, 3_000_000)]
    assert rounded == [None, None, 1, 0.11, 0.1, 0.1, 0.0011, 1e-05]
    assert tmr_at_fmr(same.astype(float), same, 0.1) == 1
    with pytest.raises(
        NoseprintError,
        match=r"300 different pairs do not support .* 0\.099, .* takes 303 .* support 0\.1 at the lowest$",
    ):
        tmr_at_fmr(same.astype(float), same, 0.099)
    for different, fmr in ((3000, 0.01), (29_999, 0.001), (29, 1), (30_000, 0.001)):
        assert (why_fmr_unsupported(different, fmr) is None) == (different * fmr >= 30 - 1e-9)


@pytest.mark.parametrize("fmr", [0, -0.1, 1.01, np.nan])
def test_an_fmr_outside_its_range_is_refused(fmr):
    with pytest.raises(NoseprintError, match="outside"):
        tmr_at_fmr(*drawn(0), fmr)
