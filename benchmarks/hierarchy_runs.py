"""For the benchmarks of recipes/product_hierarchy: trainings in a copy of the recipe, and their scores on a split.

Finished trainings are kept in the work folder, and an interrupted one continues.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy.special import softmax

from noseprint.data.class_tables import ClassTable, hold_out
from noseprint.data.filtered import read_filtered
from noseprint.inference.classify import classify_photographs
from noseprint.metrics.bootstrap import bootstrap_difference, bootstrap_mean
from noseprint.models.weights import fingerprint

FAMILY = Path(__file__).resolve().parents[1] / "recipes" / "product_hierarchy"


def parser(description: str) -> argparse.ArgumentParser:
    """The options that these benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("data", type=Path, help="data folder with a split test")
    made.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    made.add_argument("--member", default="lite0", help="the network")
    made.add_argument("--epochs", type=int, default=9, help="of each training")
    made.add_argument("--seeds", default="0", help="separated by commas")
    made.add_argument("--train", default="", help="more options of members/train.py, such as '--batch-size 64'")
    made.add_argument("--holdout", type=float, default=0.1, help="share that is held out if there is no split val")
    return made


class Runs:
    """A copy of the recipe in the work folder, with the filtered images of the data folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.data, self.member = options.data.resolve(), options.member
        self.given, self.folder = options.train.split(), options.work / "product_hierarchy"
        shutil.copytree(FAMILY, self.folder, ignore=shutil.ignore_patterns("results", "data"), dirs_exist_ok=True)
        if not (self.folder / "filter" / "results" / "small" / "images.csv").is_file():
            self.run("filter/filter.py")
        self.table = read_filtered(self.data, self.folder / "filter" / "results" / "small")
        self.classes, val = self.table.classes, hold_out(self.table, options.holdout)[1]
        self.splits: dict[str, ClassTable] = {"test": self.table.split("test"), "val": val}

    def module(self, script: str) -> ModuleType:
        """A module of a recipe folder; it finds its siblings."""
        path = self.folder / script
        sys.path.insert(0, str(path.parent))
        try:
            spec = importlib.util.spec_from_file_location(script.replace("/", "_"), path)
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
        finally:
            sys.path.remove(str(path.parent))
        return loaded

    def run(self, script: str, *options: object) -> None:
        words = [sys.executable, script, "--small", "--data", str(self.data), *map(str, options)]
        print("$", *words, flush=True)
        subprocess.run(words, cwd=self.folder, check=True)

    def train(self, name: str, *options: object, script: str = "members/train.py") -> Path:
        """Train, or find the rate, in the run `name`, unless that is done; return the folder of the results."""
        link = self.folder / "filter" / "results" / name
        if not link.is_symlink():
            link.symlink_to("small")
        results = self.folder / Path(script).parent / "results" / name / self.member
        done, said = results / "benchmark.done", json.dumps([*map(str, options), *self.given])
        if not done.is_file():
            self.run(script, "--run", name, "--part", self.member, *options, *self.given)
            done.write_text(said)
        elif done.read_text() != said:
            raise SystemExit(
                f"{results} was made with the options {done.read_text()}: give another work folder with --work"
            )
        return results

    def probabilities(self, weights: Path, split: str = "test") -> np.ndarray:
        """(N, K) what the network in a file says of the images of a split; computed once."""
        saved = weights.with_suffix(f".{split}.npz")
        made_by = fingerprint(weights)
        if saved.is_file() and str(np.load(saved)["made_by"]) == made_by:
            return np.load(saved)["probability"]
        outputs = classify_photographs(
            weights,
            self.splits[split].paths,
            transform=self.module("members/dataset.py").evaluation_transform,
            device=torch.device("cpu"),
            engine="torch",
            workers=0,
        )
        assert outputs.classes == self.classes
        probability = softmax(outputs.logits, axis=1)
        np.savez(saved, probability=probability, made_by=made_by)
        return probability

    def truth(self, split: str = "test") -> np.ndarray:
        """(N,) the number of the class of each image."""
        return np.array([self.classes.index(label) for label in self.splits[split].labels])

    def report(self, arms: Mapping[str, Sequence[np.ndarray]], *, base: str) -> None:
        """A row for each arm, whose probabilities (N, K) of the test images are given for each seed.

        The gain is the paired difference to the arm `base` over the images, of the means over the seeds. mean_per_class
        counts each image by the size of its class.
        """
        images, truth = self.splits["test"], self.truth()
        groups = np.array(images.groups or images.names)
        sizes = Counter(images.labels)
        weight = np.array([len(images) / len(sizes) / sizes[label] for label in images.labels])
        print(f"{len(images)} test images of {len(sizes)} classes, {len(set(groups.tolist()))} groups")

        def right(arm: str, top: int) -> np.ndarray:
            return np.mean([top_right(probability, truth, top) for probability in arms[arm]], axis=0)

        for arm, each in arms.items():
            top_1, first = right(arm, 1), right(base, 1)
            low, high = bootstrap_mean(top_1, groups, seed=0)
            row = {
                "arm": arm,
                "top_1": round(float(top_1.mean()), 4),
                "interval": [round(low, 4), round(high, 4)],
                "gain": str(bootstrap_difference(top_1, first, groups, seed=0)),
                "top_3": round(float(right(arm, 3).mean()), 4),
                "top_3_gain": str(bootstrap_difference(right(arm, 3), right(base, 3), groups, seed=0)),
                "mean_per_class": round(float((top_1 * weight).mean()), 4),
                "mean_per_class_gain": str(bootstrap_difference(top_1 * weight, first * weight, groups, seed=0)),
                "seeds": [round(float(top_right(probability, truth, 1).mean()), 4) for probability in each],
            }
            print(json.dumps(row), flush=True)


def top_right(probability: np.ndarray, truth: np.ndarray, top: int) -> np.ndarray:
    """(N,) 1.0 where the right class is among the `top` most probable ones, else 0.0."""
    of_truth = probability[np.arange(len(truth)), truth]
    return ((probability > of_truth[:, None]).sum(axis=1) < top).astype(float)
