"""How many seconds does the small recipe need to reach a given mAP, and how many did it need before?

Trains swin224_stage1 --small --no-pseudo once for every point of both curves, each with a complete schedule, and scores
the search in DATA/retrieval.csv. "before" is the recipe of version 0.1's first results: learning rate 5e-4, embedded at
the size it was trained at, contiguous tensors, the optimizer unfused.

    python benchmarks/time_to_map.py [DATA] [--now 1 2 3] [--before 3 6] [--target 0.85] [--plot FILE.png]
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

from noseprint.data.demo import write_demo
from noseprint.inference.evaluation import evaluate_members

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "swin224_stage1"
# Runs train.py without what this version does by default on a CPU.
UNDONE = """
import runpy, sys, torch
from noseprint.models.backbone import Backbone
init, adamw = Backbone.__init__, torch.optim.AdamW
def plain(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self.convolutional = False
Backbone.__init__ = plain
torch.optim.AdamW = lambda *args, **kwargs: adamw(*args, **kwargs | {"fused": False})
del sys.argv[0]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
BEFORE = ["--lr", "5e-4", "--image-size", "128", "--no-amp"]

Point = tuple[float, float, float]  # seconds, CPU seconds, mAP


def train(program: list[str], options: list[str], *, epochs: int, data: Path, recipe: Path) -> Point:
    """Run one training, with the copy of the recipe in `recipe`; time it from command to weights, and score it."""
    common = [str(recipe / "train.py"), "--small", "--no-pseudo", "--restart", "--device", "cpu", "--data", str(data)]
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*program, *common, *options, "--epochs", str(epochs)], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    weights = recipe / "results" / "small" / "best.safetensors"
    score = evaluate_members({"": weights}, data, device=torch.device("cpu")).scores[""].map
    assert score is not None
    return seconds, cpu, score.value


def plot(curves: dict[str, list[Point]], target: float, file: Path) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        axes.plot([p[0] for p in points], [p[2] for p in points], "o-", label=name)
    axes.axhline(target, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="seconds of training, from the command to the weights", ylabel="mAP of the search", xlim=(0, None))
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="default: the synthetic demonstration")
    parser.add_argument("--now", type=int, nargs="+", default=[1, 2, 3], help="epochs of each training")
    parser.add_argument("--before", type=int, nargs="+", default=[3, 6], help="epochs of each training")
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = given.data
        if data is None:
            write_demo(data := Path(scratch) / "data")
        recipe = Path(shutil.copytree(ROOT / RECIPE, Path(scratch) / RECIPE, ignore=shutil.ignore_patterns("results")))
        ways = {
            "before": ([sys.executable, "-c", UNDONE], [*BEFORE, "--train-size", "128"], given.before),
            "now": ([sys.executable], [], given.now),
        }
        curves: dict[str, list[Point]] = {name: [] for name in ways}
        print(f"{'':8} {'epochs':>6} {'seconds':>8} {'CPU s':>7} {'mAP':>7}")
        for name, (program, options, lengths) in ways.items():
            for epochs in lengths:
                point = train(program, options, epochs=epochs, data=data.resolve(), recipe=recipe)
                curves[name].append(point)
                print(f"{name:8} {epochs:6} {point[0]:8.1f} {point[1]:7.1f} {point[2]:7.4f}", flush=True)
    reached = {n: min((p[0] for p in points if p[2] >= given.target), default=None) for n, points in curves.items()}
    for name, seconds in reached.items():
        print(f"{name}: mAP {given.target} " + (f"in {seconds:.0f} s" if seconds else "is not reached"))
    if reached["before"] and reached["now"]:
        print(f"ratio {reached['before'] / reached['now']:.1f}")
    if given.plot:
        plot(curves, given.target, given.plot)


if __name__ == "__main__":
    main()
