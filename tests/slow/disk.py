"""Let every write in turn meet a full disk, and a read-only one, and see what is said, kept and made afterwards.

    python tests/slow/disk.py --out DIR [--checkout .] [--only train fuse]

In a clone of the checkout (of what is committed) the folder that a command writes to is a tmpfs. The command first runs
undisturbed, which gives the size of every file in the order written; from these follow the sizes of the tmpfs at which
each write in turn is the first that does not fit: not at all, and half of it. Each time the command has to end with
status 1 and one message that names the file and the reason, without a traceback; every file there has to be one that
the undisturbed run had whole or that lay there before, with no .part beside it; with space again the same command
has to succeed with the undisturbed run's bytes.

Linux only; root, or a kernel that lets users make namespaces. Exit status 1 if any of that failed.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

OWN_MOUNTS = "NOSEPRINT_OWN_MOUNTS"
PAGE = 4096
PLENTY = 2**30
FULL, READ_ONLY = "No space left on device", "Read-only file system"
TINY = "--backbone test_efficientnet.r160_in1k --no-pretrained --image-size 32 --batch-size 16 --device cpu --workers 0"
Known = dict[str, set[str]]  # digests of the versions that a file had
APPENDED = (".lock", ".jsonl", ".log", "tensorboard")  # the last where it is installed
TRAINING = ["best.safetensors", "metrics.jsonl", "last/state.pt"]


@dataclass(frozen=True)
class Case:
    """A command, the folder it writes to and the files it writes there, in that order."""

    name: str
    command: str
    folder: str
    writes: list[str]
    older: bool = True  # whether there are files of an earlier run, to be replaced
    same: list[str] = field(default_factory=list)  # compared bit for bit at the end; [] for all of `writes`
    first: str = ""  # run before, undisturbed


CASES = [
    Case("demo-data", "python -m noseprint demo-data data/demo", "data", ["demo"], older=False, same=["demo"]),
    Case(
        "train",
        f"python pseudo_produce/train.py --data data/demo --small --run disk --epochs 2 {TINY}",
        "pseudo_produce/results/disk",
        [".lock", "tensorboard", *TRAINING, *TRAINING],
        older=False,
        same=["best.safetensors"],
    ),
    Case(
        "pseudo",
        "python pseudo_produce/pseudo.py --data data/demo --small --run disk --workers 0",
        "pseudo_produce/results/disk",
        [".lock", "pseudo.csv", "pseudo.json"],
        same=["pseudo.csv", "pseudo.json"],
        older=False,  # else the second would take the space of the first's older one
    ),
    Case(
        "infer",
        "python swin224_stage1/infer.py --data data/demo --small --run disk --workers 0",
        "swin224_stage1/results/disk",
        ["similarity.csv"],
        first=f"python swin224_stage1/train.py --data data/demo --small --run disk --no-pseudo --epochs 1 {TINY}",
    ),
    Case(
        "fuse",
        "python -m noseprint fuse swin224_stage1/results/disk/similarity.csv --pairs data/demo/test/test_data.csv "
        "--out answer/final_result.csv",
        "answer",
        ["final_result.csv"],
    ),
    Case(
        "evaluate",
        "python -m noseprint evaluate --data data/demo --run disk --members swin224_stage1 --json answer/scores.json",
        "answer",
        ["scores.json"],
    ),
    Case(
        "train.sh",
        f"bash train.sh --demo --only pseudo_produce --to pseudo -- {TINY}",
        "pseudo_produce/results/demo",
        [
            ".lock",
            "train.inputs",
            "train.log",
            "tensorboard",
            *TRAINING,
            *TRAINING,
            "pseudo.inputs",
            "pseudo.log",
            "pseudo.csv",
            "pseudo.json",
        ],
        older=False,
        same=["best.safetensors", "pseudo.csv", "pseudo.json"],
    ),
]


class Disk:
    """The clone, a tmpfs on one of its folders at a time, and how many rows of the table were bad."""

    def __init__(self, *, out: Path, checkout: Path) -> None:
        self.out, self.clone, self.bad = out, out / "clone", 0
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, case: Case, *, disturbed: bool) -> None:
        """Every write of one command; leaves behind what the undisturbed run made."""
        folder, before, made = self.clone / case.folder, self.out / "before" / case.name, self.out / "made" / case.name
        folder.mkdir(parents=True, exist_ok=True)
        if case.first:
            subprocess.run(case.first.split(), cwd=self.clone, env=self.environment, check=True)
        copy(folder, before)
        for name in case.writes if case.older else []:
            (before / name).write_text("of an earlier run\n")
        mount(folder, before)
        with versions(folder, case.writes) as known:
            status, text = self.call(case)
        if status != 0:
            sys.exit(f"{case.name} fails undisturbed:\n{text}")
        copy(folder, made)
        subprocess.run(["umount", folder], check=True)
        if disturbed:
            for what, free in [*sizes(case.writes, before=before, made=made), ("read-only", None)]:
                self.disturb(case, known, what=what, free=free)
        copy(made, folder)

    def disturb(self, case: Case, known: Known, *, what: str, free: int | None) -> None:
        """Run the command with `free` bytes left (None: read-only), then again with plenty."""
        folder, before, made = self.clone / case.folder, self.out / "before" / case.name, self.out / "made" / case.name
        mount(folder, before)
        remount(folder, "ro" if free is None else f"size={used(folder) + free}")
        status, text = self.call(case)
        wrong = [] if status == 1 else [f"status {status}"]
        reason = READ_ONLY if free is None else FULL
        said = "\n".join(line for line in text.splitlines() if reason in line)
        named = [rf"(?<![\w.]){re.escape(Path(name).name)}(?!\.)" for name in case.writes]  # not .NAME.x7f2.part
        if not re.search("|".join(named), said):
            wrong.append(f"no line says {reason!r} of a file")
        if "Traceback" in text and "tensorboard/summary" not in text:  # whose thread prints its own
            wrong.append("traceback")
        wrong += [f"{part.name} was left" for part in folder.rglob("*.part")]
        for name in dict.fromkeys(case.writes):
            if not (folder / name).exists():
                wrong += [f"{name} is lost"] if (before / name).exists() else []
            elif not name.endswith(APPENDED) and digest(folder / name) not in known[name]:
                wrong.append(f"{name} is neither old nor new")
        remount(folder, f"rw,size={PLENTY}")
        status, after = self.call(case)
        wrong += [] if status == 0 else [f"with space again: status {status}, {last_line(after)}"]
        wrong += [f"{n} differs in the end" for n in case.same or case.writes if digest(folder / n) != digest(made / n)]
        subprocess.run(["umount", folder], check=True)
        self.bad += bool(wrong)
        print(f"{case.name} | {what} | {last_line(said or text)} | {'; '.join(wrong) or 'good'}", flush=True)

    def call(self, case: Case) -> tuple[int, str]:
        done = subprocess.run(
            case.command.split(), cwd=self.clone, env=self.environment, text=True, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


def sizes(writes: list[str], *, before: Path, made: Path) -> list[tuple[str, int]]:
    """Each write that can be the first not to fit, and bytes of free space at which it is.

    A file written aside needs all its space while the older one still holds its own; a log grows.
    """
    there = {name: pages(before / name) for name in writes}
    free = most = 0  # what is taken beyond the start, and the most that was ever needed
    found = []
    for name in writes:
        size = pages(made / name) or pages(made / name.replace(".inputs", ".done"))  # renamed at the step's end
        need = free + (size - there[name] if name.endswith(APPENDED) else size)
        if need > most:
            found += [(f"{name}: none of it fits", most * PAGE)]
            found += [(f"{name}: half of it fits", half * PAGE)] if (half := (most + need) // 2) > most else []
        most = max(most, need)
        free += size - there[name]
        there[name] = size
    return found


def pages(path: Path) -> int:
    """Pages that a file, or what lies in a folder, takes on a tmpfs."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return sum(-(-file.stat().st_size // PAGE) for file in files if file.is_file())


