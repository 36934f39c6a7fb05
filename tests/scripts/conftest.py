"""Checkouts with the real shell scripts and recipe scripts that only pretend: what is tested here is the shell.

`checkout` has the nose prints' nine folders. `toy` is a small method of another family, in recipes/toy.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = ("swin224", "swin384", "v2", "b7ns")
FOLDERS = ("pseudo_produce", *(f"{name}_stage{stage}" for name in MEMBERS for stage in (1, 2)))

TOY_TRAIN = """#!/usr/bin/env bash
# Trains a teacher, lets it label photographs, and trains two students on them.
#
#   --colour NAME   all options of the mechanism, and this one

source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"

teacher() {
  step teacher teacher/train.py --reads train classes.csv
  step labels teacher/label.py --reads unlabelled --after teacher/train.py --makes labels.csv
}
student() { step students "$1/train.py" --reads train --after teacher/label.py; }
method() {
  lane teacher
  lanes student small large
}
make_demo_data() { run_or_show cp -r data/mine "$DATA"; }
demo_options() { echo --epochs 1 --network "$1"; }
COLOUR=()
own_option() {
  [ "$1" = --colour ] || return 1
  require_value "$@"
  COLOUR=(--colour "$2") CONSUMED=2
}

read_options "$@"
RUN_OPTIONS+=(${COLOUR[@]+"${COLOUR[@]}"})
run_method train classes.csv
method_is_complete || exit 0
continue_with predict.sh
"""

TOY_PARTS = """#!/usr/bin/env bash
# Three parts of one script, side by side, then what needs all of them.

source "$(dirname "$0")/../../scripts/common.sh"
source "$ROOT/scripts/steps.sh"

method() {
  lanes part 0 1 2
  lane labels
}
part() { step parts parts/train.py --part "part$1" --reads train; }
labels() { step labels parts/label.py --with --rule "very strict" --after "parts/train.py:*" --makes labels.csv; }

read_options "$@"
run_method train
"""

# Records its call and writes its result. NAME.behaviour beside NAME.py, or NAME-PART.behaviour for a part, makes it
# sleep, fail, die or forget its result.
STUB = """
import json, os, signal, sys, time
from pathlib import Path
script = Path(__file__).resolve()
folder, root, args = script.parent, script.parents[1], sys.argv[1:]
run = args[args.index("--run") + 1] if "--run" in args else "small" if "--small" in args else ""
part = args[args.index("--part") + 1] if "--part" in args else ""
results = folder / "results" / run / part
call = {"script": f"{folder.name}/{script.name}", "args": args, "begin": time.time()}
for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NOSEPRINT_PROGRESS", "NO_ALBUMENTATIONS_UPDATE"):
    call[name] = os.environ.get(name)
