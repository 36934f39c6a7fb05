"""The tree with its errors: where the answers to the images of each node went, against a plain count."""

import numpy as np

from noseprint.data.class_tree import ClassTree
from noseprint.reporting.tree_page import NodeErrors, node_errors

TREE = ClassTree(
    tuple("abcde"), {"coarse": ("ab", "ab", "cd", "cd", "e"), "top": ("left", "left", "left", "left", "right")}
)
TRUTH = np.array([0, 0, 0, 0, 1, 2, 4, 4])
GIVEN = np.array([0, 1, 2, 4, 1, 2, 4, 0])


def flat(nodes: tuple[NodeErrors, ...]) -> list[tuple]:
    return [
        entry
        for one in nodes
        for entry in ((one.name, one.images, one.right, one.near, one.further), *flat(one.children))
    ]


def test_answers_are_counted_at_each_node() -> None:
    assert flat(node_errors(TREE, TRUTH, GIVEN)) == [
        ("left", 6, 5, 0, 1),
        ("ab", 5, 3, 1, 1),
        ("a", 4, 1, 1, 2),
        ("b", 1, 1, 0, 0),
        ("cd", 1, 1, 0, 0),
        ("c", 1, 1, 0, 0),
        ("right", 2, 1, 0, 1),
        ("e", 2, 1, 0, 1),
    ]


def test_classes_say_what_they_were_taken_for() -> None:
    left, right = node_errors(TREE, TRUTH, GIVEN)
    assert left.taken_for == ()
    assert left.children[0].children[0].taken_for == (("b", 1), ("c", 1), ("e", 1))
    assert right.children[0].taken_for == (("a", 1),)


def test_without_levels_the_classes_are_a_flat_list() -> None:
    found = node_errors(ClassTree(TREE.classes), TRUTH, GIVEN)
    assert [one.name for one in found] == ["a", "e", "b", "c"]
