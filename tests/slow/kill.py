"""Kill training with SIGKILL at random moments, start it again with the same command, and compare what comes out.

    python tests/slow/kill.py --out DIR [--kills 25] [--seed 0]               bash train.sh --demo
    python tests/slow/kill.py --out DIR --folder swin224_stage1 [--kills 25]  one folder's train.py, a minute long

In a clone of the checkout (of what is committed) the command first runs undisturbed; its weights, pseudo-labels,
similarities and final_result.csv are the reference. Then it is killed and started again until the kills are used up.
Whenever it reaches its end its files must be the reference's to the last bit, and nothing half-written may lie around;
if kills are left then, all results are removed and it begins anew.

Who dies (drawn by the seed): the whole tree at once, as in a power cut; the training python alone; the shell alone,
whose children live on, so that the next start has to refuse; a loader worker. When: at a random time, inside a write (a
.part file is there), or between two steps (a step's mark has just appeared).

Linux only. Exit status 1 if anything differed, was left, or could not be started again.
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

MADE = ("final_result.csv", "*/results/*/best.safetensors", "*/results/*/pseudo.csv", "*/results/*/similarity.csv")
HALF_WRITTEN = (".*.part", "data/.*.part", "*/results/*/.*.part", "*/results/*/last/.*.part")
IN_USE = "is in use by"  # what a second run on the same folder is told
PATIENCE = 180.0  # s until a second run has to have refused
WHO = ("tree", "python", "shell", "worker")
WHEN = ("at random", "inside a write", "between steps")


@dataclass
class Kill:
    """One row of the report."""

    number: int
    who: str
    moment: str
    after_s: float = 0.0  # since the start
    running: str = ""
    inside_write: str = ""  # the files that were half-written at that moment
    second_run: str = ""  # how a start beside the orphans of a killed shell went
    restart: str = ""  # what the next start said it did


class Campaign:
    """The clone, the command, and what has gone wrong so far."""

    def __init__(self, *, out: Path, checkout: Path, folder: str | None, seed: int) -> None:
        self.out, self.clone, self.folder = out, out / "clone", folder
        self.random = random.Random(seed)
        subprocess.run(["git", "clone", "--quiet", str(checkout), str(self.clone)], check=True)
        (out / "tmp").mkdir()
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.clone / "src"),
            "OMP_NUM_THREADS": "1",  # the sums depend on it
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
        self.wrong: list[str] = []
        self.attempt = 0

    def start(self) -> subprocess.Popen[bytes]:
        """The command in a session of its own, by which its processes are found."""
        self.attempt += 1
        self.log = self.out / f"{self.attempt:03}.log"
        with self.log.open("wb") as log:
            self.begin = time.monotonic()
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
        """What an undisturbed run makes, and how long it takes."""
        run = self.start()
        if run.wait() != 0:
            sys.exit(f"the undisturbed run failed: {self.log}")
        self.whole = time.monotonic() - self.begin
        found = self.made()
        self.clear()
        return found

    def made(self) -> dict[str, str]:
        """SHA-256 of every file that must come out the same."""
        files = sorted(path for pattern in MADE for path in self.clone.glob(pattern))
        return {str(path.relative_to(self.clone)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def clear(self) -> None:
        for folder in self.clone.glob("*/results"):
            shutil.rmtree(folder)
        (self.clone / "final_result.csv").unlink(missing_ok=True)

    def parts(self) -> set[Path]:
        """Half-written files: beside the results, the answer and the data."""
        return {path for pattern in HALF_WRITTEN for path in self.clone.glob(pattern)}

    def marks(self) -> set[Path]:
        """One for each step that has ended."""
        return set(self.clone.glob("*/results/demo/*.done"))

    def draw(self, number: int) -> Kill:
        """Who dies next, and when."""
        who = self.random.choices(WHO, [4, 2, 0 if self.folder else 2, 2])[0]
        return Kill(number, who, self.random.choices(WHEN, [4, 4, 0 if self.folder else 2])[0])

    def moment(self, kill: Kill) -> Callable[[], bool]:
        """A question that becomes true when it is time to kill."""
        if kill.moment == "at random":
            late = self.random.uniform(0, max(25.0, self.whole / 6))  # s; half a start takes
            return lambda: time.monotonic() - self.begin > late
        look = self.marks if kill.moment == "between steps" else self.parts
        wanted = 1 if kill.moment == "between steps" else self.random.randint(1, 8)  # the writes before it are progress
        late = self.random.uniform(0, 0.3 if kill.moment == "between steps" else 0.02)
        seen = look()
        wanted += len(seen)

        def reached() -> bool:
            seen.update(look())
            if len(seen) < wanted:
                return False
            time.sleep(late)
            return True

        return reached

    def kill(self, run: subprocess.Popen[bytes], kill: Kill) -> bool:
        """Wait for the moment and kill; False where the command ended before."""
        old, reached = self.parts(), self.moment(kill)
        while not reached():
            if run.poll() is not None:
                return False
            time.sleep(0.002)
        victims = self.victims(run, kill)
        for pid in victims:  # all stand still before the first dies: none sees another's death
            send(pid, signal.SIGSTOP)
        kill.after_s = round(time.monotonic() - self.begin, 1)
        kill.inside_write = " ".join(sorted(path.name[1:].rsplit(".", 2)[0] for path in self.parts() - old))
        for pid in victims:
            send(pid, signal.SIGKILL)
        return bool(victims)

    def victims(self, run: subprocess.Popen[bytes], kill: Kill) -> list[int]:
        """Who is to die; the whole tree where there is no such process at this moment."""
        processes = session(run.pid)
        pythons = {pid: script for pid, (_, script) in processes.items() if script}
        leaders = [pid for pid in pythons if processes[pid][0] not in pythons]
        workers = [pid for pid in pythons if processes[pid][0] in pythons]
        kill.running = pythons[leaders[0]] if leaders else "shell"
        if kill.who == "python" and leaders:
            return leaders
        if kill.who == "worker" and workers:
            return [self.random.choice(workers)]
        if kill.who == "shell" and not self.folder:
            return [run.pid]
        kill.who = "tree"
        return list(processes)

    def settle(self, run: subprocess.Popen[bytes], kill: Kill) -> None:
        """See what a kill of a part does to the rest, until nothing of this run is alive."""
        if kill.who == "shell" and session(run.pid):
            kill.second_run = self.second_run(run.pid)
            for pid in session(run.pid):
                send(pid, signal.SIGKILL)
        try:
            run.wait(120)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"kill {kill.number} ({kill.who}): the run went on for two minutes: {self.log}")
            for pid in session(run.pid):
                send(pid, signal.SIGKILL)
        if kill.who in ("python", "worker") and run.returncode == 0:
            self.wrong.append(f"kill {kill.number} ({kill.who}): the run ended with status 0: {self.log}")

    def second_run(self, first: int) -> str:
        """Start the command beside what lives on of a run whose shell was killed: it has to refuse."""
        run = self.start()
        while run.poll() is None and time.monotonic() - self.begin < PATIENCE and session(first):
            time.sleep(0.1)
        text, status = self.log.read_text(errors="replace"), run.poll()
        for pid in session(run.pid):
            send(pid, signal.SIGKILL)
        run.wait()
        waited = time.monotonic() - self.begin
        if IN_USE in text and status not in (0, None):
            return f"refused after {waited:.0f} s"
        if not session(first):
            return "the orphans ended first"
        self.wrong.append(f"a second run was not refused ({'went on' if status is None else status}): {self.log}")
        return "NOT refused"

    def describe_restart(self, kill: Kill) -> None:
        """What the start after a kill said it did."""
        text = self.log.read_text(errors="replace")
        steps = re.findall(r"^== \d+ of \d+, (\S+: (?:resumes|runs))$", text, re.MULTILINE)
        resumed = re.findall(r"^(resuming after step \d+ of \d+|already trained)$", text, re.MULTILINE)
        kill.restart = ", ".join(steps[:1] + resumed[:1]) or "killed before it told"

    def compare(self, reference: dict[str, str], *, when: str) -> None:
        """The files of a run that has come to its end."""
        made = self.made()
        for name in sorted(reference.keys() | made.keys()):
            if made.get(name) != reference.get(name):
                self.wrong.append(f"{when}: {name} differs from the undisturbed run's")
        self.wrong += [f"{when}: {path.relative_to(self.clone)} was left" for path in sorted(self.parts())]


def session(leader: int) -> dict[int, tuple[int, str]]:
    """Parent of each living process of a session, and the script it runs if it is a python."""
    return {p.pid: (p.parent, p.script()) for p in processes() if p.session == leader and not p.ended}


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def campaign(options: argparse.Namespace) -> int:
    work = Campaign(
        out=options.out.resolve(), checkout=options.checkout.resolve(), folder=options.folder, seed=options.seed
    )
    reference = work.reference()
    print(f"undisturbed: {work.whole:.0f} s, {len(reference)} files to compare", flush=True)
    kills: list[Kill] = []
    ends = 0
    while True:
        run = work.start()
        former = kills[-1] if kills else None
        kill = work.draw(len(kills) + 1)
        killed = len(kills) < options.kills and work.kill(run, kill)
        if not killed:
            run.wait()
        if former and not former.restart:
            work.describe_restart(former)
            print(*asdict(former).values(), sep=" | ", flush=True)
        if killed:
            kills.append(kill)
            work.settle(run, kill)
            continue
        if run.returncode != 0:
            work.wrong.append(f"after {len(kills)} kills a start ended with status {run.returncode}: {work.log}")
            break
        ends += 1
        work.compare(reference, when=f"end {ends}, after {len(kills)} kills")
        print(f"end {ends}, after {len(kills)} kills: compared", flush=True)
        if len(kills) == options.kills:
            break
        work.clear()
    report = {"seed": options.seed, "kills": list(map(asdict, kills)), "ends_compared": ends, "wrong": work.wrong}
    (work.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(work.wrong) if work.wrong else f"{len(kills)} kills, {ends} ends, all the same to the last bit.")
    return 1 if work.wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--checkout", type=Path, default=Path(), help="what is tested, as committed")
    parser.add_argument("--folder", help="kill this folder's train.py instead of train.sh --demo")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    return campaign(options)


if __name__ == "__main__":
    sys.exit(main())
