"""What README and docs tell a reader to type is typed here, and what they point at is there.

Commands of `noseprint` and the recipes' scripts are really run, in a small checkout with tiny networks, a page from its
first command to its last. What would take hours or another machine is checked as far as it goes: the campaign's scripts
by --dry-run, and each command that they would give by the parser of its program; torchrun and benchmarks by their
parsers; programs of others by bash's. A command of a kind not known here fails.
"""

import argparse
import csv
import itertools
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
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
TINY = ("--backbone", "test_efficientnet.r160_in1k", "--no-pretrained", "--image-size", "32")
SHORT = ("--epochs", "1", "--device", "cpu", "--workers", "0")
FOREIGN = {"magick", "sips", "pip", "git", "source"}  # only bash looks at their words
STEPS = [f"pseudo_produce/{step}.py" for step in ("train", "pseudo")]  # what is run once, in the place of all
STEPS += [f"swin224_{step}.py" for step in ("stage1/train", "stage2/train", "stage2/infer")]
REALLY = {"cp", "mkdir", "ls"}  # of bash, run as they stand
NAMED_FILE = re.compile(r"(?<![\w*}])[\w.-]*(?:/?\w[\w.-]*/)*[\w-]+\.(?:py|sh|md|sbatch|toml)\b(?!/)")


def named(page):
    return page.relative_to(ROOT).as_posix()


