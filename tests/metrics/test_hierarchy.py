"""Scores in a tree of classes, each against a plain loop."""

import numpy as np
import pytest

from noseprint.data.class_tree import ClassTree
from noseprint.errors import NoseprintError
from noseprint.metrics.hierarchy import hierarchy_scores, parent_probabilities

TREE = ClassTree(
    tuple("abcdef"),
    {"coarse": ("ab", "ab", "cd", "cd", "e", "f"), "top": ("left", "left", "left", "left", "right", "right")},
)
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.full(6, 0.4), 200)
LABELS = [TREE.classes[at] for at in RNG.integers(0, 6, 200)]


def path(leaf: str) -> list[str]:
    at = TREE.classes.index(leaf)
    return [leaf, *(nodes[at] for nodes in TREE.levels.values()), "root"]


def test_parents_have_the_sum_of_their_classes_and_all_of_a_level_have_the_sum_1() -> None:
    for level in ("class", "coarse", "top"):
        found = parent_probabilities(P, TREE, level)
        names = sorted({path(leaf)[["class", "coarse", "top"].index(level)] for leaf in TREE.classes})
        expected = [
            [sum(row[at] for at, leaf in enumerate(TREE.classes) if name in path(leaf)) for name in names] for row in P
        ]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_scores_are_those_of_a_loop() -> None:
    found = hierarchy_scores(P, LABELS, tree=TREE, replicates=50)
    top = dict.fromkeys((1, 3, 5), 0)
    distances, summed, answered = [], {"coarse": 0, "top": 0}, {"coarse": 0, "top": 0}
    for row, label in zip(P, LABELS, strict=True):
        order = sorted(range(6), key=lambda at: -row[at])
        for k in top:
            top[k] += label in [TREE.classes[at] for at in order[:k]]
        answer = TREE.classes[order[0]]
        distances.append(next(h for h in range(4) if path(label)[h] == path(answer)[h]))
        for height, level in ((1, "coarse"), (2, "top")):
            answered[level] += path(label)[height] == path(answer)[height]
            sums: dict[str, float] = {}
            for at, leaf in enumerate(TREE.classes):
                sums[path(leaf)[height]] = sums.get(path(leaf)[height], 0) + row[at]
            summed[level] += path(label)[height] == max(sums, key=lambda node: sums[node])
    assert {k: score.value * 200 for k, score in found.top.items()} == pytest.approx(top)
    assert found.tree_distance.value == pytest.approx(np.mean(distances))
    wrong = [distance for distance in distances if distance]
    assert found.error_distance is not None
    assert found.error_distance.value == pytest.approx(np.mean(wrong))
    for level in ("coarse", "top"):
        assert found.summed[level].value * 200 == pytest.approx(summed[level])
        assert found.answered[level].value * 200 == pytest.approx(answered[level])
    for score in (*found.top.values(), found.tree_distance, found.error_distance, *found.summed.values()):
        assert score.low < score.value < score.high


def test_other_answers_than_the_most_probable_are_scored() -> None:
    found = hierarchy_scores(P, LABELS, tree=TREE, answers=np.zeros(200, int), replicates=50)
    assert found.tree_distance.value == pytest.approx(np.mean([TREE.heights()[0, "abcdef".index(x)] for x in LABELS]))


def test_right_answers_have_no_distance_of_errors_and_few_groups_no_interval() -> None:
    found = hierarchy_scores(np.eye(6), list("abcdef"), tree=TREE, groups=np.array(list("xxyyzz")))
    assert found.error_distance is None
    assert (found.tree_distance.value, found.tree_distance.low, found.tree_distance.high) == (0, 0, 3)


def test_groups_make_wider_intervals_than_images() -> None:
    doubled = np.repeat(P[:60], 10, axis=0), [label for label in LABELS[:60] for _ in range(10)]
    by_image, by_group = (
        hierarchy_scores(*doubled, tree=TREE, groups=groups, replicates=200).tree_distance
        for groups in (None, np.repeat(np.arange(60), 10))
    )
    assert by_group.high - by_group.low > 2 * (by_image.high - by_image.low)


@pytest.mark.parametrize(("labels", "message"), [([], "no images"), (["z"], "'z' of an image is not in the tree")])
def test_impossible_labels_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(NoseprintError, match=message):
        hierarchy_scores(P[: len(labels)], labels, tree=TREE)
