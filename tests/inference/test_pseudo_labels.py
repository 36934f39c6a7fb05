import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.errors import NoseprintError
from noseprint.inference.pseudo_labels import merge_pairs, produce_pseudo_labels, select_pseudo_pairs
from noseprint.metrics.holdout_scores import HoldoutPairs


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


def looked_up(values, default=0.9):
    def similarity_of(images_a, images_b):
        return np.array([[values.get(frozenset((a, b)), default) for b in images_b] for a in images_a])

    return similarity_of


def test_selection_by_threshold_and_by_count():
    similarity = np.array([0.5, 0.9, 0.7, 0.9, 0.1], dtype=np.float32)
    assert select_pseudo_pairs(similarity, threshold=0.7).tolist() == [1, 3]  # float32 0.7 is just below
    assert select_pseudo_pairs(similarity, threshold=float(np.float32(0.7))).tolist() == [1, 3, 2]
    assert select_pseudo_pairs(similarity, count=3).tolist() == [1, 3, 2]
    assert select_pseudo_pairs(similarity, count=99).tolist() == [1, 3, 2, 0, 4]
    for wrong in ({}, {"threshold": 0.5, "count": 2}):
        with pytest.raises(ValueError, match="either"):
            select_pseudo_pairs(similarity, **wrong)


def test_a_chain_becomes_one_identity():
    merge = merge_pairs(
        [("a", "b"), ("b", "c"), ("d", "e")], np.array([0.9, 0.8, 0.95]), looked_up({}), refuse_below=0.5
    )
    assert merge.groups == [["d", "e"], ["a", "b", "c"]]
    assert merge.merged == 1
    assert merge.refused == []


def test_a_chain_of_lookalikes_breaks_at_its_weakest_link():
    pairs = [("a", "b"), ("b", "c"), ("c", "d")]
    merge = merge_pairs(
        pairs, np.array([0.95, 0.85, 0.9]), looked_up({frozenset("ad"): 0.2, frozenset("ac"): 0.6}), refuse_below=0.5
    )
    assert merge.groups == [["a", "b"], ["c", "d"]]
    (refusal,) = merge.refused
    assert refusal.pair == ("b", "c")
    assert refusal.similarity == 0.85
    assert frozenset(refusal.contradiction) == frozenset("ad")
    assert refusal.contradiction_similarity == 0.2


def test_pseudo_identities_are_alike_to_no_labelled_one():
    table, x = Table(("a",), ("b",)), np.ones((2, 1), np.float32)
    for labelled, prefix in (("pseudo-7", "pseudo-pseudo-"), ("Pseudo 0", "pseudo-pseudo-"), ("Pseudora", "pseudo-")):
        found = produce_pseudo_labels(table, x, {"a": 0, "b": 1}, holdout=None, count=1, labelled=[labelled])
        assert found.rows[0][0] == f"{prefix}0000"


def test_self_pairs_and_repeated_pairs_are_ignored():
    pairs = [("a", "a"), ("a", "b"), ("b", "a"), ("a", "b"), ("z", "z")]
    merge = merge_pairs(pairs, np.array([1, 0.9, 0.9, 0.9, 1]), looked_up({}), refuse_below=0.5)
    assert merge.groups == [["a", "b"]]
    assert (merge.merged, merge.refused) == (0, [])


def test_a_similarity_at_the_limit_is_no_contradiction():
    floor = looked_up({frozenset("ac"): 0.5})
    pairs, similarity = [("a", "b"), ("b", "c")], np.array([0.9, 0.8])
    assert merge_pairs(pairs, similarity, floor, refuse_below=0.5).groups == [["a", "b", "c"]]
    assert merge_pairs(pairs, similarity, floor, refuse_below=np.nextafter(0.5, 1)).groups == [["a", "b"]]


