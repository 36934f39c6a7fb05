"""train.sh and predict.sh of recipes/universal_embedding: which steps there are, and what each is given."""

import runpy
from pathlib import Path

import pytest

from .conftest import copy_family, run_family


@pytest.fixture
def checkout(tmp_path):
    root = copy_family(tmp_path, "universal_embedding")
    things = tmp_path / "things"
    things.mkdir()
    (things / "images.csv").write_text("image,identity,domain,part,role\n")
    for name in ("my table.csv", "lite0.safetensors"):
        (tmp_path / name).write_text("bytes\n")
    return root


def run(checkout, *options, status=0, script="train.sh"):
    return run_family(checkout, script, *options, status=status)


def planned(checkout, *options):
    """The command of each step, by its script and part."""
    lines = run(checkout, "--small", "--data", "things", "--dry-run", *options).splitlines()
    commands = [line.removeprefix("run").strip() for line in lines if line.startswith("run ")]
    return {(line.split()[1], *line.partition("--part ")[2].split()[:1]): line for line in commands}


def steps(checkout, *options):
    return [line.split()[1] for line in run(checkout, "--list", *options).splitlines()]


SMALL = ("lite0", "lite1", "lite2")


def test_the_table_of_contents(checkout):
    of = {name: [f"{name}/{script}.py:{part}" for part in SMALL] for name, script in
          (("frozen", "embed"), ("head", "train"), ("phases", "train"))}  # fmt: skip
    assert run(checkout, "--list", "--small").splitlines() == [
        "prepare prepare/prepare.py",
        *(f"frozen {one} after prepare/prepare.py" for one in of["frozen"]),
        *(f"head {one} after prepare/prepare.py {frozen}"
          for one, frozen in zip(of["head"], of["frozen"], strict=True)),
        *(f"phases {one} after prepare/prepare.py {frozen} {head}"
          for one, frozen, head in zip(of["phases"], of["frozen"], of["head"], strict=True)),
        f"reduce reduce/choose.py after prepare/prepare.py {' '.join((*of['frozen'], *of['head'], *of['phases']))}",
        "report report/make.py after prepare/prepare.py reduce/choose.py",
    ]  # fmt: skip


def test_without_a_method_nothing_is_trained_but_the_head(checkout):
    found = steps(checkout, "--small", "--method", "none", "--backbones", "lite1")
    assert found == ["prepare/prepare.py", "frozen/embed.py:lite1", "head/train.py:lite1", "reduce/choose.py",
                     "report/make.py"]  # fmt: skip
    assert "--stages none" in planned(checkout, "--method", "none")["reduce/choose.py",]


def test_a_higher_resolution_is_for_the_published_method_or_on_demand(checkout):
    for options, expected in (
        (("--small", "--large"), True),
        ((), True),
        (("--demo",), False),
        (("--small", "--large", "--method", "none"), False),
    ):
        assert any(name.startswith("large/train.py:") for name in steps(checkout, *options)) == expected, options
    assert "--stages phases,large" in planned(checkout, "--large")["reduce/choose.py",]


def test_options_reach_their_steps(checkout):
    plan = planned(checkout, "--dim", "32", "--take", "mixture", "--method", "joint", "--table", "my table.csv",
                   "--backbones", "mobilenetv3,lite0")  # fmt: skip
    having = {option: {script for (script, *_), line in plan.items() if f"--{option} " in f"{line} "}
              for option in ("dim 32", "take mixture", "method joint", "parts mobilenetv3,lite0")}  # fmt: skip
    trained = {"head/train.py", "phases/train.py"}
    assert having["dim 32"] == {*trained, "reduce/choose.py"}
    assert having["take mixture"] == having["parts mobilenetv3,lite0"] == {"reduce/choose.py"}
    assert having["method joint"] == {"phases/train.py"}
    assert f"--table {checkout.parent}/my table.csv" in plan["prepare/prepare.py",]
    assert {part for _, *rest in plan for part in rest} == {"mobilenetv3", "lite0"}


def test_options_after_two_hyphens_are_those_of_the_backbone(checkout):
    plan = planned(checkout, "--", "--seed", "3")
    assert {script for (script, *_), line in plan.items() if "--seed 3" in line} == {"phases/train.py"}


def test_weights_belong_to_one_backbone(checkout):
    plan = planned(checkout, "--weights", "lite0=lite0.safetensors")
    assert f"--backbone-weights {checkout.parent}/lite0.safetensors" in plan["frozen/embed.py", "lite0"]
    assert sum("--backbone-weights" in line for line in plan.values()) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--dim", "0"), "--dim 0: give a number, 1 or more"),
        (("--dim", "many"), "--dim many: give a number"),
        (("--backbones", "lite0,lite0"), "--backbones: lite0 is named twice"),
        (("--backbones", "lite0,"), "--backbones lite0,: a name is empty"),
        (("--weights", "lite0.safetensors"), "--weights lite0.safetensors: give NAME=FILE"),
        (("--weights", "lite0=typo"), "--weights lite0=typo: there is no such file"),
        (("--weights", "lite9=lite0.safetensors"), "--weights lite9=lite0.safetensors: there is no backbone lite9"),
        (("--method", "third"), "--method third"),
        (("--take", "all"), "--take all"),
        (("--table", "typo.csv"), "--table typo.csv: there is no such file"),
        (("--backbones", "lite0,vgg"), "--backbones: there is no backbone vgg; choose from vit_h vit_l"),
        (("--views", "plain"), "unknown option --views"),
    ],
)
def test_wrong_options_are_refused(checkout, options, problem):
    assert problem in run(checkout, "--small", "--data", "things", "--dry-run", *options, status=2)


def test_a_folder_without_a_table_is_refused(checkout):
    (checkout.parent / "things" / "images.csv").unlink()
    assert "things lacks images.csv" in run(checkout, "--small", "--data", "things", status=1)
    run(checkout, "--small", "--data", "things", "--table", "my table.csv", "--dry-run")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--dim", "1"), "--dim 1: must be in 2..65536"),
        (("--", "--epochs", "2"), "--epochs"),
        (("--", "--floor", "200"), "--floor 200, --cap 100"),
    ],
)
def test_what_later_steps_would_refuse_is_refused_before_the_first_one(checkout, options, problem):
    said = run(checkout, "--small", "--data", "things", *options, status=1)
    assert problem in said
    assert "nothing was started" in said
    assert not list(checkout.glob("recipes/universal_embedding/*/results"))


def test_predict_embeds_the_test_or_a_folder(checkout):
    def plan(*options, status=0):
        return run(checkout, "--small", "--dry-run", *options, script="predict.sh", status=status)

    folder = str(checkout.parent)
    assert "predict/embed.py" in plan()
    line = plan("--images", "things", "--out", "o.safetensors", "--views", "plain,mirrored", "--skip-bad")
    for option in ("--images things", "--out o.safetensors", "--views plain,mirrored", "--skip-bad"):
        assert option in line.replace(f"{folder}/", "")
    assert "belong together" in plan("--images", "things", status=2)
    assert "belong together" in plan("--out", "o.safetensors", status=2)
    assert "unknown option --dim" in plan("--dim", "64", status=2)
    said = run(checkout, "--small", "--data", "things", script="predict.sh", status=1)
    assert "results/small/best.safetensors is missing: run train.sh with the same options first" in said


def test_each_method_can_go_on_at_a_higher_resolution():
    family = Path(__file__).parents[2] / "recipes" / "universal_embedding"
    first, then = (runpy.run_path(str(family / stage / "phases.py"))["METHODS"] for stage in ("phases", "large"))
    assert list(first) == list(then)  # train.sh --large passes the method on
