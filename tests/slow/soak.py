"""Train on the demo for hours. Does memory stay constant? Is anything left behind?

    python tests/slow/soak.py --hours 2 --out DIR [--checkout .]

Two things run at the same time in a clone of the checkout (the committed files):

- rounds of `bash train.sh --demo --force`: each starts new processes, with loader workers;
- one long training of swin224_stage1 in a single process, with loader workers for its batches, new workers for each
  epoch's hold-out, and many saves. It shows leaks inside a process. SIGTERM ends it.

DIR/samples.csv gets the memory, open files and threads of the long training's processes every few seconds. After each
round there must be no files in the clone, entries in TMPDIR or /dev/shm, or processes that were not there after the
first round. The exit status is 1 if something was left, or if memory grows faster than BOUND. Linux only. On a machine
with other users, give the soak a /dev/shm of its own:
`unshare --mount sh -c 'mount -t tmpfs none /dev/shm && exec python tests/slow/soak.py ...'`.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from processes import processes
from scipy.stats import theilslopes

INTERVAL = 5.0  # s between two samples
GRACE = 20.0  # s that processes have to end
WARM_UP = 15  # minutes at the start that do not count
BOUND = 10.0  # MB that memory may grow in an hour
# Enough hold-out images that each epoch's scoring starts loader workers; several saves in an epoch of about 7 steps.
LONG_OPTIONS = "--small --run soak --no-pseudo --holdout 0.3 --batch-size 32 --epochs 100000 --workers 2 --save-every 3"


class Soak:
    """The rounds and the long training, what they leave behind, and the samples of the long training's processes."""

    def __init__(self, out: Path, checkout: Path) -> None:
        self.out, self.clone = out, out / "clone"
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        self.began = time.monotonic()
        self.shm = names_in("/dev/shm")
        self.rounds = 0
        self.problems: list[str] = []
        self.samples: list[tuple[float, int, float, int, int]] = []
        assert self.start("long", [sys.executable, "-m", "noseprint", "demo-data", "data/demo"]).wait() == 0
        self.long = self.start("long", [sys.executable, "swin224_stage1/train.py", "--data", "data/demo"], LONG_OPTIONS)

    def start(self, name: str, command: list[str], options: str = "") -> subprocess.Popen[bytes]:
        temporary = self.out / "tmp" / name
        temporary.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
        }
        with (self.out / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *options.split()],
                cwd=self.clone,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, seconds: float) -> None:
        """Run until the time is over, then end both with SIGTERM. The files of an interrupted round may stay."""
        while not self.problems:
            round_ = self.start("rounds", ["bash", "train.sh"], "--demo --force -- --workers 2")
            while round_.poll() is None and self.long.poll() is None and time.monotonic() - self.began < seconds:
                self.sample()
                time.sleep(INTERVAL)
            interrupted = round_.poll() is None
            round_.terminate()
            self.check_round(round_.wait(), interrupted=interrupted)
            if interrupted:
                break
        self.long.terminate()
        if self.long.wait() != 143:
            self.problems.append(f"long training: exit status {self.long.returncode}; its log is {self.out}/long.log")
        self.report("long training", "process", self.wait_for_orphans())
        self.report("long training", "half-written file", half_written(self.files()))
        self.report("long training", "shared memory", names_in("/dev/shm") - self.shm)

    def check_round(self, status: int, *, interrupted: bool) -> None:
        self.rounds += 1
        name = f"round {self.rounds}"
        self.report(name, "process", self.wait_for_orphans())
        files = {path for path in self.files() if "/results/soak/" not in path}
        entries, shm = names_in(self.out / "tmp" / "rounds"), names_in("/dev/shm") - self.shm
        if self.rounds == 1:
            self.first_files, self.first_entries = files, entries  # such as torch's folder for compiled code
        self.shm |= shm
        self.report(name, "file", half_written(files) if interrupted else files - self.first_files)
        self.report(name, "temporary file", entries - self.first_entries)
        self.report(name, "shared memory", shm)
        if status != (143 if interrupted else 0):
            self.problems.append(f"{name}: exit status {status}; its log is {self.out}/rounds.log")
        print(f"{name}: ended after {(time.monotonic() - self.began) / 60:.0f} minutes", flush=True)

    def report(self, where: str, kind: str, names: Iterable[object]) -> None:
        self.problems += [f"{where}: {kind} {name} was left" for name in names]

    def files(self) -> set[str]:
        names = {path.relative_to(self.clone).as_posix() for path in self.clone.rglob("*") if path.is_file()}
        return {name for name in names if not name.startswith(".git/")}

    def sample(self) -> None:
        """Read resident memory (MB), open files and threads of the long training and its workers."""
        for pid in (self.long.pid, *descendants(self.long.pid)):
            try:
                resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
                files, threads = len(names_in(f"/proc/{pid}/fd")), len(names_in(f"/proc/{pid}/task"))
            except OSError:
                continue  # it has ended
            self.samples.append((time.monotonic() - self.began, pid, resident, files, threads))

    def wait_for_orphans(self) -> list[int]:
        """Wait GRACE seconds; return the processes of a finished round that are still alive."""
        deadline = time.monotonic() + GRACE
        while True:
            alive = set(descendants(os.getpid())) - {self.long.pid, *descendants(self.long.pid)}
            if not alive or time.monotonic() > deadline:
                return sorted(alive)
            time.sleep(0.5)

    def judge_memory(self) -> None:
        """Print how memory changes in an hour (Theil-Sen over the medians of each minute, with its 95 % interval)."""
        table = pd.DataFrame(self.samples, columns=["seconds", "pid", "rss_mb", "files", "threads"])
        table.to_csv(self.out / "samples.csv", index=False)
        life = table.groupby("pid").seconds.transform(lambda seconds: seconds.max() - seconds.min())
        # Loader workers live as long as the training, hold-out workers only a moment.
        table["role"] = (life > table.seconds.max() / 2).map({True: "loader worker", False: "hold-out worker"})
        table.loc[table.pid == self.long.pid, "role"] = "training"
        table = table[table.seconds >= 60 * WARM_UP]
        if table.empty:
            self.problems.append(f"nothing was measured: the first {WARM_UP} minutes do not count")
        for role, rows in table.groupby("role"):
            minutes = rows.groupby(rows.seconds // 60)
            memory = minutes.rss_mb.median()
            slope, _, low, high = theilslopes(memory, memory.index / 60) if len(memory) > 2 else (float("nan"),) * 4
            print(f"{role}: {memory.median():.0f} MB, {slope:+.2f} MB/h [{low:.2f}, {high:.2f}]")
            if not slope <= BOUND:  # NaN fails, too
                self.problems.append(f"{role}: memory grows by {slope:.1f} MB an hour, more than {BOUND}")
            for column in ("files", "threads"):
                most = minutes[column].max()
                third = max(1, len(most) // 3)
                first, last = most.iloc[:third].median(), most.iloc[-third:].median()
                if last > first + 1:
                    self.problems.append(f"{role}: {column} went from {first} to {last}")


def descendants(parent: int) -> list[int]:
    """The running descendants of a process."""
    children = defaultdict(list)
    for process in processes():
        if not process.ended:
            children[process.parent].append(process.pid)
    below_parent, todo = [], [parent]
    while todo:
        direct = children[todo.pop()]
        below_parent += direct
        todo += direct
    return below_parent


def names_in(folder: Path | str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def half_written(files: Iterable[str]) -> list[str]:
    return [path for path in files if path.endswith(".part")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--checkout", type=Path, default=Path(), help="the checkout to test, as committed")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
    soak = Soak(options.out.resolve(), options.checkout.resolve())
    soak.run(options.hours * 3600)
    soak.judge_memory()
    print("\n".join(soak.problems) or "Memory is constant, and nothing was left.")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
