"""The scripts of recipes/universal_embedding on a tiny network, in a folder where results may be written."""

import io
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from noseprint.data.instances import InstanceTable, read_instances

from ..tasks.tiny_instances import draw_images

FAMILY = Path(__file__).parents[2] / "recipes" / "universal_embedding"
TINY = "--backbone test_efficientnet.r160_in1k --no-pretrained --image-size 32"
TRAINING = "--device cpu --workers 0 --floor 4"
CHAIN = (
    "prepare/prepare.py",
    f"frozen/embed.py --part tiny --device cpu {TINY}",
    "head/train.py --part tiny --dim 8 --epochs 2 --floor 4",
    f"phases/train.py --part tiny --dim 8 {TRAINING}",
    f"large/train.py --part tiny --dim 8 {TRAINING}",
    "reduce/choose.py --parts tiny --stages phases,large --dim 8 --device cpu",
    "report/make.py",
    "predict/embed.py --device cpu --workers 0",
)


def start(root: Path, *lines: str) -> tuple[int, str, str]:
    """Run scripts with their options one after the other until one fails: status, output, messages.

    They run in this process: loading torch would take most of the time.
    """
    kept, printed, said = (list(sys.path), list(sys.argv)), io.StringIO(), io.StringIO()
    try:
        for line in lines:
            script, *options = f"{root}/{line} --small --data {root / 'data'}".split()
            forget_modules()
            torch.manual_seed(0)  # as in a new process: a network without pretrained weights starts at random
            sys.path[:], sys.argv = [str(Path(script).parent), *kept[0]], [script, *options]
            with redirect_stdout(printed), redirect_stderr(said):
                runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        return error.code, printed.getvalue(), said.getvalue()
    finally:
        sys.path[:], sys.argv = kept
        forget_modules()
    return 0, printed.getvalue(), said.getvalue()


def forget_modules() -> None:
    """The modules beside a script have the same names in every folder."""
    for name in ("dataset", "model", "phases"):
        sys.modules.pop(name, None)


def run(root: Path, *lines: str) -> str:
    status, printed, said = start(root, *lines)
    assert status == 0, printed + said
    return printed


def refused(root: Path, *lines: str) -> str:
    """What scripts say that cannot go on, on one line."""
    status, _, said = start(root, *lines)
    assert status in (1, 2)
    return " ".join(said.split())


def copy_recipe(folder: Path) -> Path:
    """The family and a data folder: 12 identities of 4 images, a third of them for the test."""
    root = folder / "family"
    shutil.copytree(FAMILY, root, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
    large = root / "large" / "phases.py"
    large.write_text(large.read_text().replace("size=280", "size=48"))  # 280 pixels take ten seconds
    draw_images(root / "data")
    rows = ["image,identity,domain,part,role"]
    for path in sorted((root / "data").glob("*.png")):
        identity, _, shot = path.stem.partition("_")
        use = ("test,query" if shot == "0" else "test,index") if int(identity) % 3 == 2 else "train,"
        rows.append(f"{path.name},{identity},{'pets' if int(identity) >= 6 else 'things'},{use}")
    (root / "data" / "images.csv").write_text("\n".join(rows))
    return root


def small(root: Path, stage: str = "") -> Path:
    """The results of a stage, or of the family."""
    return root / stage / "results" / "small"


def prepared(root: Path) -> InstanceTable:
    return read_instances(root / "data", table=small(root, "prepare") / "instances.csv")
