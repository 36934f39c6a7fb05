"""Run each command on a full disk, at every write in turn, and on a read-only disk. Check messages and files.

    python tests/slow/disk.py --out DIR [--checkout .] [--only train fuse]

The commands work in a clone of the checkout (of what is committed), where the folder that a command writes to is a
tmpfs. The command first runs undisturbed, which gives the size of every file in the order of writing. From these follow
the sizes of the tmpfs at which each write in turn is the first that does not fit, or fits only by half. Each time the
command must end with status 1 and one message that names the file and the reason, without a traceback. Every file must
be complete: either an old one, or one that the undisturbed run also had. No .part file may be left. With space again,
the same command must succeed and make the same bytes as the undisturbed run.

Linux only; root, or a kernel that lets users make namespaces. Exit status 1 if a check failed.
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

OWN_NAMESPACE = "NOSEPRINT_OWN_MOUNTS"
PAGE = 4096
PLENTY = 2**30  # bytes
FULL, READ_ONLY = "No space left on device", "Read-only file system"
TINY = "--backbone test_efficientnet.r160_in1k --no-pretrained --image-size 32 --batch-size 16 --device cpu --workers 0"
Versions = dict[str, set[str]]  # by file name: the digests of all versions that the file had
APPENDED = (".lock", ".jsonl", ".log", "tensorboard")
PSEUDO = ["pseudo.csv", "pseudo.json"]
HIGHEST, STATE = "last/highest.safetensors", "last/state.pt"
TRAINING = [HIGHEST, "metrics.jsonl", *[HIGHEST, "best.safetensors", "metrics.jsonl", STATE] * 2]
TIMED = (STATE,)
"""Hold the seconds that a training took, so no two versions are the same."""


@dataclass(frozen=True)
class Case:
    """A command, the folder that it writes to, and the files that it writes there, in order."""

    name: str
    command: str
    folder: str
    writes: list[str]
    replaces: bool = True  # whether there are files of an earlier run
    same: list[str] = field(default_factory=list)  # compared bit for bit at the end; [] for all of `writes`
    before: str = ""  # a command to run before, undisturbed


CASES = [
    Case("demo-data", "python -m noseprint demo-data data/demo", "data", ["demo"], replaces=False, same=["demo"]),
    Case(
        "train",
        f"python pseudo_produce/train.py --data data/demo --small --run disk --epochs 2 {TINY}",
        "pseudo_produce/results/disk",
        [".lock", "tensorboard", *TRAINING],
        replaces=False,
        same=["best.safetensors"],
    ),
    Case(
        "pseudo",
        "python pseudo_produce/pseudo.py --data data/demo --small --run disk --workers 0",
        "pseudo_produce/results/disk",
        [".lock", *PSEUDO],
        same=PSEUDO,
        replaces=False,  # otherwise the second file would use the space of the first one's older version
    ),
    Case(
        "infer",
        "python swin224_stage1/infer.py --data data/demo --small --run disk --workers 0",
        "swin224_stage1/results/disk",
        ["similarity.csv"],
        before=f"python swin224_stage1/train.py --data data/demo --small --run disk --no-pseudo --epochs 1 {TINY}",
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
        [".lock", "train.inputs", "train.log", "tensorboard", *TRAINING, "pseudo.inputs", "pseudo.log", *PSEUDO],
        replaces=False,
        same=["best.safetensors", *PSEUDO],
    ),
]


class Disk:
    """The clone, a tmpfs on one of its folders at a time, and the number of failed checks."""

    def __init__(self, *, out: Path, checkout: Path) -> None:
        self.out, self.clone, self.failures = out, out / "clone", 0
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, case: Case, *, disturbed: bool) -> None:
        """Run a command undisturbed, then disturb each of its writes. The undisturbed run's files stay."""
        folder, before, after = self.folders(case)
        folder.mkdir(parents=True, exist_ok=True)
        if case.before:
            subprocess.run(case.before.split(), cwd=self.clone, env=self.environment, check=True)
        copy(folder, before)
        for name in case.writes if case.replaces else []:
            (before / name).write_text("of an earlier run\n")
        mount(folder, before)
        with recorded_versions(folder, case.writes) as versions:
            status, text = self.call(case)
        if status != 0:
            sys.exit(f"{case.name} fails undisturbed:\n{text}")
        copy(folder, after)
        subprocess.run(["umount", folder], check=True)
        if disturbed:
            for what, free in [*disk_sizes(case.writes, before=before, after=after), ("read-only", None)]:
                self.disturb(case, versions, what=what, free=free)
        copy(after, folder)

    def folders(self, case: Case) -> tuple[Path, Path, Path]:
        """The folder that a case writes to, and copies of it before and after the undisturbed run."""
        return self.clone / case.folder, self.out / "before" / case.name, self.out / "after" / case.name

    def disturb(self, case: Case, versions: Versions, *, what: str, free: int | None) -> None:
        """Run the command with `free` bytes left (None: read-only), then again with plenty."""
        folder, before, after = self.folders(case)
        mount(folder, before)
        remount(folder, "ro" if free is None else f"size={used(folder) + free}")
        status, text = self.call(case)
        problems = [] if status == 1 else [f"status {status}"]
        reason = READ_ONLY if free is None else FULL
        message = "\n".join(line for line in text.splitlines() if reason in line)
        names = [rf"(?<![\w.]){re.escape(Path(name).name)}(?!\.)" for name in case.writes]  # not .NAME.x7f2.part
        if not re.search("|".join(names), message):
            problems.append(f"no line names a file and says {reason!r}")
        if "Traceback" in text and "tensorboard/summary" not in text:  # TensorBoard's thread prints one
            problems.append("traceback")
        problems += [f"{part.name} was left" for part in folder.rglob("*.part")]
        for name in dict.fromkeys(case.writes):
            if not (folder / name).exists():
                problems += [f"{name} is lost"] if (before / name).exists() else []
            elif not name.endswith((*APPENDED, *TIMED)) and digest(folder / name) not in versions[name]:
                problems.append(f"{name} is neither old nor new")
        remount(folder, f"rw,size={PLENTY}")
        status, output = self.call(case)
        problems += [] if status == 0 else [f"with space again: status {status}, {last_line(output)}"]
        for name in case.same or case.writes:
            problems += [f"{name} differs in the end"] if digest(folder / name) != digest(after / name) else []
        subprocess.run(["umount", folder], check=True)
        self.failures += bool(problems)
        print(f"{case.name} | {what} | {last_line(message or text)} | {'; '.join(problems) or 'good'}", flush=True)

    def call(self, case: Case) -> tuple[int, str]:
        done = subprocess.run(
            case.command.split(), cwd=self.clone, env=self.environment, text=True, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


def disk_sizes(writes: list[str], *, before: Path, after: Path) -> list[tuple[str, int]]:
    """Each write that can be the first not to fit, and the free bytes at which it is.

    A new version of a file needs space while the old one still exists; a log only grows.
    """
    sizes = {name: pages(before / name) for name in writes}
    used_now = most = 0  # pages used since the start, now and at most
    found = []
    for name in writes:
        size = pages(after / name) or pages(after / name.replace(".inputs", ".done"))  # renamed when the step ends
        need = used_now + (size - sizes[name] if name.endswith(APPENDED) else size)
        if need > most:
            found += [(f"{name}: none of it fits", most * PAGE)]
            found += [(f"{name}: half of it fits", half * PAGE)] if (half := (most + need) // 2) > most else []
        most = max(most, need)
        used_now += size - sizes[name]
        sizes[name] = size
    return found


def pages(path: Path) -> int:
    """Pages that a file, or all files in a folder, take on a tmpfs."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return sum(-(-file.stat().st_size // PAGE) for file in files if file.is_file())


def digest(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents in a folder; "" if there is nothing."""
    if path.is_dir():
        content = [(str(file.relative_to(path)), digest(file)) for file in sorted(path.rglob("*")) if file.is_file()]
    elif path.suffix == ".pt" and zipfile.is_zipfile(path):  # torch names the folder in it after the .part file
        with zipfile.ZipFile(path) as archive:
            content = [(entry.filename.partition("/")[2], archive.read(entry)) for entry in archive.infolist()]
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    return hashlib.sha256(repr(content).encode()).hexdigest()


@contextmanager
def recorded_versions(folder: Path, names: list[str]) -> Iterator[Versions]:
    """Record the digests of all versions that the files have while this context lasts."""
    versions: Versions = {name: set() for name in names}
    ended = threading.Event()

    def watch() -> None:
        inode = dict.fromkeys(names, 0)
        while True:
            last = ended.is_set()
            for name in names:
                path = folder / name
                if path.exists() and inode[name] != (now := path.stat().st_ino):
                    inode[name] = now
                    versions[name].add(digest(path))
            if last:
                return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield versions
    finally:
        ended.set()
        watcher.join()


def mount(folder: Path, before: Path) -> None:
    """Mount a tmpfs on `folder`, with a copy of the files in `before`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", folder], check=True)
    copy(before, folder)
    (folder / ".ballast").write_bytes(bytes(PAGE))  # because a tmpfs of size 0 has no limit


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


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
    parser.add_argument("--checkout", type=Path, default=Path(), help="the checkout to test, as committed")
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="disturb only these commands")
    options = parser.parse_args()
    if OWN_NAMESPACE not in os.environ:  # so that our mounts are not seen outside and end with us
        os.environ[OWN_NAMESPACE] = "yes"
        os.execvp("unshare", ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv])
    options.out.mkdir(parents=True)
    disk = Disk(out=options.out.resolve(), checkout=options.checkout.resolve())
    for case in CASES:
        disk.run(case, disturbed=not options.only or case.name in options.only)
    print(f"{disk.failures} rows have problems." if disk.failures else "Every row is good.")
    return 1 if disk.failures else 0


if __name__ == "__main__":
    sys.exit(main())
