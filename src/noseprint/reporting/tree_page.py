"""The report of a run with a tree of classes: computes what the page shows; tree_report.html.j2 holds the text."""

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.calibration.selective import CANNOT_TELL
from noseprint.data.class_tree import LEAF, ClassTree
from noseprint.data.filtered import read_filtered
from noseprint.errors import NoseprintError
from noseprint.inference.classify import read_outputs
from noseprint.inference.hierarchy_options import HierarchyRunOptions
from noseprint.inference.selection import Selection, read_selection, selection_hash
from noseprint.inference.tree_answers import least_risk, sure_nodes
from noseprint.metrics.bootstrap import Score, bootstrap_mean
from noseprint.metrics.classification import ClassificationScores, classification_scores
from noseprint.metrics.hierarchy import HierarchyScores, hierarchy_scores
from noseprint.reporting import charts
from noseprint.reporting.photographs import thumbnail
from noseprint.reporting.score_table import filled
from noseprint.reporting.templates import render_template
from noseprint.version import __version__

Floats = npt.NDArray[np.floating]
_HOLDOUT = (
    " The figures are those of the hold-out. Its images also chose the networks, so the figures are a little too high."
)
_TAKEN_FOR = 4  # wrong answers that are shown for a class


@dataclass(frozen=True)
class NodeErrors:
    """Where the answers for a node's images are: in the node (right), in another child of its parent, or further."""

    name: str
    images: int
    right: int
    near: int
    further: int
    taken_for: tuple[tuple[str, int], ...]
    """The most frequent wrong answers and their numbers; of a class only."""
    children: tuple["NodeErrors", ...]


@dataclass(frozen=True)
class TreeRun:
    """What the report is made from.

    scored: the split of the N images. why_not_test: why it is not the test; "" if it is. images: N. likeliest,
    least: the scores of the most probable classes, and of those with the least risk. sure: how many answers are nodes
    of each level, and the share of these that is right. lr_range: the picture of the range test, or None.
    """

    run: str
    data: str
    scored: Literal["test", "hold-out"]
    why_not_test: str
    selection: Selection
    images: int
    likeliest: HierarchyScores
    least: HierarchyScores
    classes: ClassificationScores
    sure: dict[str, tuple[int, Score | None]]
    tree: tuple[NodeErrors, ...]
    lr_range: Path | None


def read_tree_run(options: HierarchyRunOptions, *, family: Path, test: Path, holdout: Path, lr_range: Path) -> TreeRun:
    """Score what the chosen networks said of the test images or, if that is not known, of the hold-out.

    test, holdout: the files with what the networks together said; only test may be missing. lr_range: the picture of
    the range test; it may be missing, too.
    Raises NoseprintError if files are missing or do not belong together.
    """
    selection, made_by = read_selection(family, options.run), selection_hash(family, options.run)
    # Test images may have come or gone since: those that were answered and have a label count.
    table = read_filtered(options.data, options.results(family / "filter"), missing_ok=True)
    label_of = dict(zip(table.names, table.labels, strict=True))
    group_of = dict(zip(table.names, table.groups, strict=True)) if table.groups else None
    outputs = read_outputs(test) if test.is_file() else None
    why = ""
    if not len(table.split("test")):
        why = "There are no test images."
    elif outputs is None or outputs.network != made_by:
        why = "The test images are not classified yet: run predict.sh."
    elif not any(label_of.get(name) for name in outputs.names):
        why = "The test images have no labels, so nothing shows how many of the answers are right."
    if why:
        why += _HOLDOUT
    if why or outputs is None:
        outputs = read_outputs(holdout, network=made_by)
    rows = [row for row, name in enumerate(outputs.names) if label_of.get(name) in selection.classes]
    if not rows:
        raise NoseprintError("no image whose class is known was answered: run train.sh and predict.sh again")
    names = [outputs.names[row] for row in rows]
    labels = [label_of[name] for name in names]
    groups = np.asarray([group_of[name] for name in names]) if group_of else None
    probability = softmax(outputs.logits[rows].astype(np.float64), axis=1)
    tree = selection.tree
    truth = np.array([tree.classes.index(label) for label in labels])
    return TreeRun(
        run=options.run,
        data=options.data.resolve().name,
        scored="hold-out" if why else "test",
        why_not_test=why,
        selection=selection,
        images=len(rows),
        likeliest=hierarchy_scores(probability, labels, tree=tree, groups=groups),
        least=hierarchy_scores(probability, labels, tree=tree, groups=groups, answers=least_risk(probability, tree)),
        classes=classification_scores(
            probability,
            labels,
            classes=tree.classes,
            groups=groups,
            training_counts=Counter(table.split("train").labels),
        ),
        sure=_sure(probability, truth, selection, groups),
        tree=node_errors(tree, truth, probability.argmax(axis=1)),
        lr_range=lr_range if lr_range.is_file() else None,
    )


