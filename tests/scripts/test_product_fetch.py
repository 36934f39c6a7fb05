"""fetch.sh of recipes/product_hierarchy: its demo, and what it passes on."""

import csv
from collections import Counter

import pytest

from noseprint.data.class_tables import read_classes

from .conftest import copy_family, run_family


@pytest.fixture
def checkout(tmp_path):
    return copy_family(tmp_path, "product_hierarchy")


def run(checkout, *options, status=0):
    return run_family(checkout, "fetch.sh", *options, status=status)


def test_the_demo_fetches_all_but_three_drawings(checkout):
    text = run(checkout, "--demo")
    assert "497 of 500 images" in text
    assert "Next:  bash recipes/product_hierarchy/train.sh --demo" in text
    data = checkout / "recipes/product_hierarchy/data/demo"
    with (data / "missing.csv").open(newline="") as file:
        missing = [row["reason"].partition(":")[0] for row in csv.DictReader(file)]
    assert missing == ["there is no such file", "is a web page, not an image", "another sha256"]
    assert Counter(read_classes(data).splits) == {"train": 321, "val": 80, "test": 96}
    assert (data / "tree.csv").is_file()
    assert "3 of them failed in an earlier run" in run(checkout, "--demo")


def test_nothing_fetched_is_a_failure(checkout):
    (checkout.parent / "list.csv").write_text("id,url,class\na,file:///none.jpg,cat\n")
    text = run(checkout, "--data", "d", "--train", "list.csv", "--offline", "--allow-private", status=1)
    assert "0 of 1 images are in" in text
    assert "Next:" not in text


def test_paths_are_those_of_the_caller(checkout):
    options = ("--data", "my data", "--train", "my list.csv", "--rate", "3", "--again", "--dry-run")
    here = checkout.parent
    assert f"fetch/fetch.py --data {here}/my data --train {here}/my list.csv --rate 3 --again" in run(
        checkout, *options
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--data", "d"), "name the lists: --train LIST"),
        (("--demo", "--train", "x.csv"), "--demo makes its own lists"),
        (("--train",), "--train needs a value"),
        (("--trane", "x"), "unknown option --trane"),
    ],
)
def test_wrong_options_are_one_message(checkout, options, problem):
    assert problem in run(checkout, *options, status=2)


def test_a_missing_list_is_one_message(checkout):
    text = run(checkout, "--data", "d", "--train", "none.csv", status=1)
    assert "none.csv: there is no such list" in text
    assert "Traceback" not in text
