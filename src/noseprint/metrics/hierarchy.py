"""How good answers in a tree of classes are: how far wrong ones are from right ones, and the accuracy at each level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.data.class_tree import LEAF, ClassTree
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Score, percentile_interval, resampled_weights
from noseprint.metrics.classification import true_ranks
from noseprint.metrics.similarity import Labels

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
TOP = (1, 3, 5)
"""The k of top-k."""


@dataclass(frozen=True)
class HierarchyScores:
    """The scores of N images in a tree of classes, with 95 % intervals.

    top: k -> the share of images whose class is among the k most probable. tree_distance: the mean height of the lowest
    common ancestor of class and answer, 0 for a right answer, over all images. error_distance: the same over the wrong
    answers; None without any (Bertinetto et al., "Making better mistakes", arXiv 1912.09393, section 3.1). summed:
    level -> the share of images whose most probable node is right, by the sums of `parent_probabilities`. answered:
    level -> the share of images whose answer lies below the right node.
    """

    top: dict[int, Score]
    tree_distance: Score
    error_distance: Score | None
    summed: dict[str, Score]
    answered: dict[str, Score]


def parent_probabilities(probability: npt.NDArray[np.floating], tree: ClassTree, level: str) -> Floats:
    """The probability of each node on a level, (N, M) in the order of `tree.nodes`: the sum of its classes.

    So the probabilities of parents and children agree. probability: (N, K), of the classes.
    """
    names, number = tree.nodes(level)
    return np.asarray(probability, np.float64) @ np.equal(number[:, None], np.arange(len(names)))


def hierarchy_scores(
    probability: npt.NDArray[np.floating],
    labels: Sequence[str],
    *,
    tree: ClassTree,
    answers: Ints | None = None,
    groups: Labels | None = None,
    seed: int = 0,
    replicates: int = 1000,
) -> HierarchyScores:
    """Score answers in a tree of classes.

    Intervals are from a bootstrap over groups or, without these, over images; with fewer than MIN_IDENTITIES of them,
    they are the whole range of the score.

    probability: (N, K) of the tree's classes. labels: (N,) the class of each image. answers: (N,) the number of the
    class that is answered; None: the most probable. groups: (N,), such as the photographer. seed, replicates: of the
    bootstrap.
    Raises NoseprintError if there are no images, or a label is not in the tree.
    """
    number = {name: at for at, name in enumerate(tree.classes)}
    if not len(labels):
        raise NoseprintError("there are no images to score")
    if unknown := sorted(set(labels) - set(number)):
        raise NoseprintError(f"the class {unknown[0]!r} of an image is not in the tree: add it there")
    truth = np.array([number[label] for label in labels])
    given = probability.argmax(axis=1) if answers is None else np.asarray(answers)
    ranks, distance = true_ranks(probability, labels, tree.classes), tree.heights()[truth, given]
    columns: dict[object, npt.NDArray[np.number | np.bool_]] = {k: ranks < k for k in TOP}
    for level in (LEAF, *tree.levels):
        node = tree.nodes(level)[1]
        columns["summed", level] = parent_probabilities(probability, tree, level).argmax(axis=1) == node[truth]
        columns["answered", level] = node[given] == node[truth]
    wrong = distance > 0
    values = np.stack([*columns.values(), distance, distance], axis=1).astype(np.float64)
    counted = np.ones_like(values)
    counted[:, -1] = wrong

    def means(weight: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            found: Floats = (weight @ values) / (weight @ counted)
        return found

    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    highest = [1] * len(columns) + [tree.height] * 2
    if len(np.unique(units)) < MIN_IDENTITIES:
        intervals = [(0.0, float(most)) for most in highest]
    else:
        blocks = (means(weight) for weight in resampled_weights(units, seed=seed, replicates=replicates))
        drawn = np.concatenate(list(blocks))
        intervals = [percentile_interval(column) for column in drawn.T[: len(highest) - (not wrong.any())]]
    of_all = means(np.ones((1, len(labels))))[0].tolist()
    scores = [Score(value, *interval) for value, interval in zip(of_all, intervals, strict=False)]
    by_column = dict(zip(columns, scores, strict=False))
    return HierarchyScores(
        top={k: by_column[k] for k in TOP},
        tree_distance=scores[len(columns)],
        error_distance=scores[-1] if wrong.any() else None,
        summed={level: by_column["summed", level] for level in (LEAF, *tree.levels)},
        answered={level: by_column["answered", level] for level in (LEAF, *tree.levels)},
    )
