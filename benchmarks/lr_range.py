"""Does the range test find a good rate? python benchmarks/lr_range.py DATA --work FOLDER

First, it compares the test with the package torch-lr-finder on the same network, optimizer and batches. Dropout is off,
and so is gradient clipping, which that package does not have:

    pip install --no-deps --target /tmp/finder torch-lr-finder
    PYTHONPATH=/tmp/finder python benchmarks/lr_range.py DATA --work FOLDER

Without the package, this is left out. Then it trains one network of recipes/product_hierarchy with each of six rates,
and with the two that the test suggests. The table shows their scores on the split test, and the difference to the best
of the six rates, paired by image. That rate is chosen on the test images, so it looks a little too good.
Finished trainings are kept in the work folder, and an interrupted run continues.
"""

import argparse
import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import torch
import tyro
from hierarchy_runs import Runs, parser, top_right

from noseprint.distributed import World
from noseprint.models.frozen_norm import unfold_norms
from noseprint.tasks.part_options import PartOptions
from noseprint.training.loader import training_loader
from noseprint.training.lr_range import (
    DIVERGED,
    HIGHEST,
    LOWEST,
    SKIPPED_FIRST,
    SKIPPED_LAST,
    SMOOTH,
    STEPS,
    find_rates,
)
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rates", default="1e-4,2e-4,5e-4,1e-3,2e-3,5e-3", help="the grid, separated by commas")
    options = made.parse_args()
    runs = Runs(options)
    if importlib.util.find_spec("torch_lr_finder"):
        compare(runs, options)
    else:
        print("torch-lr-finder is not installed: not compared")
    found = {f"rate {rate}": [] for rate in options.rates.split(",")} | {"valley": [], "steepest": []}
    for seed in options.seeds.split(","):
        length = ("--seed", seed, "--epochs", options.epochs)
        tested = runs.train(f"range-{seed}", *length, script="members/find_rate.py")
        suggested = json.loads((tested / "lr_range.json").read_text())[runs.member]
        print(json.dumps({"seed": seed, **suggested}))
        for arm, each in found.items():
            rate = suggested.get(arm) or arm.removeprefix("rate ")
            results = runs.train(f"{arm.replace(' ', '-')}-{seed}", *length, "--lr", rate)
            each.append(runs.probabilities(results / "best.safetensors"))
    truth = runs.truth()
    grid = [arm for arm in found if arm.startswith("rate ")]
    best = max(grid, key=lambda arm: np.mean([top_right(probability, truth, 1) for probability in found[arm]]))
    runs.report(found, base=best)


def compare(runs: Runs, options: argparse.Namespace) -> None:
    """Print how far our losses and suggestions are from those of torch-lr-finder."""
    from torch_lr_finder import LRFinder, TrainDataLoaderIter  # noqa: PLC0415 - optional

    class Batches(TrainDataLoaderIter):
        def inputs_labels_from_batch(self, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
            return batch.image, batch.target

    sys.path.insert(0, str(runs.folder / "members"))
    from task import SMALL, make_task  # noqa: PLC0415 - the copy of the recipe is there by now

    chosen, folder = settings(runs, options, SMALL), runs.folder / "members" / "results" / "compared"
    curve = find_rates(make_task(chosen), results=folder, options=chosen)

    task, world = make_task(chosen), World(0, 1, torch.device("cpu"))
    task.prepare(world, folder)
    plan = Plan(chosen, epoch_steps=task.epoch_steps)
    step = TrainingStep(task, options=chosen, world=world, plan=plan, epoch_steps=task.epoch_steps, results=folder)
    finder = LRFinder(task.network, step._optimizer, task.criterion, device="cpu")
    loader = training_loader(task, task.batches(steps=STEPS, first_step=0), options=chosen, world=world)
    finder.range_test(
        Batches(loader), start_lr=LOWEST, end_lr=HIGHEST, num_iter=STEPS, smooth_f=SMOOTH, diverge_th=DIVERGED
    )
    unfold_norms(task.network)
    theirs, rates = np.array(finder.history["loss"])[: len(curve.rates)], np.array(finder.history["lr"])
    number = min(len(theirs), len(curve.rates))
    middle = slice(SKIPPED_FIRST, number - SKIPPED_LAST)
    steepest = rates[middle][np.gradient(theirs[:number][middle]).argmin()]
    both = {
        "steps": [len(curve.rates), len(finder.history["loss"])],
        "rates differ by at most": float(np.abs(rates[:number] / curve.rates[:number] - 1).max()),
        "smoothed losses differ by at most": float(np.abs(theirs[:number] / curve.smoothed[:number] - 1).max()),
        "steepest": [curve.steepest(), float(steepest)],
    }
    print(json.dumps(both), flush=True)


def settings(runs: Runs, options: argparse.Namespace, small: PartOptions) -> PartOptions:
    """The options of members/find_rate.py, without dropout and gradient clipping."""
    chosen = tyro.cli(PartOptions, default=small, args=["--epochs", str(options.epochs), *runs.given])
    same = {"part": runs.member, "data": runs.data, "workers": 0, "device": "cpu", "amp": False}
    return replace(chosen, dropout=0.0, clip_norm=1e9, **same)


if __name__ == "__main__":
    main()