def node_errors(
    tree: ClassTree, truth: npt.NDArray[np.integer], given: npt.NDArray[np.integer]
) -> tuple[NodeErrors, ...]:
    """The nodes below the root that have images, those with the most errors first. truth, given: (N,) class numbers."""
    levels = (*reversed(tree.levels), LEAF)

    def below(depth: int, rows: npt.NDArray[np.intp]) -> tuple[NodeErrors, ...]:
        names, node = tree.nodes(levels[depth])
        parent = tree.nodes(levels[depth - 1])[1] if depth else None
        found = []
        for number in np.unique(node[truth[rows]]):
            own = rows[node[truth[rows]] == number]
            right = node[given[own]] == number
            near = np.zeros(len(own), bool) if parent is None else ~right & (parent[given[own]] == parent[truth[own]])
            children = below(depth + 1, own) if depth + 1 < len(levels) else ()
            wrong = Counter(tree.classes[at] for at in given[own][~right]) if not children else Counter[str]()
            one = NodeErrors(
                name=names[number],
                images=len(own),
                right=int(right.sum()),
                near=int(near.sum()),
                further=int((~right & ~near).sum()),
                taken_for=tuple(wrong.most_common(_TAKEN_FOR)),
                children=children,
            )
            if len(children) == 1 and children[0].name == one.name:  # a class that hangs higher, or is alone
                one = replace(one, taken_for=children[0].taken_for, children=children[0].children)
            found.append(one)
        return tuple(sorted(found, key=lambda one: (one.right - one.images, one.name)))

    return below(0, np.arange(len(truth)))


def render_tree_report(run: TreeRun) -> str:
    """The page as HTML. The same run gives the same text."""
    levels = (LEAF, *run.selection.levels)
    return render_template(
        "tree_report.html.j2",
        filters={"thumbnail": thumbnail},
        run=run,
        version=__version__,
        levels=levels,
        cannot_tell=CANNOT_TELL,
        chart=charts.intervals(
            {level: run.likeliest.summed[level] for level in levels}, name="levels", label="share of right answers"
        ),
        picture=base64.b64encode(run.lr_range.read_bytes()).decode() if run.lr_range else "",
    )


def tree_scores_json(run: TreeRun) -> dict[str, Any]:
    """The figures of the page as a JSON object."""
    return {
        "run": run.run,
        "data": run.data,
        "scored": run.scored,
        "images": run.images,
        "networks": [asdict(network) for network in run.selection.networks],
        "likeliest": asdict(run.likeliest),
        "least_risk": asdict(run.least),
        "classes": asdict(run.classes),
        "sure": {level: [number, share and asdict(share)] for level, (number, share) in run.sure.items()},
    }


def tree_score_lines(run: TreeRun) -> Iterator[str]:
    """The figures as lines of text."""
    if run.why_not_test:
        yield filled(run.why_not_test)
    likeliest = run.likeliest
    yield f"The {run.scored}: {run.images} images. In brackets: 95 % intervals."
    yield filled("; ".join(f"top-{k} {score}" for k, score in likeliest.top.items()))
    yield filled("; ".join(f"{level} {score}" for level, score in likeliest.summed.items() if level != LEAF))
    yield filled(
        f"Tree distance {likeliest.tree_distance}, with --decide least-risk {run.least.tree_distance}; "
        f"accuracy, mean of the classes: {run.classes.mean_per_class}"
    )


def _sure(
    probability: Floats, truth: npt.NDArray[np.integer], selection: Selection, groups: npt.NDArray[np.str_] | None
) -> dict[str, tuple[int, Score | None]]:
    """Level -> how many sure answers it has, and the share that is right; also for all levels, and for no answer."""
    tree, found = selection.tree, sure_nodes(probability, selection.tree, selection.sure_from)
    units = np.arange(len(truth)) if groups is None else groups
    level_of = np.asarray(found.levels, object)
    right = np.zeros(len(truth))
    for level in (LEAF, *tree.levels):
        nodes = tree.ancestors(level)
        for row in np.flatnonzero(level_of == level):
            right[row] = nodes[truth[row]] == found.names[row]
    given = np.array([name != CANNOT_TELL for name in found.names])

    def share(rows: npt.NDArray[np.bool_]) -> tuple[int, Score | None]:
        if not rows.any():
            return 0, None
        return int(rows.sum()), Score(float(right[rows].mean()), *bootstrap_mean(right[rows], units[rows], seed=0))

    of_levels = {level: share(level_of == level) for level in (LEAF, *tree.levels)}
    return {**of_levels, "all sure answers": share(given), CANNOT_TELL: (int((~given).sum()), None)}
