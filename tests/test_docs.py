"""Every command in README and docs is run here, and every link and file name in them must exist.

The commands of a page run in its order, in a small checkout with tiny networks. What would take hours or another
machine is only checked: train.sh and predict.sh by --dry-run, the commands of their plan, torchrun and benchmarks by
the parsers of their programs, other programs by bash's syntax check. An unknown kind of command fails.
"""

import argparse
import csv
import functools
import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import typing
from contextlib import contextmanager
from pathlib import Path

import pytest
import tyro
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.run import get_args_parser

from noseprint.cli import Command
from noseprint.commands.import_photographs import Import
from noseprint.data.demo import write_demo
from noseprint.data.tables import read_train

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/model.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
FAMILIES = sorted(ROOT.glob("recipes/**/README.md"))  # whose commands tests/recipes and tests/scripts run
TINY = ("--backbone", "test_efficientnet.r160_in1k", "--no-pretrained", "--image-size", "32")
SHORT = ("--epochs", "1", "--device", "cpu", "--workers", "0")
SYNTAX_ONLY = {"magick", "sips", "pip", "pre-commit", "pytest", "git", "source"}
RUN_AS_THEY_ARE = {"cp", "mkdir", "ls"}
# The other folders get copies of their results.
TRAINED_ONCE = ["pseudo_produce/train.py", "pseudo_produce/pseudo.py"]
TRAINED_ONCE += ["swin224_stage1/train.py", "swin224_stage2/train.py", "swin224_stage2/infer.py"]
FILE_NAME = re.compile(r"(?<![\w*}])[\w.-]*(?:/?\w[\w.-]*/)*[\w-]+\.(?:py|sh|md|sbatch|toml)\b(?!/)")


def page_name(page):
    return page.relative_to(ROOT).as_posix()


