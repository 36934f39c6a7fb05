"""How long from a command to its answer, and from `python swin224_stage1/train.py --small` to the first training step?

Each command runs in fresh processes, in turn. Prints the medians and, for the training, the seconds of each phase.

    python benchmarks/start_up.py [DATA] [--rounds 3] [--root CHECKOUT]

DATA: a data folder; without it, the demo is drawn. --root: measure the recipes of another checkout (an older one).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Runs a recipe's script and stops after its first step. Times go to standard error, one phase per line.
FIRST_STEP = """
import runpy, sys, time
begun = time.perf_counter()
def end_phase(phase):
    global begun
    now = time.perf_counter()
    print("PHASE", phase, now - begun, file=sys.stderr, flush=True)
    begun = now
import torch; end_phase("import torch")
import timm; end_phase("import timm (with torchvision, which loads torch._dynamo)")
import albumentations; end_phase("import albumentations")
import noseprint.tasks.embedding as task
from noseprint.training.step import TrainingStep
end_phase("import the rest")
readable = task.readable_photographs
def timed(*given, **more):
    end_phase("tables, building the network, its weights")
    result = readable(*given, **more)
    end_phase("check every photograph")
    return result
task.readable_photographs = timed
class First(SystemExit): pass
def first(self, *given):
    end_phase("optimizer, loader, first batch")
    self._first(*given)
    end_phase("the first step itself")
    raise First(0)
TrainingStep._first, TrainingStep.update = TrainingStep.update, first
sys.path[0] = sys.argv[1].rpartition("/")[0]
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def seconds(command: list[str], *, root: Path) -> tuple[float, dict[str, float]]:
    """Wall time of a command, and of the phases that it prints."""
    path = os.pathsep.join([str(root / "src"), os.environ.get("PYTHONPATH", "")])
    begun = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)
    taken = time.perf_counter() - begun
    if done.returncode not in (0, 2):
        sys.exit(done.stderr)
    lines = [line.split(" ", 1)[1].rsplit(" ", 1) for line in done.stderr.splitlines() if line.startswith("PHASE ")]
    return taken, {phase: float(length) for phase, length in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    given = parser.parse_args()
    root = given.root.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        data = given.data.resolve() if given.data else Path(scratch, "demo")
        if not given.data:
            subprocess.run([sys.executable, "-m", "noseprint", "demo-data", str(data)], check=True, capture_output=True)
        train, infer = str(root / "swin224_stage1/train.py"), str(root / "swin224_stage1/infer.py")
        small = ["--small", "--no-pseudo", "--data", str(data), "--run", "start_up", "--restart"]
        commands = {
            "python -c 'import noseprint'": ["-c", "import noseprint"],
            "python -c 'import torch'": ["-c", "import torch"],
            "noseprint --help": ["-m", "noseprint", "--help"],
            "train.py --help": [train, "--help"],
            "train.py --no-such-option": [train, "--no-such-option"],
            "infer.py --help": [infer, "--help"],
            "train.py --small, to the first step": ["-c", FIRST_STEP, train, *small],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        phases: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            for name, command in commands.items():
                taken, lengths_by_phase = seconds([sys.executable, *command], root=root)
                times[name].append(taken)
                for phase, length in lengths_by_phase.items():
                    phases.setdefault(phase, []).append(length)
    for name, taken_times in times.items():
        print(f"{name:64}{statistics.median(taken_times):7.2f} s")
    for phase, lengths in phases.items():
        print(f"  {phase:62}{statistics.median(lengths):7.2f} s")


if __name__ == "__main__":
    main()
