from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from noseprint.errors import NoseprintError
from noseprint.inference.fuse import fuse


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


def frame(*rows, columns=("imageA", "imageB", "prediction")):
    return pd.DataFrame(list(rows), columns=list(columns))


ONE = frame(("a", "b", 0.9), ("a", "c", 0.1), ("b", "c", 0.5))
TWO = frame(("c", "b", 0.3), ("a", "c", 0.2), ("b", "a", 0.8), ("x", "y", 7.0))
PAIRS = Table(("b", "a", "a", "a", "c"), ("c", "b", "c", "b", "a"))  # a duplicate, and (c, a) for (a, c)


def test_mean_joins_on_names_and_answers_each_pair():
    np.testing.assert_allclose(fuse({"one": ONE, "two": TWO}, PAIRS, method="mean"), [0.4, 0.85, 0.15, 0.85, 0.15])


@given(st.permutations(range(3)), st.permutations(range(4)), st.sampled_from(["mean", "rank"]))
def test_row_order_of_a_member_changes_nothing(order, other, method):
    shuffled = {"one": ONE.iloc[list(order)], "two": TWO.iloc[list(other)]}
    np.testing.assert_array_equal(
        fuse(shuffled, PAIRS, method=method), fuse({"one": ONE, "two": TWO}, PAIRS, method=method)
    )


def test_a_row_in_the_order_of_the_pair_is_preferred():
    both = frame(("a", "b", 0.25), ("b", "a", 0.75))
    np.testing.assert_array_equal(fuse({"m": both}, Table(("b", "a"), ("a", "b"))), [0.75, 0.25])


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=2, max_size=15))
def test_ranks_are_average_ranks_scaled(values):
    pairs = Table(tuple(map(str, range(len(values)))), tuple("z" * len(values)))
    member = frame(*zip(pairs.image_a, pairs.image_b, values, strict=True))
    want = (rankdata(values) - 1) / (len(values) - 1)
    np.testing.assert_allclose(fuse({"m": member}, pairs, method="rank"), want)


def test_ranks_ignore_scale_and_duplicates():
    member = frame(("a", "b", 0.9), ("a", "c", 0.1), ("b", "c", 0.5))
    wide = member.assign(prediction=member["prediction"] * 1000 - 5)
    got = fuse({"narrow": member, "wide": wide}, Table(("a", "a", "b", "b"), ("b", "c", "c", "c")), method="rank")
    np.testing.assert_array_equal(got, [1.0, 0.0, 0.5, 0.5])
    np.testing.assert_array_equal(fuse({"m": member}, Table(("a",), ("b",)), method="rank"), [0.5])


def probable(*rows):
    return frame(*rows, columns=("imageA", "imageB", "prediction", "probability"))


def test_calibrated_is_the_mean_of_log_odds():
    one, two = probable(("a", "b", 5.0, 0.9)), probable(("b", "a", 6.0, 0.2))
    odds = np.sqrt((0.9 / 0.1) * (0.2 / 0.8))
    np.testing.assert_allclose(
        fuse({"1": one, "2": two}, Table(("a",), ("b",)), method="calibrated"), odds / (1 + odds)
    )


def test_calibrated_handles_certainty_and_keeps_small_differences():
    certain = probable(("a", "b", 0, 1.0), ("a", "c", 0, 0.0), ("a", "d", 0, 1e-9), ("a", "e", 0, 1e-10))
    got = fuse({"m": certain, "n": certain}, Table(tuple("aaaa"), tuple("bcde")), method="calibrated")
    assert np.isfinite(got).all()
    assert got[0] > got[2] > got[3] > got[1] >= 0


def test_a_member_that_lacks_pairs_is_refused():
    with pytest.raises(NoseprintError, match=r"'two' lacks 3 of 4 pairs, first \('a', 'b'\)"):
        fuse({"one": ONE, "two": TWO.iloc[:1]}, PAIRS)


def test_different_values_for_one_pair_are_refused():
    twice = pd.concat([ONE, ONE])
    np.testing.assert_array_equal(fuse({"m": twice}, PAIRS), fuse({"m": ONE}, PAIRS))
    clash = pd.concat([ONE, frame(("a", "c", 0.11))])
    with pytest.raises(
        NoseprintError, match=r"two different values for 1 pairs, such as 0\.1 and 0\.11 for \('a', 'c'\)"
    ):
        fuse({"m": clash}, PAIRS)


def test_calibrated_without_probabilities_is_refused():
    with pytest.raises(NoseprintError, match="'one' has no probability column"):
        fuse({"one": ONE}, PAIRS, method="calibrated")


def test_no_members_and_unknown_methods_are_refused():
    with pytest.raises(NoseprintError, match="nothing to fuse"):
        fuse({}, PAIRS)
    with pytest.raises(NoseprintError, match="'median' is unknown"):
        fuse({"one": ONE}, PAIRS, method="median")


def test_a_pair_to_which_a_member_has_no_answer_has_none():
    holes = ONE.assign(prediction=[0.9, np.nan, 0.5], probability=[0.9, np.nan, 0.5])
    whole = ONE.assign(probability=[0.8, 0.7, 0.6])
    pairs = Table(("a", "a", "b"), ("b", "c", "c"))
    for method, expected in (("mean", [0.9, np.nan, 0.5]), ("rank", [1, np.nan, 0.25]), ("calibrated", None)):
        fused = fuse({"holes": pd.concat([holes, holes]), "whole": whole}, pairs, method=method)
        assert np.isnan(fused).tolist() == [False, True, False]
        if expected:
            np.testing.assert_allclose(fused, expected)
    np.testing.assert_array_equal(
        fuse({"m": holes.iloc[:2]}, Table(("a", "a"), ("b", "c")), method="rank"), [0.5, np.nan]
    )
