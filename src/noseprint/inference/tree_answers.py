"""Answers in a tree of classes: the class with the least risk, and the deepest node that is sure enough."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.calibration.selective import CANNOT_TELL, RISK, STARTS, lower_bound, within_groups
from noseprint.data.class_tree import LEAF, ROOT, ClassTree
from noseprint.metrics.hierarchy import parent_probabilities
from noseprint.metrics.similarity import Labels

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.intp]
THRESHOLDS = tuple(step / 100 for step in range(99, -1, -1))
"""Those that `node_threshold` may choose; they do not depend on the images."""
_AT_ONCE = 4096  # images; each takes a few arrays of 8 bytes for each class
_EQUAL = 1e-9  # risks that differ by less are equal


@dataclass(frozen=True)
class SureNodes:
    """The deepest sure node of each of N images. names: (N,), CANNOT_TELL at the root. levels: (N,) of each node."""

    names: tuple[str, ...]
    levels: tuple[str, ...]


def least_risk(probability: Floats, tree: ClassTree, level: str = LEAF) -> Ints:
    """The class (N,) whose expected tree distance to the right class is the least; of equals, the most probable.

    Conditional risk minimisation: argmin over k of the sum over j of p_j x height(k, j) (Karthik et al., "No cost
    likelihood manipulation at test time for making better mistakes in deep networks", arXiv 2104.00795, equation 2).

    probability: (N, K). level: only this level and those above it count: the ancestor of the returned class has
    the least risk among the nodes there.
    """
    above = np.maximum(tree.heights() - (LEAF, *tree.levels).index(level), 0)
    risk = np.asarray(probability, np.float64) @ above  # symmetric
    equals = risk <= risk.min(axis=1, keepdims=True) + _EQUAL
    own = parent_probabilities(probability, tree, level)[:, tree.nodes(level)[1]]
    best: Ints = np.where(equals, own, -1).argmax(axis=1)
    return best


def way_down(probability: Floats, tree: ClassTree) -> tuple[Ints, Floats]:
    """The way from the root to a class, always to the most probable child.

    probability: (N, K). Returns the number of the node on each level among `tree.nodes` (N, L), from the coarsest level
    to the classes, and the probabilities of these nodes (N, L), which fall from left to right.
    """
    if len(probability) > _AT_ONCE:
        starts = range(0, len(probability), _AT_ONCE)
        parts = [way_down(probability[start : start + _AT_ONCE], tree) for start in starts]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    levels = (*reversed(tree.levels), LEAF)
    allowed = np.ones((len(probability), len(tree.classes)), bool)
    numbers, sure = [], []
    for level in levels:
        number = tree.nodes(level)[1]
        below = parent_probabilities(np.where(allowed, probability, 0), tree, level)  # 0 off the way so far
        best = below.argmax(axis=1)
        allowed &= number[None] == best[:, None]
        numbers.append(best)
        sure.append(below[np.arange(len(below)), best])
    return np.stack(numbers, axis=1), np.minimum.accumulate(np.stack(sure, axis=1), axis=1)


def sure_nodes(probability: Floats, tree: ClassTree, threshold: float) -> SureNodes:
    """The deepest node on the `way_down` whose probability is at least the threshold."""
    number, sure = way_down(probability, tree)
    depth = _depth(sure, threshold)
    levels = (*reversed(tree.levels), LEAF)
    nodes = [tree.nodes(level)[0] for level in levels]
    rows = list(enumerate(depth.tolist()))
    return SureNodes(
        tuple(nodes[at][number[row, at]] if at >= 0 else CANNOT_TELL for row, at in rows),
        tuple(levels[at] if at >= 0 else ROOT for _, at in rows),
    )


def node_threshold(
    probability: Floats, truth: Ints, *, tree: ClassTree, least: float, groups: Labels | None = None
) -> float | None:
    """The lowest threshold for `sure_nodes` with which at least the share `least` of the answers is right.

    That holds with 95 % confidence. An answer is right if the class of the image is the node or below it. The root,
    CANNOT_TELL, is no answer. 0.0: every image gets a class. None: no threshold reaches that, or there are too few
    groups. Thresholds are tested from high to low, and the first that fails ends the search, as in
    `selective.answering_threshold`. There, an image has one answer. Here, the threshold decides which.

    probability: (N, K). truth: (N,) the number of the right class. groups: (N,), such as the photographer.
    """
    if not len(truth):
        return None
    number, sure = way_down(probability, tree)
    levels = (*reversed(tree.levels), LEAF)
    right = np.stack([tree.nodes(level)[1][truth] for level in levels], axis=1) == number
    group = np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    alike = within_groups(right[:, -1].astype(np.float64), group)
    found: float | None = None
    for share in STARTS:
        for threshold in (one for one in THRESHOLDS if (sure[:, 0] >= one).mean() >= share):
            depth = _depth(sure, threshold)
            given = depth >= 0
            hits = right[given, depth[given]].astype(np.float64)
            if lower_bound(hits, group[given], correlation=alike, risk=RISK / len(STARTS)) < least:
                break
            found = threshold if found is None else min(found, threshold)
    return found


def _depth(sure: Floats, threshold: float) -> Ints:
    """The column (N,) of the deepest node that is sure enough; -1 for the root. sure: (N, L), falling."""
    return np.asarray((sure >= threshold).sum(axis=1) - 1)
