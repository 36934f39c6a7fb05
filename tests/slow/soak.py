"""Hours of training and prediction on the demo: does memory stay flat, is nothing left behind?

    python tests/slow/soak.py --hours 2 --out DIR [--checkout .]

In a clone of the checkout (of what is committed) two things go on side by side until the time is over:

- rounds: `bash train.sh --demo --force` again and again, each round new processes, with loader workers;
- one long training of swin224_stage1, one process from begin to end, with loader workers for its batches, new workers
  for each epoch's hold-out, and many saves: a leak inside a process shows here. SIGTERM ends it.

Every few seconds memory, open files and threads of each process go to DIR/samples.csv. After a round nothing may have
come that was not there after the first one: files in the clone, entries in TMPDIR and /dev/shm, processes. The verdict
goes to DIR/summary.json; the exit status is 1 if something leaked or memory climbs faster than --bound.
Where others use the machine too, their shared memory would count: give the soak a /dev/shm of its own with
`unshare --mount sh -c 'mount -t tmpfs none /dev/shm && exec python tests/slow/soak.py ...'`.

Linux only. `python tests/slow/soak_plot.py DIR` draws DIR/soak.png.
"""

import argparse
import csv
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from processes import processes
from soak_verdict import LONG, peaks, verdict

COLUMNS = ("seconds", "round", "role", "pid", "rss_mb", "pss_mb", "anonymous_mb", "files", "threads")
INTERVAL = 5.0  # s between two samples
GRACE = 20.0  # s that processes have for leaving
# Enough hold-out images for loader workers in each epoch's scoring, and saves within the epochs of about 7 steps.
LONG_OPTIONS = "--small --run soak --no-pseudo --holdout 0.3 --batch-size 32 --epochs 100000 --workers 2 --save-every 3"


class Soak:
    """The two strands, what they leave behind, and the samples of their processes."""

    def __init__(self, *, out: Path, checkout: Path, samples: Path) -> None:
        self.out, self.clone = out, out / "clone"
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        self.begin = time.monotonic()
        self.shm = names_in("/dev/shm")
        self.leaks: list[str] = []
        self.rounds: list[dict[str, float]] = []
        self.file = samples.open("w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerow(COLUMNS)
        data = ["-m", "noseprint", "demo-data", "data/demo"]
        subprocess.run([sys.executable, *data], cwd=self.clone, env=self._environment("long"), check=True)
        self.long = self._start(
            "long", [sys.executable, "swin224_stage1/train.py", "--data", "data/demo"], LONG_OPTIONS
        )
        self.start_round()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def start_round(self) -> None:
        self.round_began = self.seconds
        self.round = self._start("rounds", ["bash", "train.sh"], "--demo --force -- --workers 2")

    def sample(self) -> None:
        """Append a row for each python process of ours."""
        for pid, role in self._processes().items():
            if role and (found := measure(pid)):
                self.writer.writerow([f"{self.seconds:.1f}", len(self.rounds) + 1, role, pid, *found])
        self.file.flush()

    def end_round(self, *, whole: bool = True) -> None:
        """Look for what the round has left; the files of one that was broken off are its state, and stay."""
        number = f"round {len(self.rounds) + 1}"
        left = self._wait_for_orphans()
        files = {path for path in files_under(self.clone) if "/results/soak/" not in path}
        entries, shm = names_in(self.out / "tmp/rounds"), names_in("/dev/shm") - self.shm
        if not self.rounds:
            self.files_after_first, self.entries_after_first = (
                files,
                entries,
            )  # such as torch's one folder for compiled code
        self.shm |= shm
        self._left(number, "process", left)
        self._left(number, "file", files - self.files_after_first if whole else parts_of(files))
        self._left(number, "temporary file", entries - self.entries_after_first)
        self._left(number, "shared memory", shm)
        if self.round.returncode != (0 if whole else 143):
            self.leaks.append(f"{number}: exit status {self.round.returncode}; its log is {self.out / 'rounds.log'}")
        self.rounds.append(
            {
                "began": round(self.round_began),
                "ended": round(self.seconds),
                "exit_status": self.round.returncode,
                "files": len(files),
                "temporary_files": len(entries),
                "shared_memory_entries": len(shm),
                "processes_left": len(left),
                "clone_mb": round(sum((self.clone / path).stat().st_size for path in files) / 1e6, 1),
            }
        )
        print(f"{number}: {self.rounds[-1]}", flush=True)

    def finish(self) -> None:
        """End both strands with SIGTERM and look for what stays."""
        self.round.terminate()
        self.round.wait()
        self.end_round(whole=False)
        began = time.monotonic()
        self.long.terminate()
        if self.long.wait() != 143:
            self.leaks.append(f"long training: exit status {self.long.returncode}; its log is {self.out / 'long.log'}")
        print(f"long training: left {time.monotonic() - began:.1f} s after SIGTERM", flush=True)
        self._left(LONG, "process", self._wait_for_orphans())
        self._left(LONG, "temporary file", names_in(self.out / "tmp/long") - self.entries_after_first)
        self._left(LONG, "file", parts_of(files_under(self.clone)))
        self._left(LONG, "shared memory", names_in("/dev/shm") - self.shm)
        self.file.close()

    def _left(self, where: str, what: str, names: Iterable[object]) -> None:
        self.leaks += [f"{where}: {what} {name} was left" for name in names]

    def epochs(self) -> int:
        """Epochs of the long training."""
        log = self.clone / "swin224_stage1/results/soak/metrics.jsonl"
        return len(log.read_text().splitlines())

    def _environment(self, strand: str) -> dict[str, str]:
        temporary = self.out / "tmp" / strand
        temporary.mkdir(parents=True, exist_ok=True)
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
        }

    def _start(self, strand: str, command: list[str], options: str) -> subprocess.Popen[bytes]:
        with (self.out / f"{strand}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *options.split()],
                cwd=self.clone,
                env=self._environment(strand),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _processes(self) -> dict[int, str]:
        """The role of each living descendant; "" for shells and their tools."""
        children = defaultdict(list)
        for process in processes():
            if not process.ended:
                children[process.parent].append(process)
            elif process.parent == os.getpid() and process.pid not in (self.long.pid, self.round.pid):
                os.waitpid(process.pid, os.WNOHANG)  # an orphan that came to us and died
        found: dict[int, str] = {}
        todo = [(child, "") for child in children[os.getpid()]]
        while todo:
            process, above = todo.pop()
            script = LONG if process.pid == self.long.pid else process.script()
            found[process.pid] = f"{above}, worker" if above else script
            todo += [(child, above or script) for child in children[process.pid]]
        return found

    def _wait_for_orphans(self) -> dict[int, str]:
        """What is still there of a round that has ended, once it had time to leave."""
        deadline = time.monotonic() + GRACE
        while True:
            alive = {pid: role for pid, role in self._processes().items() if not role.startswith(LONG)}
            if not alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.5)