def commands(page):
    """Each command of the page's ```bash blocks as a list of arguments, without assignments before it."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
            lexer.whitespace_split = True
            command = []
            for argument in [*lexer, "&&"]:
                if argument != "&&":
                    command += [] if not command and re.fullmatch(r"\w+=.*", argument) else [argument]
                elif command:
                    yield command
                    command = []


class ParsedError(BaseException):
    """The options were understood, and the program need not go on. No `except Exception` may catch it."""


@contextmanager
def exits_with_0(*command):
    """A program that runs in this process may exit, with status 0."""
    status = 0
    try:
        yield
    except ParsedError:
        pass
    except SystemExit as exit_:
        status = exit_.code
    assert not status, f"{shlex.join(command)} exits with status {status}"


class Reader:
    """Types the commands of a page in a checkout."""

    def __init__(self, root, monkeypatch):
        self.root, self.monkeypatch = root, monkeypatch
        monkeypatch.chdir(root)
        path = [str(root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        monkeypatch.setenv("PATH", os.pathsep.join(path))
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))

    def types(self, command, *, really=True):
        globbed = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in command]
        command = list(itertools.chain(*globbed))
        program, *arguments = command
        for option, word in itertools.pairwise(command):  # what the reader is supposed to have
            if option in ("--data", "embed") and not (Path(word).exists() or "$" in word):
                Path(word).symlink_to(self.root / "data")
            if word.endswith(".jpg") and not Path(word).exists():
                shutil.copy(next(Path("data/test/images").iterdir()), word)
        assert not {"|", ";", "||", "<", ">", ">>", "&", "(", ")"} & set(command), f"not a simple command: {command}"
        if program == "noseprint":
            self.noseprint(arguments, really=really)
        elif program == "python" and arguments[:2] == ["-m", "noseprint"]:
            self.noseprint(arguments[2:], really=really)
        elif program == "python":
            self.python(*arguments, really=really)
        elif program == "bash":
            self.bash(*arguments)
        elif program == "torchrun":
            parsed = get_args_parser().parse_args(arguments)
            self.python(parsed.training_script, *parsed.training_script_args, really=False)
        elif program == "sbatch":
            script = next(k for k, word in enumerate(arguments) if word.endswith(".sbatch"))
            self.shell("bash", "-n", arguments[script])
            self.python(*arguments[script + 1 :], really=False)
        elif program in RUN_AS_THEY_ARE and really:
            self.shell(*command)
        else:
            assert program in SYNTAX_ONLY | RUN_AS_THEY_ARE, f"{program} is unknown: add it to tests/test_docs.py"
            self.shell("bash", "-n", "-c", shlex.join(command))

    def shell(self, *command):
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def noseprint(self, arguments, *, really):
        with exits_with_0("noseprint", *arguments):
            command = tyro.cli(Command, prog="noseprint", args=arguments)
            if really:
                command()

    def bash(self, script, *arguments):
        text = (self.root / script).read_text()
        if "--dry-run" in text:
            at = arguments.index("--") if "--" in arguments else len(arguments)
            plan = self.shell("bash", script, *arguments[:at], "--dry-run", *arguments[at:])
            planned = re.findall(r"^(?:run|skip|resume) +(.*)", plan, re.M)
            assert planned or "--help" in arguments, f"{script} {arguments} plans nothing"
            for command in planned:
                self.types(shlex.split(command), really=False)
        elif script.startswith("slurm/"):
            self.shell("bash", script, *arguments)  # bin/sbatch only pretends
        else:
            assert all(argument in text for argument in arguments), f"{script} knows nothing of {arguments}"
            self.shell("bash", "-n", script)

    def python(self, script, *options, really):
        if not (ROOT / script).exists():  # made by an earlier command of the page
            self.shell(sys.executable, script, *options)
            return
        folder, name = Path(script).parent.name, Path(script).name
        recipe = folder in FOLDERS
        runs = really and recipe
        if runs:
            options += {"train.py": SHORT if folder.endswith("stage2") else (*TINY, *SHORT)}.get(name, SHORT[2:])
        text = (ROOT / script).read_text()
        assert recipe or "tyro.cli(" in text or "parse_args(" in text, f"{script} has no option parser"
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [script, *options])
            patch.syspath_prepend(str(self.root / Path(script).parent))
            if not runs:
                self.stop_after(patch, tyro, "cli")
                self.stop_after(patch, argparse.ArgumentParser, "parse_args")
            with exits_with_0("python", script, *options):
                for module in ("model", "dataset"):  # each folder has its own
                    sys.modules.pop(module, None)
                runpy.run_path(str(self.root / script), run_name="__main__")
                assert runs, f"{script} did not parse its options"

    @staticmethod
    def stop_after(patch, owner, name):
        parse = getattr(owner, name)

        def parse_and_stop(*args, **kwargs):
            parse(*args, **kwargs)
            raise ParsedError

        patch.setattr(owner, name, parse_and_stop)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A checkout with photographs, the files that pages name, and one tiny network copied into all nine folders."""
    root = tmp_path_factory.mktemp("docs") / "checkout"
    ignored = shutil.ignore_patterns("results", "__pycache__")
    for folder in (*FOLDERS, "scripts", "slurm", "benchmarks", "tests/slow"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in (*ROOT.glob("*.sh"), ROOT / "members.txt"):
        shutil.copy(file, root)
    write_demo(root / "drawn", train_identities=40, pair_identities=2, seed=0)
    train = read_train(root / "drawn")
    with (root / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "animal"))
        for path, identity in zip(train.paths, train.identities, strict=True):
            own = root / "photos" / identity
            own.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, own)
            table.writerow((f"{identity}/{path.name}", identity))
    whole = {"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]}
    images = [{"file": path.name, "detections": [whole]} for path in train.paths]
    (root / "detections.json").write_text(json.dumps({"images": images}))
    Import(root / "photos", root / "data")()  # as on the pages, so the networks are trained on its photographs
    (root / "data" / "demo").symlink_to(".")
    (root / "ckpts").mkdir()
    shutil.copytree(root / "data" / "test" / "images", root / "new_photographs")
    (root / "bin").mkdir()
    (root / "bin" / "sbatch").write_text("#!/bin/sh\necho 17\n")
    (root / "bin" / "sbatch").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        reader = Reader(root, patch)
        for script in TRAINED_ONCE:
            reader.types(["python", script])
    for state in root.glob("*/results/last"):
        shutil.rmtree(state)
    trained = {script.partition("/")[0]: root / script.partition("/")[0] / "results" for script in TRAINED_ONCE}
    for folder in FOLDERS:
        results = trained.get(folder) or trained[f"swin224_{folder.partition('_')[2]}"]
        for run in ("", "small", "demo"):
            copy = root / folder / "results" / run
            copy.mkdir(parents=True, exist_ok=True)
            for file in results.glob("*.*"):
                if file != copy / file.name:
                    shutil.copy(file, copy)
            if folder not in trained:  # another recipe in the header makes it another network
                with safe_open(results / "best.safetensors", framework="pt") as file:
                    header = file.metadata() | {"recipe": folder}
                save_file(load_file(results / "best.safetensors"), copy / "best.safetensors", header)
    with pytest.MonkeyPatch.context() as patch:
        Reader(root, patch).types(["noseprint", "calibrate", "--small", "--data", "data"])
        Reader(root, patch).types(["noseprint", "calibrate", "--run", "demo", "--data", "data"])
    shutil.copy(root / "v2_stage2/results/best.safetensors", root / "ckpts" / "v2_stage2.safetensors")
    shutil.copy(root / "v2_stage2/results/best.safetensors", root)
    return root


@pytest.mark.parametrize("page", [page for page in PAGES if "```bash" in page.read_text()], ids=page_name)
def test_the_commands_of_a_page_run(page, prepared, tmp_path, monkeypatch):
    reader = Reader(shutil.copytree(prepared, tmp_path / "checkout", symlinks=True), monkeypatch)
    for command in commands(page):
        print("$", shlex.join(command))
        reader.types(command)


@functools.cache
def all_files():
    return [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.rglob("*.*") if ".venv" not in path.parts]


@pytest.mark.parametrize("page", PAGES + FAMILIES, ids=page_name)
def test_links_and_file_names_of_a_page_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text) + re.findall(r'(?:src|href)="(?!\w+:)([^"]+)"', text):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{target}: no such file"
        headings = re.findall(r"^#+ (.*)", linked.read_text(), re.M) if anchor else []
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{target}: no such heading"
    for name in set(FILE_NAME.findall(text)) if page.name != "names.md" else ():  # which lists old names
        assert any(file.endswith(f"/{name.removeprefix('../')}") for file in all_files()), f"{name}: no such file"


@pytest.mark.parametrize("page", PAGES + FAMILIES, ids=page_name)
def test_lines_of_a_page_wrap_at_120(page):
    long = [line for line in page.read_text().splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    for command in typing.get_args(Command):
        (name,) = (item.name for item in typing.get_args(command)[1:] if hasattr(item, "name"))
        assert f"noseprint {name}" in text
