"""Compares noseprint with other libraries: same photographs, ImageNet weights, budget, scorer and way of tuning.

Each peer is trained by its own public interface in a process of its own (run_PEER.py), with the settings that its
documentation leads to. Tuning sees training identities alone: a third of them is held out; two losses at three learning
rates are trained on the rest for a quarter of the budget, the two best again for all of it at two image sizes. The best
of these ten is trained on all training identities with each seed, and scored on the test roles. noseprint's own setting
is the one that its recipes ship (docs/tuning.md says how it was chosen). Needs Linux, data with test/labels.csv and
retrieval.csv.

    python benchmarks/peers/compare.py DATA --out FILE.jsonl [--peers timm oml] [--seeds 0 1 2] [--cpu-seconds 240]

Trainings that FILE.jsonl already holds are skipped, so an interrupted comparison continues.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from table import hold_out_map, print_table, raw_scores
from trial import MEMBERS, Embeddings, JobDescription, Usage, find_python, train_noseprint, train_peer

from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.inference.labelled_data import read_labelled_data

LOSSES = {  # two for each peer; the first is the example of its documentation
    "timm": ("arcface-0.3", "arcface-0.5"),
    "pml": ("triplet", "supcon"),
    "oml": ("triplet", "arcface"),
    "wildlife": ("arcface", "triplet"),
}
LEARNING_RATES = {"wildlife": (1e-3, 3e-3, 1e-2)}  # of SGD, as documented; the others use Adam or AdamW
ADAM_LEARNING_RATES = (3e-5, 1e-4, 3e-4)
SIZES = {128: [128, 192], 192: [192, 224]}  # training size: sizes to embed at; more may help (arXiv 1906.06423)
FIRST_ROUND_SHARE = 0.25
"""The share of the budget with which each loss and learning rate is tried."""
SECOND_ROUND_SETTINGS = 2
"""How many of these settings are tried again with the whole budget."""

Setting = dict[str, Any]


class Results:
    """The results file, with one line for each training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def find(self, **wanted: object) -> dict[str, Any] | None:
        return next((r for r in self.records if all(r.get(key) == value for key, value in wanted.items())), None)

    def add(self, **record: object) -> None:
        self.records.append(record)
        with self.path.open("ab", buffering=0) as file:  # in one piece: several comparisons may write at a time
            file.write(json.dumps(record).encode() + b"\n")


