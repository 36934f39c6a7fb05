"""A checkout with the real scripts and nine recipe folders that only pretend: what is tested here is the shell."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = ("swin224", "swin384", "v2", "b7ns")
FOLDERS = ("pseudo_produce", *(f"{name}_stage{stage}" for stage in (1, 2) for name in MEMBERS))
IN_TURN = (
    "pseudo_produce/train.py",
    "pseudo_produce/pseudo.py",
    *(f"{name}_stage{stage}/train.py" for name in MEMBERS for stage in (1, 2)),
)

# Records each call and writes what the real script would; a .wish beside it has it fail, sleep, die or forget to write.
STUB = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).resolve()
folder, kind = here.parent, here.stem
root = folder.parent
args = sys.argv[1:]
run = args[args.index("--run") + 1] if "--run" in args else "small" if "--small" in args else ""
results = folder / "results" / run
begin = time.time()
print("out of", folder.name)
print("error of", folder.name, file=sys.stderr)
print("bar 1/2\\rbar 2/2", file=sys.stderr)
call = {"script": f"{folder.name}/{here.name}", "args": args, "begin": begin}
for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NOSEPRINT_PROGRESS", "NO_ALBUMENTATIONS_UPDATE"):
    call[name] = os.environ.get(name)
def record():
    call["end"] = time.time()
    with (root / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\\n")
wish = folder / f"{kind}.wish"
word, _, number = (wish.read_text() if wish.exists() else "").partition(" ")
if word == "sleep":
    def linger(*_):  # as a trainer that has something to put away first
        time.sleep(0.5)
        print("farewell", flush=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, linger)
    (root / "asleep").write_text(str(os.getpid()))
    time.sleep(float(number))
if word == "fail":
    record()
    sys.exit(int(number))
if word == "die":
    (results / "last").mkdir()
    record()
    os.kill(os.getpid(), signal.SIGKILL)
made = {"train": "best.safetensors", "pseudo": "pseudo.csv", "infer": "similarity.csv"}[kind]
if word != "forget":
    (results / made).write_text(here.read_text() + (folder / "dataset.py").read_text())
record()
"""

LIBRARY = """
import json, sys
from pathlib import Path
args = sys.argv[1:]
with open("calls.jsonl", "a") as file:
    file.write(json.dumps({"script": "noseprint " + args[0], "args": args[1:]}) + "\\n")
if args[0] == "demo-data":
    for split, table in (("train", "train_data"), ("validation", "valid_data"), ("test", "test_data")):
        folder = Path(args[1], split)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / f"{table}.csv").write_text("demo")
    Path(args[1], "retrieval.csv").write_text("demo")
if args[0] == "fuse":
    Path(args[args.index("--out") + 1]).write_text("fused")
if args[0] == "calibrate" and Path("fail_calibrate").exists():
    sys.exit("error: nothing to calibrate by")
if args[0] == "report" and "--no-scores" not in args:
    print("ensemble 0.987")
"""


@dataclass(frozen=True)
class Checkout:
    root: Path
    environment: dict[str, str]

    def command(self, script: str, *args: str) -> list[str]:
        return [self.environment["PATH"].split(":")[0] + "/bash", str(self.root / script), *args]

    def run(
        self, script: str, *args: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(script, *args),
            cwd=cwd or self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ok(self, script: str, *args: str, cwd: Path | None = None, **environment: str) -> str:
        result = self.run(script, *args, cwd=cwd, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def calls(self) -> list[dict]:
        """What was called since the last time this was asked."""
        record = self.root / "calls.jsonl"
        if not record.exists():
            return []
        calls = [json.loads(line) for line in record.read_text().splitlines()]
        record.unlink()
        return calls

    def called(self) -> list[str]:
        """What was started, but for the report that train.sh ends with."""
        return [call["script"] for call in self.calls() if call["args"][-1:] != ["--no-scores"]]

    def wish(self, script: str, word: str) -> Path:
        file = (self.root / script).with_suffix(".wish")
        file.write_text(word)
        return file

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


def write_data(folder: Path) -> Path:
    for split, table, header in (
        ("train", "train_data.csv", "dog ID,nose print image\n"),
        ("validation", "valid_data.csv", "imageA,imageB\n"),
        ("test", "test_data.csv", "imageA,imageB\n"),
    ):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / table).write_text(header)
        (folder / split / "images" / "A*1 .jpg").write_bytes(b"pixels")
    return folder


def make_checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a checkout"
    library = tmp_path / "library" / "noseprint"
    library.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "files.py", "fingerprint.py", "lock.py"):
        shutil.copy(ROOT / "src" / "noseprint" / name, library)
    (library / "__main__.py").write_text(LIBRARY)
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("train.sh", "predict.sh", "predict_ckpt.sh"):
        shutil.copy(ROOT / name, root)
    for folder in FOLDERS:
        (root / folder).mkdir()
        for name in ("train.py", "pseudo.py" if folder == "pseudo_produce" else "infer.py"):
            (root / folder / name).write_text(STUB)
        (root / folder / "dataset.py").write_text(f"SIZE = 224  # {folder}\n")
    for name in ("data", "ckpts"):
        (root / name).mkdir()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -P "$@"\n')
    (bin_folder / "python").chmod(0o755)
    (bin_folder / "bash").symlink_to(shutil.which("bash") or "/bin/bash")  # the one on PATH, to try an older one
    environment = {
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "PYTHONPATH": str(library.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    return Checkout(root, environment)


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    """The scripts and recipe folders, with `data/` empty and a python on PATH that has noseprint."""
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
def data_writer() -> Callable[[Path], Path]:
    return write_data


@pytest.fixture
def in_turn() -> list[str]:
    return list(IN_TURN)
