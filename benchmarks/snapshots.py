"""Snapshots of one training against other trainings: python benchmarks/snapshots.py DATA --work FOLDER

All with equally many steps: one long training; one training in M cycles, with the weights at the end of each; M short
trainings with other seeds. Their probabilities are averaged (with equal weights, or as Caruana's selection on the
hold-out chooses), and so are their weights (soups: of all, or greedy on the hold-out). Trainings with other seeds start
with other heads, so a soup of them has little meaning. The table shows each network and average on the split test, and
the difference to the long training, paired by image.
Finished trainings are kept in the work folder, and an interrupted run continues.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hierarchy_runs import Runs, parser, top_right

from noseprint.inference.ensemble import greedy_selection, weighted_mean
from noseprint.models.weights import load_classifier, save_weights
from noseprint.training.averaging import average_weights


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--cycles", type=int, default=3, help="M: of the training in cycles, and the short trainings")
    made.add_argument("--lr", default="5e-4", help="peak learning rate of all")
    options = made.parse_args()
    cycles = options.cycles
    if options.epochs % cycles:
        made.error(f"--epochs {options.epochs}: must be a multiple of --cycles {cycles}")
    runs, found = Runs(options), {}

    def keep(arm: str, probability: np.ndarray) -> None:
        found.setdefault(arm, []).append(probability)

    for seed in map(int, options.seeds.split(",")):
        given = ("--lr", options.lr)
        plain = ("--schedule", "cosine", "--cycles", 1, "--snapshots", 0, *given)
        long = runs.train(f"long-{seed}", "--seed", seed, "--epochs", options.epochs, *plain)
        in_cycles = ("--schedule", "restarts", "--cycles", cycles, "--snapshots", cycles, *given)
        cyclic = runs.train(f"cycles-{seed}", "--seed", seed, "--epochs", options.epochs, *in_cycles)
        each = ("--epochs", options.epochs // cycles, *plain)
        short = [runs.train(f"short-{seed}-{k}", "--seed", 1000 * (k + 1) + seed, *each) for k in range(cycles)]
        keep("long", runs.probabilities(long / "best.safetensors"))
        snapshots = [cyclic / "snapshots" / f"{k + 1}.safetensors" for k in range(cycles)]
        own = cyclic / "best.safetensors"
        keep("cycles, averaged weights at the end", runs.probabilities(own))
        for k, path in enumerate(snapshots, 1):
            keep(f"cycles, snapshot {k}", runs.probabilities(path))
        for name, probability in averages(runs, snapshots, cyclic, more=[own]).items():
            keep(f"cycles, {name}", probability)
        members = [folder / "best.safetensors" for folder in short]
        for k, path in enumerate(members, 1):
            keep(f"short {k}", runs.probabilities(path))
        for name, probability in averages(runs, members, short[0]).items():
            keep(f"short, {name}", probability)
    runs.report(found, base="long")


def averages(runs: Runs, files: Sequence[Path], folder: Path, *, more: Sequence[Path] = ()) -> dict[str, np.ndarray]:
    """What the averages of networks say of the test images. more: further weights that may be selected."""
    test = [runs.probabilities(path) for path in files]
    candidates = [*files, *more]
    val, truth = [runs.probabilities(path, "val") for path in candidates], runs.truth("val")
    times = Counter(join.member for join in greedy_selection(val, truth))
    print(json.dumps({"folder": str(folder), "selected": {str(candidates[k]): n for k, n in times.items()}}))
    selected = weighted_mean(
        [runs.probabilities(path) for path in candidates], [times[k] for k in range(len(candidates))]
    )
    order = sorted(range(len(files)), key=lambda k: -top_right(val[k], truth, 1).mean())
    kept, best = [files[order[0]]], top_right(val[order[0]], truth, 1).mean()
    for k in order[1:]:
        accuracy = top_right(runs.probabilities(soup(folder, "tried", [*kept, files[k]]), "val"), truth, 1).mean()
        if accuracy >= best:
            kept, best = [*kept, files[k]], accuracy
    return {
        "mean of the probabilities": weighted_mean(test, [1] * len(test)),
        "selected probabilities": selected,
        "uniform soup": runs.probabilities(soup(folder, "uniform", files)),
        "greedy soup": runs.probabilities(soup(folder, "greedy", kept)),
    }


def soup(folder: Path, name: str, files: Sequence[Path]) -> Path:
    """Write the mean of the weights (arXiv 2203.05482)."""
    network, path = load_classifier(files[0]), folder / f"{name}-soup.safetensors"
    average_weights(network, files)
    save_weights(path, network, extra={})
    return path


if __name__ == "__main__":
    main()
