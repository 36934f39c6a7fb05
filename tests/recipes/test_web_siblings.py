"""Which files of recipes/web_finegrained are the same, read without running them."""

import difflib
from pathlib import Path

import pytest

FAMILY = Path(__file__).parents[2] / "recipes" / "web_finegrained"


def code(path: str) -> list[str]:
    """The lines after the docstring of the module."""
    _, _, rest = (FAMILY / path).read_text().split('"""', 2)
    return rest.splitlines()


def differing(one: str, other: str) -> set[str]:
    """The names that are set on the lines of `one` that `other` does not have, and the other way round."""
    lines = [line[2:].strip() for line in difflib.ndiff(code(one), code(other)) if line[0] in "+-"]
    return {line.partition("=")[0].strip() for line in lines}


@pytest.mark.parametrize("folder", ["b5", "distil"])
@pytest.mark.parametrize("name", ["dataset.py", "infer.py"])
def test_members_and_student_see_and_answer_alike(folder, name):
    assert code(f"{folder}/{name}") == code(f"b4/{name}")


def test_members_differ_in_their_decisions_only():
    assert differing("b4/model.py", "b5/model.py") == {"BACKBONE", "SMALL_BACKBONE"}
    assert differing("b4/train.py", "b5/train.py") == {"image_size", "train_size"}
    assert differing("b4/model.py", "distil/model.py") == set()
