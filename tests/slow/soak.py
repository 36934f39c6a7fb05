"""Train and predict on the demo for hours: does memory stay constant, is anything left behind?

    python tests/slow/soak.py --hours 2 --out DIR [--checkout .]

In a clone of the checkout (of what is committed) two things run side by side until the time is over:

- rounds of `bash train.sh --demo --force`: each has new processes, with loader workers;
- one long training of swin224_stage1 in a single process, with loader workers for its batches, new workers for each
  epoch's hold-out, and many saves. A leak inside a process shows here. SIGTERM ends it.

Every few seconds the memory, open files and threads of each process go to DIR/samples.csv. After each round there must
be nothing that was not there after the first one: files in the clone, entries in TMPDIR and /dev/shm, processes. The
summary goes to DIR/summary.json. The exit status is 1 if something leaked or memory grows faster than --bound.
On a machine with other users their shared memory would count. Give the soak a /dev/shm of its own:
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
from soak_verdict import LONG, judge_memory, peaks

COLUMNS = ("seconds", "round", "role", "pid", "rss_mb", "pss_mb", "anonymous_mb", "files", "threads")
INTERVAL = 5.0  # s between two samples
GRACE = 20.0  # s in which processes must end
# Enough hold-out images that each epoch's scoring starts loader workers; several saves in an epoch of about 7 steps.
LONG_OPTIONS = "--small --run soak --no-pseudo --holdout 0.3 --batch-size 32 --epochs 100000 --workers 2 --save-every 3"


class Soak:
    """The rounds and the long training, what they leave behind, and the samples of their processes."""

    def __init__(self, *, out: Path, checkout: Path, samples: Path) -> None:
        self.out, self.clone = out, out / "clone"
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        self.started = time.monotonic()
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
        return time.monotonic() - self.started

    def start_round(self) -> None:
        self.round_began = self.seconds
        self.round = self._start("rounds", ["bash", "train.sh"], "--demo --force -- --workers 2")

    def sample(self) -> None:
        """Append a row for each python process of ours."""
        for pid, role in self._processes().items():
            if role and (sample := measure_process(pid)):
                self.writer.writerow([f"{self.seconds:.1f}", len(self.rounds) + 1, role, pid, *sample])
        self.file.flush()

    def end_round(self, *, interrupted: bool = False) -> None:
        """Check what the round has left. The files of an interrupted round are its state, and may stay."""
        number = f"round {len(self.rounds) + 1}"
        left = self._wait_for_orphans()
        files = {path for path in files_under(self.clone) if "/results/soak/" not in path}
        entries, shm = names_in(self.out / "tmp/rounds"), names_in("/dev/shm") - self.shm
        if not self.rounds:
            self.files_after_first = files
            self.entries_after_first = entries  # such as torch's folder for compiled code
        self.shm |= shm
        self._add_leaks(number, "process", left)
        self._add_leaks(number, "file", half_written(files) if interrupted else files - self.files_after_first)
        self._add_leaks(number, "temporary file", entries - self.entries_after_first)
        self._add_leaks(number, "shared memory", shm)
        if self.round.returncode != (143 if interrupted else 0):
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
        """End both with SIGTERM and check what is left."""
        self.round.terminate()
        self.round.wait()
        self.end_round(interrupted=True)
        start = time.monotonic()
        self.long.terminate()
        if self.long.wait() != 143:
            self.leaks.append(f"long training: exit status {self.long.returncode}; its log is {self.out / 'long.log'}")
        print(f"long training: ended {time.monotonic() - start:.1f} s after SIGTERM", flush=True)
        self._add_leaks(LONG, "process", self._wait_for_orphans())
        self._add_leaks(LONG, "temporary file", names_in(self.out / "tmp/long") - self.entries_after_first)
        self._add_leaks(LONG, "file", half_written(files_under(self.clone)))
        self._add_leaks(LONG, "shared memory", names_in("/dev/shm") - self.shm)
        self.file.close()

    def _add_leaks(self, where: str, kind: str, names: Iterable[object]) -> None:
        self.leaks += [f"{where}: {kind} {name} was left" for name in names]

    def epochs(self) -> int:
        """The number of epochs that the long training has finished."""
        log = self.clone / "swin224_stage1/results/soak/metrics.jsonl"
        return len(log.read_text().splitlines())

    def _environment(self, name: str) -> dict[str, str]:
        temporary = self.out / "tmp" / name
        temporary.mkdir(parents=True, exist_ok=True)
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
        }

    def _start(self, name: str, command: list[str], options: str) -> subprocess.Popen[bytes]:
        with (self.out / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *options.split()],
                cwd=self.clone,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _processes(self) -> dict[int, str]:
        """The role of each living descendant by process number; "" for shells and their tools."""
        children = defaultdict(list)
        for process in processes():
            if not process.ended:
                children[process.parent].append(process)
            elif process.parent == os.getpid() and process.pid not in (self.long.pid, self.round.pid):
                os.waitpid(process.pid, os.WNOHANG)  # an orphan that we inherited, and that has ended
        found: dict[int, str] = {}
        todo = [(child, "") for child in children[os.getpid()]]
        while todo:
            process, above = todo.pop()
            script = LONG if process.pid == self.long.pid else process.script()
            found[process.pid] = f"{above}, worker" if above else script
            todo += [(child, above or script) for child in children[process.pid]]
        return found

    def _wait_for_orphans(self) -> dict[int, str]:
        """The processes of a finished round that are still alive after the grace time."""
        deadline = time.monotonic() + GRACE
        while True:
            alive = {pid: role for pid, role in self._processes().items() if not role.startswith(LONG)}
            if not alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.5)


def measure_process(pid: int) -> list[float] | None:
    """Memory in MB (resident, proportional, anonymous), open files and threads; None if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
        files, threads = len(names_in(f"/proc/{pid}/fd")), len(names_in(f"/proc/{pid}/task"))
    except OSError:
        return None
    return [*(round(memory[key], 2) for key in ("Rss", "Pss", "Anonymous")), files, threads]


def names_in(folder: Path | str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def half_written(files: Iterable[str]) -> list[str]:
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
    parser.add_argument("--checkout", type=Path, default=Path(), help="the checkout to test, as committed")
    parser.add_argument("--warm-up", type=float, default=15.0, help="minutes at the start that do not count")
    parser.add_argument("--bound", type=float, default=10.0, help="MB that memory may grow in an hour")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become our children, so we find them
    samples = out / "samples.csv"
    soak = Soak(out=out, checkout=options.checkout.resolve(), samples=samples)
    while soak.seconds < options.hours * 3600 and soak.long.poll() is None:
        soak.sample()
        if soak.round.poll() is not None:
            soak.end_round()
            soak.start_round()
        time.sleep(INTERVAL)
    soak.finish()
    memory, problems = judge_memory(samples, warm_up=options.warm_up * 60, bound=options.bound)
    problems = soak.leaks + problems
    summary = {
        "hours": round(soak.seconds / 3600, 2),
        "bound_mb_per_hour": options.bound,
        "warm_up_minutes": options.warm_up,
        "long_training": {"epochs": soak.epochs(), "exit_status": soak.long.returncode, "memory": memory},
        "rounds": soak.rounds,
        "peak_rss_mb_by_round": peaks(samples),
        "problems": problems,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(memory, indent=1))
    print("\n".join(problems) or "Memory is constant, and nothing was left.")
    return 1 if problems else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