@st.composite
def pair_lists(draw):
    seed = draw(st.integers(0, 10_000))
    pairs = draw(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghij")), max_size=30))
    matrix = np.random.default_rng(seed).random((10, 10))
    return pairs, np.maximum(matrix, matrix.T)


@given(pair_lists(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_groups_are_disjoint_consistent_and_independent_of_input_order(drawn, refuse_below, random):
    pairs, matrix = drawn

    def similarity_of(images_a, images_b):
        return np.array([[matrix["abcdefghij".index(a), "abcdefghij".index(b)] for b in images_b] for a in images_a])

    def merged(pairs):
        similarity = np.array([similarity_of([a], [b])[0, 0] for a, b in pairs])
        return merge_pairs(pairs, similarity, similarity_of, refuse_below=refuse_below)

    merge = merged(pairs)
    images = [image for group in merge.groups for image in group]
    assert len(images) == len(set(images))
    assert all(len(group) >= 2 for group in merge.groups)
    for group in merge.groups:
        cross = similarity_of(group, group)[~np.eye(len(group), dtype=bool)]
        assert cross.min() >= refuse_below
    group_of = {image: number for number, group in enumerate(merge.groups) for image in group}
    refused = {frozenset(refusal.pair) for refusal in merge.refused}
    for a, b in pairs:  # every pair of two images is merged or refused
        assert a == b or frozenset((a, b)) in refused or group_of[a] == group_of[b]
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert {frozenset(group) for group in merged(shuffled).groups} == {frozenset(group) for group in merge.groups}


def dogs(*, dogs=40, images=3, noise, seed, d=32):
    """Embeddings (dogs * images, D) around one direction for each dog, and the dog of each row."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((dogs, d))
    x = np.repeat(centre / np.linalg.norm(centre, axis=1, keepdims=True), images, axis=0)
    x = x + noise * rng.standard_normal(x.shape) / np.sqrt(d)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x, np.repeat(np.arange(dogs), images)


def table(label, *, same, different, seed):
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(len(label), k=1)
    is_same = label[a] == label[b]
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(is_same), same, replace=False),
            rng.choice(np.flatnonzero(~is_same), different, replace=False),
        ]
    )
    rng.shuffle(rows)
    return a[rows], b[rows], is_same[rows]


def world(*, noise=0.9, different=100, seed=0):
    x, label = dogs(noise=noise, seed=seed)
    held, held_label = dogs(noise=noise, seed=seed + 1)
    a, b, _ = table(label, same=100, different=different, seed=seed)
    ha, hb, holdout_same = table(held_label, same=100, different=100, seed=seed + 2)
    names = tuple(f"{row}.jpg" for row in range(len(x)))
    pairs = Table(tuple(names[row] for row in a), tuple(names[row] for row in b))
    similarity = np.einsum("pd,pd->p", held[ha], held[hb])
    holdout = HoldoutPairs(similarity, holdout_same, held_label[ha], held_label[hb])
    return pairs, x, {name: row for row, name in enumerate(names)}, label, {"holdout": holdout}


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_the_default_rule_finds_dogs_and_estimates_its_precision(seed):
    pairs, x, index, label, holdout = world(seed=seed)
    pseudo = produce_pseudo_labels(pairs, x, index, **holdout)
    images = [image for _, image in pseudo.rows]
    assert len(images) == len(set(images)) == pseudo.summary["images"]
    assert len({identity for identity, _ in pseudo.rows}) == pseudo.summary["identities"]
    by_identity = {}
    for identity, image in pseudo.rows:
        by_identity.setdefault(identity, set()).add(int(label[index[image]]))
    assert np.mean([len(found) == 1 for found in by_identity.values()]) >= 0.9
    assert 15 <= len(by_identity) <= 40
    estimate = pseudo.summary["estimated_precision"]
    assert 0.95 <= estimate["precision"] <= 1
    assert estimate["low"] < estimate["precision"] < estimate["high"] or estimate["precision"] == 1
    assert pseudo.summary["pairs"] == 200
    assert 0 < pseudo.summary["accepted"] <= 110
    json.dumps(pseudo.summary, allow_nan=False)
    assert produce_pseudo_labels(pairs, x, index, **holdout) == pseudo


def test_a_count_chooses_the_best_pairs_within_the_limit_of_the_holdout():
    pairs, x, index, label, holdout = world(noise=0.3)
    everything = produce_pseudo_labels(pairs, x, index, **holdout, count=500)
    assert everything.summary["accepted"] == 200
    assert len(everything.summary["refused"]) >= 100  # every different pair of the table
    assert "whose similarity is" in everything.summary["refused"][0]["reason"]
    assert {len({int(label[index[i]]) for p, i in everything.rows if p == q}) for q, _ in everything.rows} == {1}
    few = produce_pseudo_labels(pairs, x, index, holdout=None, count=10)
    assert few.summary["accepted"] == 10
    assert few.summary["estimated_precision"] is None
    assert few.summary["refuse_below"] == few.summary["threshold"]


def test_a_pair_above_the_threshold_is_not_refused_for_its_own_similarity():
    # The threshold (0.6) lies below the similarity that separates best (0.7): a pair at 0.65 is chosen and stays.
    similarity, same = np.repeat([0.8, 0.6, 0.1], [200, 3, 197]), np.repeat([True, False], 200)
    a = np.arange(400) % 50
    holdout = {"holdout": HoldoutPairs(similarity, same, a, np.where(same, a, a + 1))}
    x = np.array([[1, 0], [0.65, np.sqrt(1 - 0.65**2)]], dtype=np.float32)
    pseudo = produce_pseudo_labels(Table(("a",), ("b",)), x, {"a": 0, "b": 1}, **holdout)
    assert pseudo.rows == [("pseudo-0000", "a"), ("pseudo-0000", "b")]
    assert pseudo.summary["threshold"] == pseudo.summary["refuse_below"] == 0.6
    estimate = pseudo.summary["estimated_precision"]
    assert (estimate["pairs"], estimate["same"], estimate["individuals"]) == (203, 200, 50)
    assert estimate["low"] <= 1 - 3 / 50 < estimate["precision"] < estimate["high"]


@pytest.mark.parametrize(("individuals", "low"), [(3, 0), (7, 1 - 3 / 7), (60, 1 - 3 / 60)])
def test_the_precision_is_no_surer_than_the_held_out_individuals_allow(individuals, low):
    a = np.arange(400) % individuals
    holdout = HoldoutPairs(np.repeat([0.8, 0.1], 200), np.repeat([True, False], 200), a, a)
    x = np.array([[1, 0], [0.9, np.sqrt(1 - 0.9**2)]], dtype=np.float32)
    pseudo = produce_pseudo_labels(Table(("a",), ("b",)), x, {"a": 0, "b": 1}, holdout=holdout)
    estimate = pseudo.summary["estimated_precision"]
    assert (estimate["precision"], estimate["high"]) == (1, 1)
    assert estimate["low"] == pytest.approx(low)


def test_repeated_and_self_pairs_do_not_count():
    pairs, x, index, _, _ = world(noise=0.3)
    plain = produce_pseudo_labels(pairs, x, index, holdout=None, count=10)
    first = pairs.image_a[0]
    padded = Table((first,) * 50 + pairs.image_a + pairs.image_b, (first,) * 50 + pairs.image_b + pairs.image_a)
    again = produce_pseudo_labels(padded, x, index, holdout=None, count=10)
    assert again.rows == plain.rows
    assert again.summary["pairs"] == 450
    assert again.summary["distinct_pairs"] == 200


def test_a_useless_network_gives_no_pseudo_labels():
    pairs, x, index, _, holdout = world(noise=50)
    pseudo = produce_pseudo_labels(pairs, x, index, **holdout)
    assert pseudo.rows == []
    assert pseudo.summary["threshold"] is None
    assert pseudo.summary["estimated_precision"] is None
    assert pseudo.summary["accepted"] == pseudo.summary["identities"] == 0
    json.dumps(pseudo.summary, allow_nan=False)


def test_new_names_differ_from_labelled_identities():
    pairs, x, index, _, _ = world(noise=0.3)
    none = {"holdout": None}
    plain = produce_pseudo_labels(pairs, x, index, **none, count=3, labelled=["0", "1"])
    assert plain.rows[0][0] == "pseudo-0000"
    taken = produce_pseudo_labels(pairs, x, index, **none, count=3, labelled=["pseudo-0000", "pseudo-pseudo-x"])
    assert taken.rows[0][0] == "pseudo-pseudo-pseudo-0000"


def test_a_missing_holdout_and_a_count_of_zero_are_refused():
    pairs, x, index, _, holdout = world()
    with pytest.raises(NoseprintError, match="no hold-out pairs"):
        produce_pseudo_labels(pairs, x, index, holdout=None)
    with pytest.raises(NoseprintError, match="count 0"):
        produce_pseudo_labels(pairs, x, index, **holdout, count=0)
