"""The tree above the classes: two forms of tree.csv, levels of a table, heights, and one message for each fault."""

from pathlib import Path

import numpy as np
import pytest

from noseprint.data.class_tables import ClassTable
from noseprint.data.class_tree import ClassTree, read_tree
from noseprint.errors import DataError

COLUMNS = """class,coarse,department,train
gala,apple,fruit,9
lady,apple,fruit,8
lemon,citrus,fruit,7
milk,milk,packs,6
juice,juice,packs,5
"""
EDGES = """class,parent
goods,
fruit,goods
packs,goods
apple,fruit
citrus,fruit
gala,apple
lady,apple
lemon,citrus
milk,packs
"""


def table(*labels: str, levels: dict[str, tuple[str, ...]] | None = None) -> ClassTable:
    names = tuple(f"{label}.jpg" for label in labels)
    return ClassTable(tuple(map(Path, names)), labels, ("train",) * len(labels), names, None, levels or {})


GOODS = table("milk", "gala", "lemon", "lady")
TREE = ClassTree(
    ("gala", "lady", "lemon", "milk"),
    {"coarse": ("apple", "apple", "citrus", "milk"), "department": ("fruit", "fruit", "fruit", "packs")},
)


def read(tmp_path: Path, text: str, *, levels: tuple[str, ...] | None = None) -> ClassTree:
    (tmp_path / "tree.csv").write_text(text)
    return read_tree(GOODS, data=tmp_path, tree=None, levels=levels)


def test_columns_and_edges_are_one_tree(tmp_path: Path) -> None:
    assert read(tmp_path, COLUMNS) == TREE
    of_edges = read(tmp_path, EDGES)
    assert of_edges.levels == {"level2": TREE.levels["coarse"], "level1": TREE.levels["department"]}
    np.testing.assert_array_equal(of_edges.heights(), TREE.heights())


def test_the_root_may_be_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, EDGES.replace("goods,\n", "").replace(",goods", ",")) == read(tmp_path, EDGES)


def test_levels_of_a_table_come_before_tree_csv_and_a_named_tree_before_them(tmp_path: Path) -> None:
    (tmp_path / "tree.csv").write_text(COLUMNS)
    images = table("milk", "gala", "lemon", levels={"shelf": ("low", "high", "high")})
    assert read_tree(images, data=tmp_path, tree=None).levels == {"shelf": ("high", "high", "low")}
    assert list(read_tree(images, data=tmp_path, tree=tmp_path / "tree.csv").levels) == ["coarse", "department"]
    assert list(read_tree(images, data=tmp_path, tree=None, levels=["department"]).levels) == ["department"]


def test_levels_are_named_in_any_order_and_may_be_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, COLUMNS, levels=("department", "class", "coarse")) == TREE
    numbers = "class,aisle\ngala,1\nlady,1\nlemon,2\nmilk,2\n"
    with pytest.raises(DataError, match="columns of numbers are levels if --levels names them"):
        read(tmp_path, numbers)
    assert read(tmp_path, numbers, levels=("aisle",)).levels == {"aisle": ("1", "1", "2", "2")}


def test_a_class_that_hangs_higher_is_its_own_ancestor(tmp_path: Path) -> None:
    assert read(tmp_path, COLUMNS.replace("citrus", "")).levels["coarse"] == ("apple", "apple", "lemon", "milk")


def test_without_a_tree_there_are_no_levels(tmp_path: Path) -> None:
    flat = read_tree(GOODS, data=tmp_path, tree=None)
    assert flat == ClassTree(TREE.classes)
    np.testing.assert_array_equal(flat.heights(), 1 - np.eye(4))


def test_heights_are_those_of_a_walk_up() -> None:
    ways = [(leaf, *(nodes[at] for nodes in TREE.levels.values()), "root") for at, leaf in enumerate(TREE.classes)]
    walked = [[next(h for h, (x, y) in enumerate(zip(a, b, strict=True)) if x == y) for b in ways] for a in ways]
    np.testing.assert_array_equal(TREE.heights(), walked)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EDGES.replace("goods,\n", "goods,apple\n"), "form a cycle: 'goods' -> 'apple' -> 'fruit' -> 'goods'"),
        (EDGES.replace("lemon,citrus", "lemon,"), "line 9: class 'lemon' has no parent"),
        (EDGES.replace("lemon,citrus", "lemon,citron"), "line 9: the parent 'citron' of 'lemon' has no row"),
        (EDGES.replace("milk,packs\n", "packs2,packs\n"), "lacks 1 of the 4 classes of the images: milk"),
        (EDGES + "milk,packs\n", "line 11: class 'milk' is already on line 10"),
        (EDGES + "apple,packs\n", "'apple' has two parents: 'fruit' on line 5, and 'packs' here"),
        (COLUMNS + "milk,milk,packs,1\n", "line 7: class 'milk' is already on line 5"),
        (COLUMNS.replace("milk,milk,packs", "milk,,"), "line 5: class 'milk' has no parent: write its department"),
        (COLUMNS.replace("milk,milk,packs", "milk,milk,"), "line 5: class 'milk' has no parent: write its department"),
        (COLUMNS.replace("gala,apple,fruit", "gala,apple,packs"), "'apple' is under department 'fruit' and 'packs'"),
        (COLUMNS.replace("milk,milk,packs,6\n", ""), "lacks 1 of the 4 classes of the images: milk"),
        ("class\ngala\nlemon\n", "there is no level above the classes"),
        (COLUMNS.replace("milk,milk", "Milk,milk"), "Are these the same: 'milk' and 'Milk'? Then spell them as the"),
        (COLUMNS.replace("coarse,department", "kind,kind"), "line 1: 2 columns are called 'kind'"),
        (COLUMNS.replace("citrus,fruit", "citrus,Fruit"), "department: nodes differ by case, blanks or punctuation"),
    ],
)  # fmt: skip
def test_each_fault_of_a_tree_has_one_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    assert len(error.value.faults) == 1
    assert message in str(error.value)


def test_a_level_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no level 'aisle': it has coarse"):
        read(tmp_path, COLUMNS, levels=("aisle",))


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, EDGES.replace("lemon,citrus", "lemon,") + "milk,packs\n")
    assert len(error.value.faults) == 2