def commands(page):
    """Each command of the page's ```bash blocks as words; an assignment before it is left out."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, "&&"]:
                if word != "&&":
                    words += [] if not words and re.fullmatch(r"\w+=.*", word) else [word]
                elif words:
                    yield words
                    words = []


class Parsed(BaseException):
    """The options were understood: there is nothing more to see. No `except Exception` is to stop it."""


@contextmanager
def leaving_well(*words):
    """A program that is run in here may leave: with status 0."""
    status = 0
    try:
        yield
    except Parsed:
        pass
    except SystemExit as left:
        status = left.code
    assert not status, f"{shlex.join(words)} leaves with status {status}"


class Reader:
    """A reader at the terminal, in a checkout of their own."""

    def __init__(self, root, monkeypatch):
        self.root, self.monkeypatch = root, monkeypatch
        monkeypatch.chdir(root)
        monkeypatch.setenv(
            "PATH", f"{root / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))

    def types(self, words, *, really=True):
        words = [name for word in words for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        program, *rest = words
        for option, word in itertools.pairwise(words):  # the reader's own
            if option in ("--data", "embed") and not (Path(word).exists() or "$" in word):
                Path(word).symlink_to(self.root / "data")
            if word.endswith(".jpg") and not Path(word).exists():
                shutil.copy(next(Path("data/test/images").iterdir()), word)
        assert not {"|", ";", "||", "<", ">", ">>", "&", "(", ")"} & set(words), f"no simple command: {words}"
        if program == "noseprint":
            self.noseprint(rest, really=really)
        elif program == "python" and rest[:2] == ["-m", "noseprint"]:
            self.noseprint(rest[2:], really=really)
        elif program == "python":
            self.python(*rest, really=really)
        elif program == "bash":
            self.bash(*rest)
        elif program == "torchrun":
            asked = get_args_parser().parse_args(rest)
            self.python(asked.training_script, *asked.training_script_args, really=False)
        elif program == "sbatch":
            script = next(k for k, word in enumerate(rest) if word.endswith(".sbatch"))
            self.shell("bash", "-n", rest[script])
            self.python(*rest[script + 1 :], really=False)
        elif program in REALLY and really:
            self.shell(*words)
        else:
            assert program in FOREIGN | REALLY, f"what kind of command is {program}? Teach tests/test_docs.py"
            self.shell("bash", "-n", "-c", shlex.join(words))

    def shell(self, *words):
        done = subprocess.run(words, cwd=self.root, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def noseprint(self, words, *, really):
        with leaving_well("noseprint", *words):
            command = tyro.cli(Command, prog="noseprint", args=words)
            if really:
                command()

    def bash(self, script, *words):
        text = (self.root / script).read_text()
        if "--dry-run" in text:
            at = words.index("--") if "--" in words else len(words)
            plan = self.shell("bash", script, *words[:at], "--dry-run", *words[at:])
            planned = re.findall(r"^(?:run|skip|resume) +(.*)", plan, re.M)
            assert planned or "--help" in words, f"{script} {words} plans nothing"
            for command in planned:
                self.types(shlex.split(command), really=False)
        elif script.startswith("slurm/"):
            self.shell("bash", script, *words)  # bin/sbatch pretends
        else:
            assert not words, f"{script} takes no options that could be checked: {words}"
            self.shell("bash", "-n", script)

    def python(self, script, *options, really):
        if not (ROOT / script).exists():  # a command before has made it
            self.shell(sys.executable, script, *options)
            return
        folder, name = Path(script).parent.name, Path(script).name
        recipe = folder in FOLDERS
        runs = really and recipe
        if runs:
            options += {"train.py": SHORT if folder.endswith("stage2") else (*TINY, *SHORT)}.get(name, SHORT[2:])
        text = (ROOT / script).read_text()
        assert "tyro.cli(" in text or "parse_args(" in text or recipe, f"{script} has no parser that could be asked"
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [script, *options])
            patch.syspath_prepend(str(self.root / Path(script).parent))
            if not runs:
                self.stop_after(patch, tyro, "cli")
                self.stop_after(patch, argparse.ArgumentParser, "parse_args")
            with leaving_well("python", script, *options):
                for module in ("model", "dataset"):  # each folder has its own
                    sys.modules.pop(module, None)
                runpy.run_path(str(self.root / script), run_name="__main__")
                assert runs, f"{script} did not look at its options"

    @staticmethod
    def stop_after(patch, owner, name):
        parse = getattr(owner, name)

        def parse_and_stop(*words, **more):
            parse(*words, **more)
            raise Parsed

        patch.setattr(owner, name, parse_and_stop)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A checkout with photographs, a network trained for a moment in the place of all nine, and what pages name."""
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
    Import(root / "photos", root / "data")()  # so that what a page imports is what the networks were trained on
    (root / "data" / "demo").symlink_to(".")
    (root / "ckpts").mkdir()
    shutil.copytree(root / "data" / "test" / "images", root / "new_photographs")
    (root / "bin").mkdir()
    (root / "bin" / "sbatch").write_text("#!/bin/sh\necho 17\n")
    (root / "bin" / "sbatch").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        reader = Reader(root, patch)
        for script in STEPS:
            reader.types(["python", script])
    for state in root.glob("*/results/last"):
        shutil.rmtree(state)
    made = {script.partition("/")[0]: root / script.partition("/")[0] / "results" for script in STEPS}
    for folder in FOLDERS:
        results = made.get(folder) or made[f"swin224_{folder.partition('_')[2]}"]
        for run in ("", "small", "demo"):
            for file in results.glob("*.*"):
                (root / folder / "results" / run).mkdir(parents=True, exist_ok=True)
                if file != root / folder / "results" / run / file.name:
                    shutil.copy(file, root / folder / "results" / run)
            if folder not in made:  # a network like the other, but not the very same
                weights = results / "best.safetensors"
                with safe_open(weights, framework="pt") as file:
                    header = file.metadata() | {"recipe": folder}
                save_file(
                    load_file(results / "best.safetensors"),
                    root / folder / "results" / run / "best.safetensors",
                    header,
                )
    with pytest.MonkeyPatch.context() as patch:
        Reader(root, patch).types(["noseprint", "calibrate", "--small", "--data", "data"])
    shutil.copy(root / "v2_stage2/results/best.safetensors", root / "ckpts" / "v2_stage2.safetensors")
    shutil.copy(root / "v2_stage2/results/best.safetensors", root)
    return root


@pytest.mark.parametrize("page", [page for page in PAGES if "```bash" in page.read_text()], ids=named)
def test_the_commands_of_a_page(page, prepared, tmp_path, monkeypatch):
    reader = Reader(shutil.copytree(prepared, tmp_path / "checkout", symlinks=True), monkeypatch)
    for words in commands(page):
        print("$", shlex.join(words))
        reader.types(words)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_points_at_is_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        assert other.exists(), f"{target} leads nowhere"
        headings = re.findall(r"^#+ (.*)", other.read_text(), re.M) if anchor else []
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{target}: no such heading"
    known = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.*") if ".venv" not in path.parts]
    for name in set(NAMED_FILE.findall(text)):
        assert any(f"/{path}".endswith(f"/{name.removeprefix('../')}") for path in known), f"{name}: no such file"


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    for command in typing.get_args(Command):
        (name,) = (mark.name for mark in typing.get_args(command)[1:] if hasattr(mark, "name"))
        assert f"noseprint {name}" in text