print("output of", folder.name)
print("error of", folder.name, file=sys.stderr)
print("bar 1/2\\rbar 2/2", file=sys.stderr)
def record():
    call["end"] = time.time()
    with (root / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\\n")
behaviour = script.with_name("-".join(filter(None, (script.stem, part))) + ".behaviour")
word, _, number = (behaviour.read_text() if behaviour.exists() else "").partition(" ")
if word == "sleep":
    def stop(*_):  # like a training that saves its state first
        time.sleep(0.5)
        print("state saved", flush=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, stop)
    (root / "asleep").write_text(str(os.getpid()))
    time.sleep(float(number))
if word == "fail":
    record()
    sys.exit(int(number))
if word == "die":
    (results / "last").mkdir()
    record()
    os.kill(os.getpid(), signal.SIGKILL)
if word != "forget":
    result = {"train": "best.safetensors", "pseudo": "pseudo.csv", "label": "labels.csv", "infer": "similarity.csv"}
    (results / result[script.stem]).write_text(script.read_text() + (folder / "dataset.py").read_text())
if __name__ == "__main__":
    record()
"""

LIBRARY = """
import json, sys
from pathlib import Path
command, *args = sys.argv[1:]
with open("calls.jsonl", "a") as file:
    file.write(json.dumps({"script": "noseprint " + command, "args": args}) + "\\n")
if command == "demo-data":
    for split, table in (("train", "train_data"), ("validation", "valid_data"), ("test", "test_data")):
        (Path(args[0]) / split / "images").mkdir(parents=True, exist_ok=True)
        (Path(args[0]) / split / f"{table}.csv").write_text("demo")
if command == "fuse":
    Path(args[args.index("--out") + 1]).write_text("fused")
if command == "calibrate" and Path("fail_calibrate").exists():
    sys.exit("error: nothing to calibrate on")
if command == "report" and "--no-scores" not in args:
    print("ensemble 0.987")
"""


@dataclass(frozen=True)
class Checkout:
    """`root` is the folder of the family's scripts: the checkout itself, or recipes/FAMILY."""

    root: Path
    environment: dict[str, str]

    def command(self, script: str, *args: str) -> list[str]:
        return [self.environment["PATH"].split(":")[0] + "/bash", str(self.root / script), *args]

    def run(self, script: str, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(script, *args),
            cwd=cwd or self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def ok(self, script: str, *args: str, cwd: Path | None = None) -> str:
        result = self.run(script, *args, cwd=cwd)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def fails(self, script: str, *args: str, status: int = 1) -> str:
        result = self.run(script, *args)
        assert result.returncode == status, result.stdout + result.stderr
        return result.stderr

    def calls(self) -> list[dict]:
        """All calls since this was last called."""
        record = self.root / "calls.jsonl"
        if not record.exists():
            return []
        calls = [json.loads(line) for line in record.read_text().splitlines()]
        record.unlink()
        return calls

    def called(self) -> list[str]:
        """The scripts called, without the advice at the start of train.sh and the report at its end."""
        return [call["script"] for call in self.calls() if not {*call["args"]} & {"--plan", "--no-scores"}]

    def will(self, script: str, behaviour: str) -> Path:
        """Make a recipe script behave like this until the returned file is removed."""
        file = (self.root / script).with_suffix(".behaviour")
        file.write_text(behaviour)
        return file

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


def write_data(folder: Path) -> None:
    for split, table, header in (
        ("train", "train_data.csv", "dog ID,nose print image\n"),
        ("validation", "valid_data.csv", "imageA,imageB\n"),
        ("test", "test_data.csv", "imageA,imageB\n"),
    ):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / table).write_text(header)
        (folder / split / "images" / "A*1 .jpg").write_bytes(b"pixels")


def write_recipe(folder: Path, *scripts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for script in scripts:
        (folder / script).write_text(STUB)
    (folder / "dataset.py").write_text(f"SIZE = 224  # {folder.name}\n")


def make_checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a checkout"
    library = tmp_path / "library" / "noseprint"
    library.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "files.py", "step_inputs.py", "lock.py", "version.py"):
        shutil.copy(ROOT / "src" / "noseprint" / name, library)
    (library / "__main__.py").write_text(LIBRARY)
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("train.sh", "predict.sh", "predict_ckpt.sh", "members.txt"):
        shutil.copy(ROOT / name, root)
    for folder in FOLDERS:
        write_recipe(root / folder, "train.py", "pseudo.py" if folder == "pseudo_produce" else "infer.py")
    for name in ("data", "ckpts"):
        (root / name).mkdir()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -P "$@"\n')
    (bin_folder / "python").chmod(0o755)
    (bin_folder / "bash").symlink_to(shutil.which("bash") or "/bin/bash")  # the first on PATH, to try an older one
    environment = {
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "PYTHONPATH": str(library.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "NOSEPRINT_JOBS": "1",  # the same on every machine
    }
    return Checkout(root, environment)


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    """The scripts and recipe folders, with an empty data folder and a python on PATH that has noseprint."""
    return make_checkout(tmp_path)


@pytest.fixture
def checkout(bare: Checkout) -> Checkout:
    write_data(bare.root / "data")
    return bare


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = make_checkout(tmp_path_factory.mktemp("trained"))
    write_data(checkout.root / "data")
    checkout.ok("train.sh")
    checkout.calls()
    return checkout.root


@pytest.fixture
def finished(bare: Checkout, trained_once: Path) -> Checkout:
    """A checkout in which `train.sh` has run."""
    shutil.rmtree(bare.root)
    shutil.copytree(trained_once, bare.root)
    return bare


@pytest.fixture
def toy(bare: Checkout) -> Checkout:
    """recipes/toy in a checkout: a teacher, its labels, and two students that may train side by side."""
    root = bare.root / "recipes" / "toy"
    write_recipe(root / "teacher", "train.py", "label.py")
    write_recipe(root / "small", "train.py", "infer.py")
    write_recipe(root / "large", "train.py")
    write_recipe(root / "parts", "train.py", "label.py")
    (root / "train.sh").write_text(TOY_TRAIN)
    (root / "parts.sh").write_text(TOY_PARTS)
    (root / "predict.sh").write_text('echo "predict.sh $*"\n')
    for folder in ("train", "unlabelled"):
        (root / "data" / folder / "a class").mkdir(parents=True)
        (root / "data" / folder / "a class" / "1.jpg").write_bytes(b"pixels")
    (root / "data" / "classes.csv").write_text("class\na class\n")
    return Checkout(root, bare.environment)


def copy_family(folder: Path, family: str) -> Path:
    """A checkout with the scripts and the real recipe `family`, a python beside it, and a tiny folder of classes."""
    root = folder / "a checkout"
    for path in ("scripts", f"recipes/{family}"):
        shutil.copytree(ROOT / path, root / path, ignore=shutil.ignore_patterns("results", "data", "__pycache__"))
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    for split in ("train", "val", "test"):
        (folder / "classes" / split / "cat").mkdir(parents=True)
        (folder / "classes" / split / "cat" / "1.jpg").write_bytes(b"pixels")
    return root


def run_family(checkout: Path, script: str, *options: str, status: int = 0) -> str:
    """What a script of `copy_family` prints, without backslashes; it must end with `status`."""
    environment = os.environ | {"PATH": f"{checkout.parent}/bin:{os.environ['PATH']}", "NOSEPRINT_JOBS": "1"}
    (family,) = (checkout / "recipes").iterdir()
    done = subprocess.run(
        ["bash", str(family / script), *options],
        cwd=checkout.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return (done.stdout + done.stderr).replace("\\", "")