def digest(path: Path) -> str:
    """SHA-256 of what a file holds, or of the names and files in a folder; "" where there is nothing."""
    if path.is_dir():
        whole = [(str(file.relative_to(path)), digest(file)) for file in sorted(path.rglob("*")) if file.is_file()]
    elif path.suffix == ".pt" and zipfile.is_zipfile(path):  # torch names the folder in it after the file aside
        with zipfile.ZipFile(path) as archive:
            whole = [(entry.filename.partition("/")[2], archive.read(entry)) for entry in archive.infolist()]
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    return hashlib.sha256(repr(whole).encode()).hexdigest()


@contextmanager
def versions(folder: Path, names: list[str]) -> Iterator[Known]:
    """Gather the digest of every version of the files that ever lies there under its name."""
    known: Known = {name: set() for name in names}
    ended = threading.Event()

    def watch() -> None:
        inode = dict.fromkeys(names, 0)
        while True:
            last = ended.is_set()
            for name in names:
                path = folder / name
                if path.exists() and inode[name] != (now := path.stat().st_ino):
                    inode[name] = now
                    known[name].add(digest(path))
            if last:
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield known
    finally:
        ended.set()
        watcher.join()


def mount(folder: Path, before: Path) -> None:
    """A tmpfs on `folder`, holding what lies in `before`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", folder], check=True)
    copy(before, folder)
    (folder / ".ballast").write_bytes(bytes(PAGE))  # a tmpfs of size 0 would be one without a limit


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def used(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--checkout", type=Path, default=Path(), help="what is tested, as committed")
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="disturb only these commands")
    options = parser.parse_args()
    if OWN_MOUNTS not in os.environ:  # so that no mount of ours is seen outside, or outlives us
        os.environ[OWN_MOUNTS] = "yes"
        os.execvp("unshare", ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv])
    options.out.mkdir(parents=True)
    disk = Disk(out=options.out.resolve(), checkout=options.checkout.resolve())
    for case in CASES:
        disk.run(case, disturbed=not options.only or case.name in options.only)
    print(f"{disk.bad} rows are bad." if disk.bad else "Every row is good.")
    return 1 if disk.bad else 0


if __name__ == "__main__":
    sys.exit(main())
