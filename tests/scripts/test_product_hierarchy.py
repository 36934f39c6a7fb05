"""train.sh of recipes/product_hierarchy: which steps it has, and what each is given. Nothing is trained."""

import pytest

from .conftest import copy_family, run_family


@pytest.fixture
def checkout(tmp_path):
    root = copy_family(tmp_path, "product_hierarchy")
    (tmp_path / "classes" / "tree.csv").write_text("class,parent\ncat,animal\n")
    return root


def run(checkout, *options, status=0):
    return run_family(checkout, "train.sh", *options, status=status)


def planned(checkout, *options):
    """The command of each step, by its script and part."""
    lines = run(checkout, "--small", "--data", "classes", "--dry-run", *options).splitlines()
    commands = [line.removeprefix("run").strip() for line in lines if line.startswith("run ")]
    return {(line.split()[1], *line.partition("--part ")[2].split()[:1]): line for line in commands}


def test_the_table_of_contents(checkout):
    members = [f"members/train.py:lite{number}" for number in range(3)]
    assert run(checkout, "--list", "--small").splitlines() == [
        "filter filter/filter.py",
        *(f"lr_range members/find_rate.py:lite{number} after filter/filter.py" for number in range(3)),
        "lr_range members/draw_rates.py after " + " ".join(f"members/find_rate.py:lite{number}" for number in range(3)),
        *(f"members {member} after filter/filter.py {member.replace('members/train', 'members/find_rate')}"
          for member in members),
        f"select select/choose.py after filter/filter.py {' '.join(members)}",
        "report report/make.py after filter/filter.py select/choose.py",
    ]  # fmt: skip
    later = run(checkout, "--list", "--small", "--from", "members")  # a stage, and the folder of the one before it, too
    assert later.startswith("members members/train.py:lite0 ")
    assert run(checkout, "--list").count("members members/train.py") == 5
    assert run(checkout, "--list", "--demo").count("members members/train.py") == 1


def test_a_rate_of_the_user_needs_no_range_test(checkout):
    assert "lr_range" not in run(checkout, "--list", "--small", "--lr", "0.01")
    plan = planned(checkout, "--lr", "0.01", "--members", "lite1,lite0")
    assert set(plan) >= {("members/train.py", "lite0"), ("members/train.py", "lite1")}
    assert ("members/train.py", "lite2") not in plan
    assert "--lr 0.01" in plan["members/train.py", "lite0"]
    assert "--members lite1,lite0" in plan["select/choose.py",]


def test_each_member_takes_the_rate_that_was_found_for_it(checkout):
    plan = planned(checkout)
    found = checkout / "recipes/product_hierarchy/members/results/small/lite1/lr_range.json"
    assert f"--lr-file {found}" in plan["members/train.py", "lite1"]
    assert "--members lite0,lite1,lite2" in plan["members/draw_rates.py",]


def test_the_range_test_has_the_options_of_the_training(checkout):
    plan = planned(checkout, "--", "--optimizer", "sgd")
    for script in ("members/find_rate.py", "members/train.py"):
        assert "--optimizer sgd" in plan[script, "lite2"]
    assert not any("sgd" in line for (script, *_), line in plan.items() if script.startswith(("select", "filter")))
    demo = [line for line in run(checkout, "--demo", "--dry-run").splitlines() if "--image-size 96" in line]
    assert len(demo) == 2


def test_options_reach_their_steps(checkout):
    (checkout.parent / "my tree.csv").write_text("class,parent\n")
    given = ("--tree", "my tree.csv", "--levels", "kind,area", "--right", "0.9", "--least-side", "50")
    plan = planned(checkout, *given, "--group-column", "sender")
    tree = f"--tree {checkout.parent}/my tree.csv --levels kind,area --right 0.9"
    assert [step for step, line in plan.items() if tree in line] == [("select/choose.py",)]
    assert [step for step, line in plan.items() if "--least-side 50 --group-column sender" in line] == [
        ("filter/filter.py",)
    ]


def test_another_tree_changes_no_member(checkout):
    """Only select and report depend on it."""
    text = (checkout / "recipes/product_hierarchy/train.sh").read_text()
    steps = {part.split()[0]: part.partition("\n}")[0] for part in text.split("\n  step ")[1:]}
    assert [name for name, part in steps.items() if "$TREE" in part] == ["select", "report"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--members", "lite0,vgg"), "--members: there is no network vgg; choose from resnet50,"),
        (("--members", "lite0,lite0"), "--members: lite0 is named twice"),
        (("--members", "lite0,"), "--members lite0,: a name is empty"),
        (("--members", ","), "--members ,: a name is empty"),
        (("--tree", "typo.csv"), "--tree typo.csv: there is no such file"),
        (("--lr", "fast"), "--lr fast: give a number"),
        (("--", "--lr", "0.1"), "--lr cannot follow --: give it before"),
        (("--right",), "--right needs a value"),
        (("--labels", "given"), "unknown option --labels"),
    ],
)
def test_wrong_options_are_refused(checkout, options, problem):
    assert problem in run(checkout, "--small", "--data", "classes", "--dry-run", *options, status=2)


def test_what_the_trainings_would_refuse_is_refused_before_the_first_step(checkout):
    said = run(checkout, "--small", "--data", "classes", "--", "--epochs", "-1", status=1)
    assert "--epochs -1" in said
    assert "nothing was started" in said
    assert not list(checkout.glob("recipes/product_hierarchy/*/results"))


def test_the_tree_is_checked_before_the_first_step(checkout):
    """The classes have a dog, and the tree has not."""
    (checkout.parent / "classes/tree.csv").write_text(
        "class,kind,area\ncat,pet,animal\ncow,herd,animal\noak,tree,plant\n"
    )
    (checkout.parent / "classes/train/dog").mkdir()
    (checkout.parent / "classes/train/dog/1.jpg").write_bytes(b"pixels")
    for options in ((), ("--check",)):
        printed = run(checkout, "--small", "--data", "classes", *options, status=1)
        assert "tree.csv: it lacks 1 of the 2 classes of the images: dog" in printed
        assert "filter.py: runs" not in printed
