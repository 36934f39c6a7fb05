from collections import Counter

import numpy as np
import pytest

from noseprint.errors import NoseprintError
from noseprint.importing.splits import MIN_IDENTITIES, Shot, choose_queries, make_pairs, split_identities


def shots(sizes, encounters=None):
    """Identity k has sizes[k] photographs in `encounters` encounters; None: each photograph is one of its own."""
    return {
        f"dog {k}": [Shot(f"{k}-{j}.jpg", f"{j % encounters}" if encounters else f"{k}-{j}.jpg") for j in range(size)]
        for k, size in enumerate(sizes)
    }


@pytest.mark.parametrize("count", [10, 11, 14, 30, 200])
def test_identities_are_split_by_the_shares_and_no_split_gets_too_few(count):
    own = shots([2] * count + [1] * count)
    split = split_identities(own, validation=0.1, test=0.2, seed=0)
    assert set(split) == set(own)
    several = Counter(split[f"dog {k}"] for k in range(count))
    single = Counter(split[f"dog {k}"] for k in range(count, 2 * count))
    assert several["test"] == max(2, round(0.2 * count))
    assert several["validation"] == max(2, round(0.1 * count))
    assert several["train"] >= MIN_IDENTITIES["train"]
    assert (single["test"], single["validation"]) == (round(0.2 * count), round(0.1 * count))


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    own = shots([3] * 20)
    backwards = dict(reversed(own.items()))
    first, same_seed, other_seed = (
        split_identities(o, validation=0.1, test=0.2, seed=s) for o, s in ((own, 0), (backwards, 0), (own, 1))
    )
    assert first == same_seed != other_seed


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (shots([4] * 5), "5 individuals have two photographs or more"),
        (shots([1] * 50), "0 individuals"),
        (shots([4] * 50, encounters=1), "0 individuals"),
        (shots([2] * 9), "at least 10 are needed: 6 to train"),
    ],
)
def test_too_few_individuals_are_rejected_with_the_number_needed(own, message):
    with pytest.raises(NoseprintError, match=message):
        split_identities(own, validation=0.1, test=0.2, seed=0)


def test_encounters_are_named_where_they_are_the_reason():
    own = {k: [Shot(s.name, "north") for s in of_one] for k, of_one in shots([2] * 12).items()}
    for column, message in (
        (
            "camera",
            "12 have two photographs, but 12 of these from one encounter only: the column 'camera' has one value",
        ),
        ("", r"12 of these from one encounter only\. To compare .* import with --no-encounters"),
    ):
        with pytest.raises(NoseprintError, match=message):
            split_identities(own, validation=0.1, test=0.2, seed=0, encounter_column=column)
    with pytest.raises(NoseprintError) as error:
        split_identities(shots([2] * 9), validation=0.1, test=0.2, seed=0, encounter_column="camera")
    assert "encounters" not in str(error.value).partition("to test")[2]


def test_shares_that_leave_too_few_to_train_are_rejected():
    with pytest.raises(NoseprintError, match="leave 2 of 20 individuals to train, and 6 are needed"):
        split_identities(shots([2] * 20), validation=0.4, test=0.5, seed=0)


@pytest.mark.parametrize("sizes", [[2, 2], [1, 2], [5, 1, 1, 1], [30, 3, 2], [4] * 40])
@pytest.mark.parametrize("most", [2, 7, 10_000])
def test_pairs_are_distinct_half_the_same_and_labelled_by_identity(sizes, most):
    pairs = make_pairs(shots(sizes), most=most, seed=3)
    assert len({frozenset(pair[:2]) for pair in pairs}) == len(pairs)
    assert all((a.split("-")[0] == b.split("-")[0]) == bool(same) and a != b for a, b, same in pairs)
    labels = Counter(same for *_, same in pairs)
    possible_same = sum(n * (n - 1) // 2 for n in sizes)
    possible_different = (sum(sizes) ** 2 - sum(n * n for n in sizes)) // 2
    assert labels[0] == labels[1] == min(most // 2, possible_same, possible_different)


def test_an_individual_with_many_photographs_does_not_crowd_out_the_others():
    pairs = make_pairs(shots([60, 3, 3]), most=24, seed=0)
    whose = Counter(a.split("-")[0] for a, _, same in pairs if same)
    assert whose == {"0": 6, "1": 3, "2": 3}


def test_same_pairs_and_searches_compare_different_encounters():
    own = shots([6] * 4, encounters=2)
    encounter_of = {shot.name: shot.encounter for of_one in own.values() for shot in of_one}
    same = [(a, b) for a, b, label in make_pairs(own, most=10_000, seed=0) if label]
    assert len(same) == 4 * 9
    assert all(encounter_of[a] != encounter_of[b] for a, b in same)
    for of_one in own.values():
        queries = choose_queries(of_one, np.random.default_rng(0))
        assert len(queries) == 3
        assert len({encounter_of[name] for name in queries}) == 1


@pytest.mark.parametrize(("size", "queries"), [(1, 0), (2, 1), (4, 1), (5, 2), (12, 3)])
def test_a_quarter_of_the_photographs_are_queries_and_at_least_one_is_not(size, queries):
    assert len(choose_queries(shots([size])["dog 0"], np.random.default_rng(0))) == queries
