"""Compares noseprint with other libraries: same photographs, ImageNet weights, budget, scorer and way of tuning.

Each peer is trained by its own public interface in a process of its own (run_PEER.py), with the settings that its
documentation leads to. Tuning sees training identities alone: a third of them is held out; two losses at three learning
rates are trained on the rest for a quarter of the budget, the two best again for all of it at two image sizes. The best
of these ten is trained on all training identities with each seed, and scored on the test roles. noseprint's own setting
is the one that its recipes ship (docs/tuning.md says how it was chosen). Needs Linux, data with test/labels.csv and
retrieval.csv.

    python benchmarks/peers/compare.py DATA --out FILE.jsonl [--peers timm oml] [--seeds 0 1 2] [--cpu-seconds 240]

What FILE.jsonl holds already is not done again, so an interrupted comparison goes on.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from table import answers, hold_out_map, print_table
from trial import MEMBERS, Embeddings, Used, Work, prepare, train_noseprint, train_peer

from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.inference.labelled_data import read_labelled_data

LOSSES = {  # two a peer, the first its documentation's example
    "timm": ("arcface-0.3", "arcface-0.5"),
    "pml": ("triplet", "supcon"),
    "oml": ("triplet", "arcface"),
    "wildlife": ("arcface", "triplet"),
}
RATES = {"wildlife": (1e-3, 3e-3, 1e-2)}  # by SGD, as documented; the others by Adam or AdamW
RATES_OF_ADAM = (3e-5, 1e-4, 3e-4)
SIZES = {128: [128, 192], 192: [192, 224]}  # trained at: embedded at, since more pixels may help (arXiv 1906.06423)
FIRST_ROUND, SECOND_ROUND = 0.25, 2  # the share of the budget that each loss and rate gets; how many get all of it

Setting = dict[str, Any]


class Results:
    """The file of results, a line a training."""

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
    def __init__(self, given: argparse.Namespace, results: Results, scratch: Path) -> None:
        self.given, self.results, self.scratch = given, results, scratch
        currency, budget = ("cpu", given.cpu_seconds) if given.cpu_seconds else ("wall", given.seconds)
        self.terms = {
            "budget": budget,
            "currency": currency,
            "threads": given.threads,
        }
        self.labelled = read_labelled_data(given.data)
        self.table = read_train(given.data)

    def tune(self, peer: str) -> Setting:
        """The setting of `peer` that scores best on held-out training identities; "view" is the side to embed at."""
        out = split_holdout(self.table.identities, share=0.33, seed=HOLDOUT_SEED)
        train = self.table.where(identity not in out for identity in self.table.identities)
        held = self.table.where(identity in out for identity in self.table.identities)
        grid = itertools.product(LOSSES[peer], RATES.get(peer, RATES_OF_ADAM))
        first = [{"loss": loss, "lr": rate, "size": min(SIZES), "share": FIRST_ROUND} for loss, rate in grid]
        tried = [self._tried(peer, setting, train=train, held=held) for setting in first]
        best = sorted(tried, key=lambda record: -max(record["map"].values()))[:SECOND_ROUND]
        second = [{**record["setting"], "size": size, "share": 1.0} for record in best for size in SIZES]
        tried += [self._tried(peer, setting, train=train, held=held) for setting in second]
        chosen = max(tried, key=lambda record: max(record["map"].values()))
        return {**chosen["setting"], "view": int(max(chosen["map"], key=chosen["map"].get))}

    def _tried(self, peer: str, setting: Setting, *, train: ImageTable, held: ImageTable) -> dict[str, Any]:
        key = {"stage": "tune", "peer": peer, "setting": setting, "seed": 0, **self.terms}
        if (record := self.results.find(**key)) is None:
            found, used = self._train(peer, setting, train=train, embed=held, sizes=SIZES[setting["size"]], seed=0)
            maps = {str(size): hold_out_map(embeddings, held.identities) for size, embeddings in found.items()}
            self.results.add(**key, map=maps, used=asdict(used))
            print(f"{peer} {setting}: hold-out mAP {maps}, {used.cpu_seconds:.0f} CPU s", flush=True)
            record = self.results.find(**key)
            assert record is not None
        return record

    def finish(self, peer: str, setting: Setting, *, seed: int) -> None:
        """Train on all training identities and keep the answers on the test photographs."""
        key = {"stage": "final", "peer": peer, "setting": setting, "seed": seed, **self.terms}
        if self.results.find(**key):
            return
        every = ImageTable(self.labelled.paths, ("",) * len(self.labelled.paths))
        found, used = self._train(peer, setting, train=self.table, embed=every, sizes=[setting["view"]], seed=seed)
        self._keep(key, found[setting["view"]], used)

    def noseprint(self, *, seed: int) -> None:
        """The same of noseprint: a single network and, of four, the ensemble."""
        setting = {"recipe": "--small --no-pseudo"}
        keys = {
            peer: {"stage": "final", "peer": peer, "setting": setting, "seed": seed, **self.terms}
            for peer in ("noseprint", "noseprint, ensemble")
        }
        if all(self.results.find(**key) for key in keys.values()):
            return
        data, threads = self.given.data, self.given.threads
        for peer, embeddings, used in train_noseprint(
            data, seed=seed, threads=threads, scratch=self.scratch, members=MEMBERS
        ):
            if self.results.find(**keys[peer]) is None:
                self._keep(keys[peer], embeddings, used)

    def _train(
        self, peer: str, setting: Setting, *, train: ImageTable, embed: ImageTable, sizes: list[int], seed: int
    ) -> tuple[dict[int, Embeddings], Used]:
        work = Work(
            train=[(str(path), identity) for path, identity in zip(train.paths, train.identities, strict=True)],
            embed=[str(path) for path in embed.paths],
            sizes=sizes,
            setting=setting,
            seed=seed,
            **self.terms,
        )
        program = "timm" if peer.startswith("untrained") else peer
        return train_peer(program, work, python=prepare(program, self.given.envs), scratch=self.scratch)

    def _keep(self, key: dict[str, Any], embeddings: Embeddings, used: Used) -> None:
        found = answers(embeddings, self.labelled)
        self.results.add(**key, **found, used=asdict(used))
        precision = sum(found["average_precision"]) / len(found["average_precision"])
        print(f"{key['peer']}, seed {key['seed']}: mAP {precision:.4f}, {used.cpu_seconds:.0f} CPU s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peers", nargs="*", default=["noseprint", "untrained", *LOSSES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=120, help="budget of a training, wall-clock, on quiet cores")
    parser.add_argument("--cpu-seconds", type=float, help="budget in CPU seconds instead: for a machine that is shared")
    parser.add_argument("--threads", type=int, default=2, help="of every network")
    parser.add_argument("--envs", type=Path, default=Path(__file__).parent / ".venv", help="the peers' environments")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args(arguments)
    given.data, given.envs = given.data.resolve(), given.envs.resolve()
    results = Results(given.out)
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(given, results, Path(scratch))
        for peer in [] if given.table else given.peers:
            if peer == "noseprint":
                for seed in given.seeds:
                    comparison.noseprint(seed=seed)
            elif peer == "untrained":
                for size in SIZES:
                    setting = {"loss": LOSSES["timm"][0], "lr": 0.0, "size": size, "share": 0.0, "view": size}
                    comparison.finish(f"untrained at {size}", setting, seed=0)
            else:
                setting = comparison.tune(peer)
                for seed in given.seeds:
                    comparison.finish(peer, setting, seed=seed)
    print_table(results.records, given.data)


if __name__ == "__main__":
    main()
