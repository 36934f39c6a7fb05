"""The tree above the classes: the coarser classes of each, such as Pink-Lady -> Apple -> Fruit."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.class_columns import LABEL_NAME
from noseprint.data.class_folders import some
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import read_header, read_rows
from noseprint.data.names import alike_form, alike_groups, alike_text, column_words, positions
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import file_hash

TREE = "tree.csv"
"""The file that is looked for in a data folder."""
LEAF, ROOT = "class", "root"
"""What the lowest and the highest level are called; `ClassTree.levels` holds those between."""
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?%?")


@dataclass(frozen=True)
class TreeFile:
    """A file with a tree. path: from the data folder on, or absolute. hash: of its content."""

    path: str
    hash: str

    def changed(self, data: Path) -> Path | None:
        """The file, if it has another content by now. None if not, or if it is not there to be compared."""
        file = data / self.path
        return file if file.is_file() and file_hash(file) != self.hash else None


@dataclass(frozen=True)
class ClassTree:
    """K classes, the leaves, and the ancestors of each. Without levels, all hang below the root.

    classes: (K,), sorted. levels: name -> the ancestor of each class (K,), the finest level first, without the classes
    and the root. A class that hangs higher than others is its own ancestor on the levels below its parent. file: from
    which the tree was read; None: from the table of images, or there is none.
    """

    classes: tuple[str, ...]
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    file: TreeFile | None = field(default=None, compare=False)

    @property
    def height(self) -> int:
        """The height of the root: 1 without levels."""
        return len(self.levels) + 1

    @property
    def summary(self) -> str:
        """How many nodes each level has, in a line of text."""
        if not self.levels:
            return f"No tree: {len(self.classes)} classes without levels above them."
        counts = [f"{len(set(nodes))} on the level {name}" for name, nodes in self.levels.items()]
        return f"The tree: {len(self.classes)} classes, {', '.join(counts)}."

    def ancestors(self, level: str) -> tuple[str, ...]:
        """The node of each class (K,) on a level; LEAF is the level of the classes."""
        if level not in (LEAF, *self.levels):
            raise NoseprintError(f"there is no level {level!r}: choose {' or '.join((LEAF, *self.levels))}")
        return self.classes if level == LEAF else self.levels[level]

    def nodes(self, level: str) -> tuple[tuple[str, ...], npt.NDArray[np.intp]]:
        """The distinct nodes (M,) of a level, sorted, and the number of each class's node among them (K,)."""
        names, number = np.unique(np.asarray(self.ancestors(level), object), return_inverse=True)
        return tuple(names.tolist()), number

    def heights(self) -> npt.NDArray[np.int64]:
        """The height of the lowest common ancestor of each two classes, (K, K).

        0 on the diagonal, 1 for one node on the finest level, and so on; `height` if they have only the root in common.
        """
        found = np.full((len(self.classes),) * 2, self.height)
        for height, level in reversed(list(enumerate((LEAF, *self.levels)))):
            number = self.nodes(level)[1]
            found[number[:, None] == number] = height
        return found


Levels = dict[str, dict[str, str]]
"""Level -> class -> its ancestor there; the finest level first."""


