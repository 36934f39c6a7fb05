"""How much does each step of the method gain? All steps of the write-up, trained and scored in the same way.

Every step is trained from the same ImageNet weights on the same identities (two thirds; the others are held out) for
about as many photographs, keeps its last averaged weights, and is embedded as the recipes do. The scores are those of
the held-out identities (each photograph against all others; balanced pairs) and, if the data folder has labels, of its
test pairs and search: unchanged, at low resolution (like the validation photographs), and blurred (like the test
photographs). Every finished (step, seed) becomes a line of OUT. The command trains what is missing in OUT, then prints
the tables.

    python benchmarks/ladder.py OUT.jsonl [--data DIR] [--seeds 0 1 2] [--epochs N] [--steps NAME...] [--table]
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from ladder_scores import CONDITIONS, Floats, of_holdout, of_test, tables
from scipy.stats import rankdata

from noseprint.calibration.fitting import fit_platt
from noseprint.data.csv_rows import write_csv
from noseprint.data.demo import write_demo
from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.samplers import epoch_steps
from noseprint.data.tables import read_labels, read_pairs, read_pseudo, read_retrieval, read_train
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.inference.pseudo_labels import produce_pseudo_labels
from noseprint.losses import LossName
from noseprint.metrics.holdout_scores import evaluate_holdout
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, save_weights
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.fit import fit

ROOT = Path(__file__).resolve().parents[1]
HOLDOUT = 1 / 3
DEGRADATION_SEED = 1  # of the degraded photographs that are scored, the same for all steps and seeds
SMALL = {"epochs": 3, "batch_size": 64, "lr": 3e-4, "image_size": 192, "train_size": 128}  # before --small chose both
DEMO = SMALL | {"epochs": 6, "batch_size": 32, "lr": 5e-4, "image_size": 128}  # of train.sh --demo, three times as long


def recipe(folder: str) -> ModuleType:
    """The dataset.py of a recipe folder."""
    spec = importlib.util.spec_from_file_location(f"{folder}_dataset", ROOT / folder / "dataset.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CROPPED, STAGE1, STAGE2 = recipe("pseudo_produce"), recipe("swin224_stage1"), recipe("swin224_stage2")


@dataclass(frozen=True)
class Step:
    """One training, or none without a loss. after: the step to compare with. start: the step that it continues."""

    after: str | None
    loss: LossName | None = "supcon"
    transform: Callable[[int], Transform] = STAGE1.evaluation_transform
    descriptors: str = "SM"
    backbone: str = "tf_efficientnet_lite0.in1k"
    pseudo: bool = False
    start: str | None = None


LITE1, LITE2 = "tf_efficientnet_lite1.in1k", "tf_efficientnet_lite2.in1k"
FINDER = "crop and mirror (finds the pseudo-identities)"
FIRST, LAST = "+ pseudo-labels", "+ stage 2"
STEPS = {
    "untrained": Step(None, None),
    "classifier": Step("untrained", "softmax", descriptors="S"),
    "GeM + ArcFace": Step("classifier", "arcface", descriptors="G"),
    "CGD, triplet + smoothing": Step("GeM + ArcFace", "triplet+smoothing"),
    "SupCon + smoothing": Step("CGD, triplet + smoothing", "supcon+smoothing"),
    "SupCon": Step("SupCon + smoothing"),
    "+ low resolution": Step("SupCon", transform=STAGE1.training_transform),
    FINDER: Step("SupCon", transform=CROPPED.training_transform),
    FIRST: Step("+ low resolution", transform=STAGE1.training_transform, pseudo=True),
    "as long again, no stage 2": Step(FIRST, transform=STAGE1.training_transform, pseudo=True, start=FIRST),
    "lite1, stage 1": Step(FIRST, transform=STAGE1.training_transform, pseudo=True, backbone=LITE1),
    "lite2, stage 1": Step(FIRST, transform=STAGE1.training_transform, pseudo=True, backbone=LITE2),
    "lite1, stage 2": Step(
        LAST, transform=STAGE2.training_transform, pseudo=True, backbone=LITE1, start="lite1, stage 1"
    ),
    "lite2, stage 2": Step(
        LAST, transform=STAGE2.training_transform, pseudo=True, backbone=LITE2, start="lite2, stage 1"
    ),
    LAST: Step("as long again, no stage 2", transform=STAGE2.training_transform, pseudo=True, start=FIRST),
}
MEMBERS = ("lite1, stage 2", "lite2, stage 2", LAST)
ENSEMBLES = {"ensemble, mean": LAST, "ensemble, rank": "ensemble, mean", "ensemble, calibrated": "ensemble, mean"}


class Ladder:
    """The trainings of one data folder and seed, their weights below `scratch`."""

    def __init__(self, data: Path, *, seed: int, scratch: Path, settings: dict[str, float]) -> None:
        self.name = f"{data.name}, {settings['epochs']} epochs"
        self.data, self.seed, self.settings = data, seed, settings
        self.scratch = scratch / f"{data.name}-{settings['epochs']}" / str(seed)
        self.table = read_train(data)
        held_out = split_holdout(self.table.identities, share=HOLDOUT, seed=HOLDOUT_SEED)
        self.holdout = self.table.where(identity in held_out for identity in self.table.identities)
        self.trained_on = len(self.table) - len(self.holdout)
        self.sets = {"held-out identities": of_holdout(self.holdout)}
        if read_labels(data, "test") or read_retrieval(data):
            self.sets["test"] = of_test(data)

    def weights(self, name: str) -> Path:
        """The weights of a step, trained if they are not there."""
        step = STEPS[name]
        results = self.scratch / name.replace(" ", "_")
        if (results / "seconds").is_file():
            return results / "best.safetensors"
        start = self.weights(step.start) if step.start else None
        pseudo = read_pseudo(self.pseudo(), self.data) if step.pseudo else None
        size, begin = int(self.settings["image_size"]), time.monotonic()
        batch = int(self.settings["batch_size"])
        labelled_steps = epoch_steps(self.trained_on, batch)
        all_steps = epoch_steps(self.trained_on + (len(pseudo) if pseudo else 0), batch)
        epochs = max(1, round(self.settings["epochs"] * labelled_steps / all_steps))  # more photographs, no more steps
        options = EmbeddingOptions(
            data=self.data,
            epochs=epochs,
            loss=step.loss or "supcon",
            train_size=int(self.settings["train_size"]),
            batch_size=batch,
            lr=self.settings["lr"],
            ema_epochs=labelled_steps / all_steps,
            eval_every=epochs,  # so that no epoch is chosen by the identities that score it
            holdout=HOLDOUT,
            seed=self.seed,
        )
        torch.manual_seed(self.seed)
        network = (
            load_network(start) if start else SupConNet(step.backbone, descriptors=step.descriptors, image_size=size)
        )
        if step.loss is None:
            save_weights(results / "best.safetensors", network, extra={})
            return results / "best.safetensors"
        task = EmbeddingTask(
            network,
            options=options,
            labelled=self.table,
            pseudo=pseudo,
            training_transform=step.transform,
            evaluation_transform=STAGE1.evaluation_transform,
        )
        fit(task, results=results, options=options)
        seconds = time.monotonic() - begin
        (results / "seconds").write_text(json.dumps({"seconds": seconds, "images": epochs * all_steps * batch}))
        return results / "best.safetensors"

    def pseudo(self) -> Path:
        """The table of the pseudo-identities that the step FINDER finds among the validation pairs."""
        out = self.scratch / "pseudo.csv"
        if not out.is_file():
            network, pairs = load_network(self.weights(FINDER)), read_pairs(self.data, "validation")
            names = pairs.names()
            transform = CROPPED.evaluation_transform(network.image_size)
            holdout_rows, rows = (
                embed(network, paths, transform) for paths in (self.holdout.paths, [pairs.folder / n for n in names])
            )
            scores = evaluate_holdout(holdout_rows, self.holdout.identities, seed=HOLDOUT_SEED)
            pseudo_labels = produce_pseudo_labels(
                pairs,
                rows,
                {name: row for row, name in enumerate(names)},
                holdout=scores,
                labelled=set(self.table.identities),
            )
            write_csv(out, ("dog ID", "nose print image"), pseudo_labels.rows)
        return out

    @cache  # noqa: B019 - the ensemble needs those of its members again
    def similarities(self, name: str) -> dict[tuple[str, str], Floats]:
        """Similarities (N, N) of each set under each condition."""
        network = load_network(self.weights(name))
        found = {}
        for condition, transform in CONDITIONS.items():
            for which, questions in self.sets.items():
                rows = embed(network, questions.paths, transform(network.image_size))
                found[which, condition] = rows @ rows.T
        return found

    def fused(self, method: str) -> dict[tuple[str, str], Floats]:
        """Fuse the members: the mean of cosines, of ranks among all entries, or of log-odds calibrated on the hold-out.

        The calibration (two numbers for each member) is fitted to clean held-out pairs, which are scored, too.
        """
        members = [self.similarities(name) for name in MEMBERS]
        if method == "ensemble, mean":
            return {key: np.mean([m[key] for m in members], axis=0) for key in members[0]}
        if method == "ensemble, rank":
            return {
                key: np.mean([rankdata(m[key]).reshape(m[key].shape) for m in members], axis=0) for key in members[0]
            }
        holdout, clean_holdout = self.sets["held-out identities"], ("held-out identities", "clean")
        platts = [fit_platt(m[clean_holdout][holdout.pair_a, holdout.pair_b], holdout.same) for m in members]
        return {
            key: np.mean([p.slope * m[key] + p.intercept for p, m in zip(platts, members, strict=True)], axis=0)
            for key in members[0]
        }

    def line(self, name: str) -> dict[str, object]:
        """The line of OUT for a step: its scores, set -> condition -> metric -> (value, low, high), and its cost."""
        found = self.fused(name) if name in ENSEMBLES else self.similarities(name)
        scores: dict[str, dict[str, object]] = {which: {} for which in self.sets}
        for (which, condition), similarity in found.items():
            scores[which][condition] = self.sets[which].score(similarity)
        trained = name not in ENSEMBLES and STEPS[name].loss
        cost = json.loads((self.weights(name).parent / "seconds").read_text()) if trained else {}
        return {"data": self.name, "step": name, "seed": self.seed, **cost, "scores": scores}


def embed(network: SupConNet, paths: object, transform: Transform) -> Floats:
    """Embed photographs (N, D) as infer.py does."""
    run = partial(embed_images, network, transform=transform, seed=DEGRADATION_SEED, engine="auto")
    return run(paths, device=torch.device("cpu"), workers=default_workers(torch.device("cpu")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="default: the synthetic demonstration, below --scratch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--epochs", type=int, help="epochs of the labelled photographs; default: 3, for the demonstration 6"
    )
    parser.add_argument(
        "--scratch", type=Path, help="folder for weights and other files that may be deleted; default: beside OUT"
    )
    parser.add_argument("--steps", nargs="+", choices=[*STEPS, *ENSEMBLES], default=[*STEPS, *ENSEMBLES])
    parser.add_argument("--table", action="store_true", help="only print the tables of OUT")
    given = parser.parse_args()
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    scratch = (given.scratch or given.out.with_suffix("")).resolve()
    data = (given.data or scratch / "demo").resolve()
    if not given.table:
        if given.data is None:
            write_demo(data)
        settings = SMALL if given.data else DEMO
        if given.epochs:
            settings = settings | {"epochs": given.epochs}
        for seed in given.seeds:
            ladder = Ladder(data, seed=seed, scratch=scratch, settings=settings)
            for name in given.steps:
                if any((line["data"], line["step"], line["seed"]) == (ladder.name, name, seed) for line in lines):
                    continue
                print(f"== {ladder.name}, seed {seed}: {name}", file=sys.stderr, flush=True)
                lines.append(json.loads(json.dumps(ladder.line(name))))
                with given.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    for name in dict.fromkeys(line["data"] for line in lines):
        print(tables(lines, data=name, after={n: step.after for n, step in STEPS.items()} | ENSEMBLES))


if __name__ == "__main__":
    main()