class Comparison:
    """Trains peers on one data folder, all under the same `conditions`."""

    def __init__(self, options: argparse.Namespace, results: Results, scratch: Path) -> None:
        self.options, self.results, self.scratch = options, results, scratch
        currency, budget = ("cpu", options.cpu_seconds) if options.cpu_seconds else ("wall", options.seconds)
        self.conditions = {
            "budget": budget,
            "currency": currency,
            "threads": options.threads,
        }
        self.labelled = read_labelled_data(options.data)
        self.table = read_train(options.data)

    def tune(self, peer: str) -> Setting:
        """The setting of `peer` that scores best on held-out training identities; "view" is the side to embed at."""
        held_out = split_holdout(self.table.identities, share=0.33, seed=HOLDOUT_SEED)
        train = self.table.where(identity not in held_out for identity in self.table.identities)
        holdout = self.table.where(identity in held_out for identity in self.table.identities)
        grid = itertools.product(LOSSES[peer], LEARNING_RATES.get(peer, ADAM_LEARNING_RATES))
        first_round = [
            {"loss": loss, "lr": rate, "size": min(SIZES), "share": FIRST_ROUND_SHARE} for loss, rate in grid
        ]
        tried = [self._try_setting(peer, setting, train=train, holdout=holdout) for setting in first_round]
        best = sorted(tried, key=lambda record: -max(record["map"].values()))[:SECOND_ROUND_SETTINGS]
        second_round = [{**record["setting"], "size": size, "share": 1.0} for record in best for size in SIZES]
        tried += [self._try_setting(peer, setting, train=train, holdout=holdout) for setting in second_round]
        chosen = max(tried, key=lambda record: max(record["map"].values()))
        return {**chosen["setting"], "view": int(max(chosen["map"], key=chosen["map"].get))}

    def _try_setting(self, peer: str, setting: Setting, *, train: ImageTable, holdout: ImageTable) -> dict[str, Any]:
        """Train with a setting and score the hold-out, unless the results file has it already; return its record."""
        key = {"stage": "tune", "peer": peer, "setting": setting, "seed": 0, **self.conditions}
        if (record := self.results.find(**key)) is None:
            sizes = SIZES[setting["size"]]
            by_size, usage = self._train(peer, setting, train=train, embed=holdout, sizes=sizes, seed=0)
            maps = {str(size): hold_out_map(embeddings, holdout.identities) for size, embeddings in by_size.items()}
            self.results.add(**key, map=maps, used=asdict(usage))
            print(f"{peer} {setting}: hold-out mAP {maps}, {usage.cpu_seconds:.0f} CPU s", flush=True)
            record = self.results.find(**key)
            assert record is not None
        return record

    def train_and_score(self, peer: str, setting: Setting, *, seed: int) -> None:
        """Train on all training identities and record the scores on the test photographs."""
        key = {"stage": "final", "peer": peer, "setting": setting, "seed": seed, **self.conditions}
        if self.results.find(**key):
            return
        scored = ImageTable(self.labelled.paths, ("",) * len(self.labelled.paths))
        size = setting["view"]
        by_size, usage = self._train(peer, setting, train=self.table, embed=scored, sizes=[size], seed=seed)
        self._record(key, by_size[size], usage)

    def train_and_score_noseprint(self, *, seed: int) -> None:
        """Do the same for noseprint: for a single network, and for an ensemble of four."""
        setting = {"recipe": "--small --no-pseudo"}
        keys = {
            peer: {"stage": "final", "peer": peer, "setting": setting, "seed": seed, **self.conditions}
            for peer in ("noseprint", "noseprint, ensemble")
        }
        if all(self.results.find(**key) for key in keys.values()):
            return
        data, threads = self.options.data, self.options.threads
        for peer, embeddings, usage in train_noseprint(
            data, seed=seed, threads=threads, scratch=self.scratch, members=MEMBERS
        ):
            if self.results.find(**keys[peer]) is None:
                self._record(keys[peer], embeddings, usage)

    def _train(
        self, peer: str, setting: Setting, *, train: ImageTable, embed: ImageTable, sizes: list[int], seed: int
    ) -> tuple[dict[int, Embeddings], Usage]:
        description = JobDescription(
            train=[(str(path), identity) for path, identity in zip(train.paths, train.identities, strict=True)],
            embed=[str(path) for path in embed.paths],
            sizes=sizes,
            setting=setting,
            seed=seed,
            **self.conditions,
        )
        program = "timm" if peer.startswith("untrained") else peer
        python = find_python(program, self.options.envs)
        return train_peer(program, description, python=python, scratch=self.scratch)

    def _record(self, key: dict[str, Any], embeddings: Embeddings, usage: Usage) -> None:
        scores = raw_scores(embeddings, self.labelled)
        self.results.add(**key, **scores, used=asdict(usage))
        precision = sum(scores["average_precision"]) / len(scores["average_precision"])
        print(f"{key['peer']}, seed {key['seed']}: mAP {precision:.4f}, {usage.cpu_seconds:.0f} CPU s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peers", nargs="*", default=["noseprint", "untrained", *LOSSES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=120, help="budget of a training in wall time, for quiet cores")
    parser.add_argument("--cpu-seconds", type=float, help="budget in CPU seconds instead, for busy cores")
    parser.add_argument("--threads", type=int, default=2, help="threads of every training")
    parser.add_argument("--envs", type=Path, default=Path(__file__).parent / ".venv", help="the peers' environments")
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args(arguments)
    options.data, options.envs = options.data.resolve(), options.envs.resolve()
    results = Results(options.out)
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(options, results, Path(scratch))
        for peer in [] if options.table else options.peers:
            if peer == "noseprint":
                for seed in options.seeds:
                    comparison.train_and_score_noseprint(seed=seed)
            elif peer == "untrained":
                for size in SIZES:
                    setting = {"loss": LOSSES["timm"][0], "lr": 0.0, "size": size, "share": 0.0, "view": size}
                    comparison.train_and_score(f"untrained at {size}", setting, seed=0)
            else:
                setting = comparison.tune(peer)
                for seed in options.seeds:
                    comparison.train_and_score(peer, setting, seed=seed)
    print_table(results.records, options.data)


if __name__ == "__main__":
    main()