def read_tree(table: ClassTable, *, data: Path, tree: Path | None, levels: Sequence[str] | None = None) -> ClassTree:
    """The tree above the classes of a table.

    It is in the file `tree`; or else in the level columns of the table; or else in tree.csv of the data folder. Without
    any of these it has no levels. The file has one of two forms: columns for the class and for each level (columns of
    numbers, such as counts, are ignored unless `levels` names them), or class,parent for each node. In the second form,
    level1 is below the root, level2 below that, and so on.

    levels: the columns to use, in any order; None: those that are recognised.
    Raises DataError with every fault: a cycle, a class without a parent, a class of the images that is not in the tree,
    a class twice, a node with two parents, a level that does not exist.
    """
    faults = list[Fault]()
    if levels is not None:
        levels = [name for name in levels if not LABEL_NAME.fullmatch(column_words(name))]
    beside = data / TREE
    has_levels = bool(table.levels) and all(positions(name, tuple(table.levels)) for name in levels or ())
    if tree is None and (has_levels or not beside.is_file()):
        source, found = data, _table_levels(table, levels, data, faults=faults)
    else:
        source, found = (beside if tree is None else tree), {}
        header = read_header(source, faults=faults)
        if header:
            read = _read_edges if [*map(column_words, header[1:2])] == ["parent"] else _read_columns
            found = read(source, header, levels, faults=faults)
            if not found and not faults and levels is None:
                advice = "columns for the class and for each level, or class,parent for each node"
                problem = f"there is no level above the classes: give {advice}"
                faults.append(Fault(source, None, f"{problem}; columns of numbers are levels if --levels names them"))
    if faults:
        raise DataError(faults)
    for of_level in found.values():
        if missing := [name for name in table.classes if name not in of_level]:
            problem = f"it lacks {len(missing)} of the {len(table.classes)} classes of the images: {some(missing)}"
            alike = {alike_form(name): name for name in of_level}
            if hints := [(name, alike[alike_form(name)]) for name in missing if alike_form(name) in alike]:
                problem += f". Are these the same: {alike_text(hints)}? Then spell them as the images do"
            raise DataError(
                [Fault(source, None, f"{problem}. Add them as leaves, or name another tree with --tree FILE")]
            )
    return ClassTree(
        table.classes,
        {name: tuple(map(of_level.__getitem__, table.classes)) for name, of_level in found.items()},
        file=None if source == data else TreeFile(str(tree.absolute() if tree else TREE), file_hash(source)),
    )


def _table_levels(table: ClassTable, chosen: Sequence[str] | None, data: Path, *, faults: list[Fault]) -> Levels:
    train = table.split("train")
    found = {name: dict(zip(train.labels, level, strict=True)) for name, level in train.levels.items()}
    return _nested(_choose(found, chosen, data, faults=faults), data, faults=faults)


def _read_columns(path: Path, header: Sequence[str], chosen: Sequence[str] | None, *, faults: list[Fault]) -> Levels:
    """A row for each class, a column for each level. An empty field: the class hangs from a coarser level."""
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        faults.append(Fault(path, 1, f"{header.count(name)} columns are called {name!r}: rename or delete all but one"))
    lines = dict[str, int]()
    cells: dict[str, dict[str, str]] = {name: {} for name in header[1:] if name}
    for line, (leaf, *fields) in read_rows(path, header, faults=faults, may_be_empty=header[1:]):
        if leaf in lines:
            faults.append(Fault(path, line, f"class {leaf!r} is already on line {lines[leaf]}: delete one row"))
            continue
        lines[leaf] = line
        for name, value in zip(header[1:], fields, strict=True):
            if name:
                cells[name][leaf] = value
    if chosen is None:
        cells = {name: column for name, column in cells.items() if _is_level(column)}
    found = _choose(cells, chosen, path, faults=faults)
    for leaf, line in lines.items():
        empty = [name for name, column in found.items() if not column[leaf]]
        if (empty and empty != list(found)[: len(empty)]) or len(empty) == len(found) > 0:
            problem = f"class {leaf!r} has no parent: write its {empty[-1]}"
            faults.append(Fault(path, line, problem))
        for name in empty:
            found[name][leaf] = leaf
    return _nested(found, path, faults=faults)


def _is_level(column: Mapping[str, str]) -> bool:
    """Whether a column (class -> text) is probably a level: fewer texts than classes, and not all of them numbers."""
    texts = set(filter(None, column.values()))
    return 1 < len(texts) < len(column) and not all(map(_NUMBER.fullmatch, texts))


