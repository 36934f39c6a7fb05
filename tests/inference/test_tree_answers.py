"""Answers in a tree of classes, against brute force; and what the threshold of the sure nodes promises."""

import numpy as np

from noseprint.data.class_tree import ClassTree
from noseprint.inference.tree_answers import least_risk, node_threshold, sure_nodes, way_down

TREE = ClassTree(
    tuple("abcdef"),
    {"coarse": ("ab", "ab", "cd", "cd", "e", "f"), "top": ("left", "left", "left", "left", "right", "right")},
)
P = np.random.default_rng(0).dirichlet(np.full(6, 0.5), 300)


def test_the_least_risk_is_that_of_a_loop() -> None:
    heights, found = TREE.heights(), least_risk(P, TREE)
    for row, answer in zip(P, found, strict=True):
        risks = [sum(row[j] * heights[k, j] for j in range(6)) for k in range(6)]
        assert risks[answer] <= min(risks) + 1e-9
    assert (found != P.argmax(axis=1)).any()


def test_without_levels_the_least_risk_is_the_most_probable_class() -> None:
    np.testing.assert_array_equal(least_risk(P, ClassTree(tuple("abcdef"))), P.argmax(axis=1))


def test_the_least_risk_on_a_level_counts_what_happens_there_and_above() -> None:
    coarse, heights = TREE.levels["coarse"], TREE.heights()
    for row, answer in zip(P, least_risk(P, TREE, "coarse"), strict=True):
        risks = [sum(row[j] * max(heights[k, j] - 1, 0) for j in range(6)) for k in range(6)]
        assert risks[answer] <= min(risks) + 1e-9
        assert coarse[answer] in {coarse[k] for k in range(6) if risks[k] <= min(risks) + 1e-9}


def test_equal_risks_give_the_most_probable_class() -> None:
    assert least_risk(np.array([[0.2, 0.3, 0.25, 0.25, 0, 0]]), TREE).tolist() == [1]


def test_the_way_down_takes_the_most_probable_child() -> None:
    number, sure = way_down(np.array([[0.2, 0.15, 0.1, 0.1, 0.45, 0.0]]), TREE)
    assert number.tolist() == [[0, 0, 0]]  # left, ab, a: although e is the most probable class
    np.testing.assert_allclose(sure, [[0.55, 0.35, 0.2]])


def test_the_answer_is_the_deepest_sure_node() -> None:
    p = np.array([[0.2, 0.15, 0.1, 0.1, 0.45, 0.0]])
    for threshold, name, level in [
        (0.0, "a", "class"), (0.2, "a", "class"), (0.3, "ab", "coarse"),
        (0.5, "left", "top"), (0.6, "cannot tell", "root"),
    ]:  # fmt: skip
        found = sure_nodes(p, TREE, threshold)
        assert (found.names, found.levels) == ((name,), (level,))


def _draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    p = rng.dirichlet(np.full(6, 0.15), number)
    return p, np.array([rng.choice(6, p=row) for row in p])


def test_the_threshold_keeps_its_promise() -> None:
    rng = np.random.default_rng(1)
    p, truth = _draw(rng, 20_000)
    coarse_or_above = {
        leaf: {leaf, TREE.levels["coarse"][at], TREE.levels["top"][at]} for at, leaf in enumerate(TREE.classes)
    }
    broken = given = 0
    for _ in range(40):
        threshold = node_threshold(*_draw(rng, 400), tree=TREE, least=0.9)
        if threshold is None:
            continue
        given += 1
        found = sure_nodes(p, TREE, threshold)
        right = [
            name in coarse_or_above[TREE.classes[t]]
            for name, t in zip(found.names, truth, strict=True)
            if name != "cannot tell"
        ]
        broken += np.mean(right) < 0.9
    assert given > 30
    assert broken <= 4  # 5 % of 40 are 2


def test_sure_and_right_probabilities_need_no_threshold_and_few_images_have_none() -> None:
    certain, truth = np.eye(6)[np.arange(300) % 6], np.arange(300) % 6
    assert node_threshold(certain, truth, tree=TREE, least=0.95) == 0.0
    assert node_threshold(certain[:20], truth[:20], tree=TREE, least=0.95) is None
    assert node_threshold(certain[:0], truth[:0], tree=TREE, least=0.95) is None