def measure(pid: int) -> list[float] | None:
    """Memory in MB (resident, proportional, anonymous), open files and threads; None once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
        files, threads = len(names_in(f"/proc/{pid}/fd")), len(names_in(f"/proc/{pid}/task"))
    except OSError:
        return None
    return [*(round(memory[key], 2) for key in ("Rss", "Pss", "Anonymous")), files, threads]


def names_in(folder: Path | str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def parts_of(files: Iterable[str]) -> list[str]:
    """Files that a write left half-way."""
    return [path for path in files if path.endswith(".part")]


def files_under(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".git/") and path.is_file():
            yield name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--checkout", type=Path, default=Path(), help="what is soaked, as committed")
    parser.add_argument("--warm-up", type=float, default=15.0, help="minutes that the slope leaves out")
    parser.add_argument("--bound", type=float, default=10.0, help="MB an hour that memory may climb")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become our children, and are found
    samples = out / "samples.csv"
    soak = Soak(out=out, checkout=options.checkout.resolve(), samples=samples)
    while soak.seconds < options.hours * 3600 and soak.long.poll() is None:
        soak.sample()
        if soak.round.poll() is not None:
            soak.end_round()
            soak.start_round()
        time.sleep(INTERVAL)
    soak.finish()
    memory, wrong = verdict(samples, warm_up=options.warm_up * 60, bound=options.bound)
    wrong = soak.leaks + wrong
    summary = {
        "hours": round(soak.seconds / 3600, 2),
        "bound_mb_per_hour": options.bound,
        "warm_up_minutes": options.warm_up,
        "long_training": {"epochs": soak.epochs(), "exit_status": soak.long.returncode, "memory": memory},
        "rounds": soak.rounds,
        "peak_rss_mb_by_round": peaks(samples),
        "wrong": wrong,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(memory, indent=1))
    print("\n".join(wrong) if wrong else "Flat, and nothing left.")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