def _choose(found: Levels, chosen: Sequence[str] | None, source: Path, *, faults: list[Fault]) -> Levels:
    """The levels that are chosen, or all: the finest first, which is the one with the most nodes."""
    if chosen is not None:
        names = list(found)
        at = {name: positions(name, names) for name in chosen}
        for name in [name for name, where in at.items() if len(where) != 1]:
            there = f"it has {some(names)}" if names else "it has none"
            faults.append(Fault(source, None, f"there is no level {name!r}: {there}; name others with --levels"))
        found = {names[where[0]]: found[names[where[0]]] for where in at.values() if len(where) == 1}
    return dict(sorted(found.items(), key=lambda level: -len({text or leaf for leaf, text in level[1].items()})))


def _nested(found: Levels, source: Path, *, faults: list[Fault]) -> Levels:
    """The levels; a fault for each node that has two parents, and for nodes of one level that are alike."""
    for name, nodes in found.items():
        if groups := alike_groups(filter(None, nodes.values())):
            problem = (
                f"{name}: nodes differ by case, blanks or punctuation only: {alike_text(groups)}; spell them alike"
            )
            faults.append(Fault(source, None, problem))
    for (name, fine), (above, coarse) in pairwise(found.items()):
        parents: dict[str, set[str]] = {}
        for leaf, node in fine.items():
            parents.setdefault(node, set()).add(coarse[leaf])
        for node, of_node in parents.items():
            if len(of_node) > 1:
                two = " and ".join(map(repr, sorted(of_node)[:2]))
                advice = "rename one, or leave out a level: name those to use with --levels"
                faults.append(Fault(source, None, f"{name} {node!r} is under {above} {two}: {advice}"))
    return found


def _read_edges(path: Path, header: Sequence[str], chosen: Sequence[str] | None, *, faults: list[Fault]) -> Levels:
    """A row class,parent for each node. Nodes without a parent are the root or, if there are several, below it."""
    if chosen is not None:
        faults.append(Fault(path, 1, "--levels names columns, and this tree has a row for each node: leave it out"))
    parent, lines = dict[str, str](), dict[str, int]()
    for line, (node, above) in read_rows(path, header[:2], faults=faults, may_be_empty=header[1:2]):
        if node not in lines:
            parent[node], lines[node] = above, line
        elif parent[node] == above:
            faults.append(Fault(path, line, f"class {node!r} is already on line {lines[node]}: delete one row"))
        else:
            two = f"{parent[node]!r} on line {lines[node]}, and {above!r} here"
            faults.append(
                Fault(path, line, f"{node!r} has two parents: {two}; delete one row, or rename one of the two")
            )
    inner = set(parent.values())
    for node, above in parent.items():
        if above and above not in parent:
            problem = (
                f"the parent {above!r} of {node!r} has no row: add one, with its own parent or, for the root, none"
            )
            faults.append(Fault(path, lines[node], problem))
        elif not above and node not in inner:
            faults.append(Fault(path, lines[node], f"class {node!r} has no parent: write the node that it is under"))
    for cycle in _cycles(parent):
        shown = " -> ".join(map(repr, (*cycle, cycle[0])))
        faults.append(Fault(path, lines[cycle[0]], f"the parents form a cycle: {shown}; correct one of them"))
    if faults:
        return {}
    tops = [node for node, above in parent.items() if not above]
    below_root = {leaf: _way_down(leaf, parent)[len(tops) == 1 :] for leaf in parent if leaf not in inner}
    depth = max(map(len, below_root.values()), default=0)
    return {
        f"level{level}": {leaf: way[min(level, len(way)) - 1] for leaf, way in below_root.items()}
        for level in range(depth - 1, 0, -1)
    }


def _way_down(node: str, parent: Mapping[str, str]) -> list[str]:
    """From the top to a node."""
    way = [node]
    while above := parent[way[-1]]:
        way.append(above)
    return way[::-1]


def _cycles(parent: Mapping[str, str]) -> Iterator[list[str]]:
    """Each cycle of a graph in which a node has one parent or none."""
    done = set[str]()
    for start in parent:
        way = dict[str, None]()
        node = start
        while node in parent and node not in done and node not in way:
            way[node] = None
            node = parent[node]
        if node in way:
            yield [*way][[*way].index(node) :]
        done.update(way)
