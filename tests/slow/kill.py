"""Kill training with SIGKILL at random moments, start it again with the same command, and compare the results.

    python tests/slow/kill.py --out DIR [--kills 25] [--seed 0]               bash train.sh --demo
    python tests/slow/kill.py --out DIR --folder swin224_stage1 [--kills 25]  one folder's train.py, a minute long

The command works in a clone of the checkout (of what is committed). It first runs undisturbed; its weights,
pseudo-labels, similarities and final_result.csv are the reference. Then it is killed and started again until no kills
are left. Whenever it finishes, its files must equal the reference bit for bit, and no half-written file may be left. If
there are more kills to come, all results are removed and it starts from the beginning.

The seed decides who is killed: all processes at once, as in a power cut; only the training python; only the shell (its
children live on, so the next start must refuse to run); or a loader worker. It also decides when: at a random time,
during a write (there is a .part file), or between two steps (a step's .done file has just appeared).

Linux only. Exit status 1 if a file differed or was left, or if the command could not be started again.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from processes import processes

RESULTS = ("final_result.csv", "*/results/*/best.safetensors", "*/results/*/pseudo.csv", "*/results/*/similarity.csv")
HALF_WRITTEN = (".*.part", "data/.*.part", "*/results/*/.*.part", "*/results/*/last/.*.part")
IN_USE = "is in use by"  # the message of a second run on the same folder
REFUSAL_TIME = 180.0  # seconds in which a second run must refuse
VICTIMS = ("tree", "python", "shell", "worker")
MOMENTS = ("at random", "during a write", "between steps")


@dataclass
class Kill:
    """One row of the report."""

    number: int
    victim: str
    moment: str
    after_s: float = 0.0  # since the start
    running: str = ""  # the script
    half_written: str = ""  # the files that were half-written at that moment
    second_run: str = ""  # what a second run did while the children of a killed shell were alive
    restart: str = ""  # what the next start printed that it does


class KillTest:
    """The clone, the command, and the problems found so far."""

    def __init__(self, *, out: Path, checkout: Path, folder: str | None, seed: int) -> None:
        self.out, self.clone, self.folder = out, out / "clone", folder
        self.random = random.Random(seed)
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        (out / "tmp").mkdir()
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",  # sums depend on the number of threads
            "TMPDIR": str(out / "tmp"),
        }
        if folder:
            data = ["-m", "noseprint", "demo-data", "data/demo"]
            subprocess.run([sys.executable, *data], cwd=self.clone, env=self.environment, check=True)
            network = "--backbone test_efficientnet.r160_in1k --no-pretrained --image-size 32 --device cpu"
            length = "--epochs 12 --batch-size 16 --save-every 2 --workers 2"
            options = f"--data data/demo --small --run demo {network} {length}".split()
            if folder.endswith("_stage1"):
                options.append("--no-pseudo")
            self.command = [sys.executable, f"{folder}/train.py", *options]
        else:
            self.command = ["bash", "train.sh", "--demo", "--", "--save-every", "2", "--workers", "2"]
        self.problems: list[str] = []
        self.attempt = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own, so that its processes can be found."""
        self.attempt += 1
        self.log = self.out / f"{self.attempt:03}.log"
        with self.log.open("wb") as log:
            self.started = time.monotonic()
            return subprocess.Popen(
                self.command,
                cwd=self.clone,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def reference(self) -> dict[str, str]:
        """Run undisturbed: set `duration`, and return the hashes of the results."""
        run = self.start()
        if run.wait() != 0:
            sys.exit(f"the undisturbed run failed: {self.log}")
        self.duration = time.monotonic() - self.started
        hashes = self.hashes()
        self.clear()
        return hashes

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that must be the same in the end."""
        files = sorted(path for pattern in RESULTS for path in self.clone.glob(pattern))
        return {str(path.relative_to(self.clone)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def clear(self) -> None:
        for folder in self.clone.glob("*/results"):
            shutil.rmtree(folder)
        (self.clone / "final_result.csv").unlink(missing_ok=True)

    def half_written(self) -> set[Path]:
        """Half-written files, beside the results, the answer and the data."""
        return {path for pattern in HALF_WRITTEN for path in self.clone.glob(pattern)}

    def finished_steps(self) -> set[Path]:
        return set(self.clone.glob("*/results/demo/*.done"))

    def draw(self, number: int) -> Kill:
        """The next victim and moment."""
        victim = self.random.choices(VICTIMS, [4, 2, 0 if self.folder else 2, 2])[0]
        return Kill(number, victim, self.random.choices(MOMENTS, [4, 4, 0 if self.folder else 2])[0])

    def is_time(self, kill: Kill) -> Callable[[], bool]:
        """A function that returns True once it is time to kill."""
        if kill.moment == "at random":
            delay = self.random.uniform(0, max(25.0, self.duration / 6))
            return lambda: time.monotonic() - self.started > delay
        between = kill.moment == "between steps"
        files = self.finished_steps if between else self.half_written
        wanted = 1 if between else self.random.randint(1, 8)  # earlier writes happen, so there is progress
        delay = self.random.uniform(0, 0.3 if between else 0.02)
        seen = files()
        wanted += len(seen)

        def reached() -> bool:
            seen.update(files())
            if len(seen) < wanted:
                return False
            time.sleep(delay)
            return True

        return reached

    def kill(self, run: subprocess.Popen[bytes], kill: Kill) -> bool:
        """Wait for the moment and kill. False if the command ended before."""
        old, is_time = self.half_written(), self.is_time(kill)
        while not is_time():
            if run.poll() is not None:
                return False
            time.sleep(0.002)
        victims = self.victims(run, kill)
        for pid in victims:  # stop them all first, so that none sees another die
            send(pid, signal.SIGSTOP)
        kill.after_s = round(time.monotonic() - self.started, 1)
        kill.half_written = " ".join(sorted(path.name[1:].rsplit(".", 2)[0] for path in self.half_written() - old))
        for pid in victims:
            send(pid, signal.SIGKILL)
        return bool(victims)

    def victims(self, run: subprocess.Popen[bytes], kill: Kill) -> list[int]:
        """The processes to kill: all of them if there is no such victim at this moment."""
        processes = session(run.pid)
        pythons = {pid: script for pid, (_, script) in processes.items() if script}
        leaders = [pid for pid in pythons if processes[pid][0] not in pythons]
        workers = [pid for pid in pythons if processes[pid][0] in pythons]
        kill.running = pythons[leaders[0]] if leaders else "shell"
        if kill.victim == "python" and leaders:
            return leaders
        if kill.victim == "worker" and workers:
            return [self.random.choice(workers)]
        if kill.victim == "shell" and not self.folder:
            return [run.pid]
        kill.victim = "tree"
        return list(processes)

    def wait_for_the_rest(self, run: subprocess.Popen[bytes], kill: Kill) -> None:
        """Check what the surviving processes do, until all have ended."""
        if kill.victim == "shell" and session(run.pid):
            kill.second_run = self.second_run(run.pid)
            for pid in session(run.pid):
                send(pid, signal.SIGKILL)
        try:
            run.wait(120)
        except subprocess.TimeoutExpired:
            self.problems.append(f"kill {kill.number} ({kill.victim}): the run went on for two minutes: {self.log}")
            for pid in session(run.pid):
                send(pid, signal.SIGKILL)
        if kill.victim in ("python", "worker") and run.returncode == 0:
            self.problems.append(f"kill {kill.number} ({kill.victim}): the run ended with status 0: {self.log}")

    def second_run(self, first: int) -> str:
        """Start the command while the children of a killed shell are alive: it must refuse."""
        run = self.start()
        while run.poll() is None and time.monotonic() - self.started < REFUSAL_TIME and session(first):
            time.sleep(0.1)
        text, status = self.log.read_text(errors="replace"), run.poll()
        for pid in session(run.pid):
            send(pid, signal.SIGKILL)
        run.wait()
        waited = time.monotonic() - self.started
        if IN_USE in text and status not in (0, None):
            return f"refused after {waited:.0f} s"
        if not session(first):
            return "the children ended first"
        self.problems.append(f"a second run was not refused ({'went on' if status is None else status}): {self.log}")
        return "NOT refused"

    def describe_restart(self, kill: Kill) -> None:
        """What the start after a kill printed that it does."""
        text = self.log.read_text(errors="replace")
        steps = re.findall(r"^== \d+ of \d+, (\S+: (?:resumes|runs))$", text, re.MULTILINE)
        resumed = re.findall(r"^(resuming after step \d+ of \d+|already trained)$", text, re.MULTILINE)
        kill.restart = ", ".join(steps[:1] + resumed[:1]) or "killed before it printed anything"

    def compare(self, reference: dict[str, str], *, when: str) -> None:
        """Compare the files of a finished run."""
        hashes = self.hashes()
        for name in sorted(reference.keys() | hashes.keys()):
            if hashes.get(name) != reference.get(name):
                self.problems.append(f"{when}: {name} differs from the undisturbed run's")
        self.problems += [f"{when}: {path.relative_to(self.clone)} was left" for path in sorted(self.half_written())]


def session(leader: int) -> dict[int, tuple[int, str]]:
    """By process number: the parent of each living process of a session, and the script if it runs one."""
    return {p.pid: (p.parent, p.script()) for p in processes() if p.session == leader and not p.ended}


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--checkout", type=Path, default=Path(), help="the checkout to test, as committed")
    parser.add_argument("--folder", help="kill this folder's train.py instead of train.sh --demo")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    test = KillTest(
        out=options.out.resolve(), checkout=options.checkout.resolve(), folder=options.folder, seed=options.seed
    )
    reference = test.reference()
    print(f"undisturbed: {test.duration:.0f} s, {len(reference)} files to compare", flush=True)
    kills: list[Kill] = []
    finished = 0  # runs that came to their end
    while True:
        run = test.start()
        last = kills[-1] if kills else None
        kill = test.draw(len(kills) + 1)
        killed = len(kills) < options.kills and test.kill(run, kill)
        if not killed:
            run.wait()
        if last and not last.restart:
            test.describe_restart(last)
            print(*asdict(last).values(), sep=" | ", flush=True)
        if killed:
            kills.append(kill)
            test.wait_for_the_rest(run, kill)
            continue
        if run.returncode != 0:
            test.problems.append(f"after {len(kills)} kills a start ended with status {run.returncode}: {test.log}")
            break
        finished += 1
        test.compare(reference, when=f"finished run {finished}, after {len(kills)} kills")
        print(f"finished run {finished}, after {len(kills)} kills: compared", flush=True)
        if len(kills) == options.kills:
            break
        test.clear()
    report = {"seed": options.seed, "kills": list(map(asdict, kills)), "runs_compared": finished}
    (test.out / "report.json").write_text(json.dumps(report | {"problems": test.problems}, indent=1) + "\n")
    print("\n".join(test.problems) or f"{len(kills)} kills, {finished} finished runs, all files the same bit for bit.")
    return 1 if test.problems else 0


if __name__ == "__main__":
    sys.exit(main())
