"""Does a change of a recipe help on several sets of photographs, and hurt on none?

An arm is a version of the recipe: a checkout (`.`, or an older git worktree) and options of its train.py. Each arm
learns from two thirds of the identities of each data folder, without pseudo-labels. The other third is set aside, the
same for all arms and seeds: no training sees it, and its photographs are searched among each other. Each arm embeds
them with its own code, trained and untrained. Identities with one photograph are only learned from.

    python benchmarks/sets.py OUT.jsonl --data DIR... --arm "before=CHECKOUT OPTIONS..." --arm "now=. OPTIONS..."
        [--recipe swin224_stage1] [--seeds 0 1 2] [--by-domain [N]] [--table]

Each finished (set, arm, seed) becomes a line of OUT and is not run again. Weights stay in CHECKOUT/RECIPE/results/, and
the messages of the trainings in OUT.files/. In the tables, a score is the mean over the seeds with its 95 % interval
over identities. A change is paired by photograph and seed; ± is its standard deviation over the seeds. Memory is the
peak of the largest process of the training.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noseprint.command_line import friendly_errors
from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import find_faults
from noseprint.data.holdout import split_holdout
from noseprint.data.tables import TRAIN_HEADER, read_train
from noseprint.errors import DataError, NoseprintError
from noseprint.metrics.bootstrap import Score, bootstrap_difference, bootstrap_mean
from noseprint.metrics.retrieval import retrieval_metrics

SET_ASIDE_SEED = 1  # unlike that of the hold-out, which judges the weights
METRICS = ("mAP", "Rank-1")
# Runs in the recipe folder of an arm, with its code: WEIGHTS, OUT.npz, and the photographs as JSON on standard input.
EMBED = """
import json, sys
from pathlib import Path
import numpy as np
from dataset import evaluation_transform
from noseprint.devices import choose_device, default_workers
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header
paths, device, header = [*map(Path, json.load(sys.stdin))], choose_device("auto"), read_header(Path(sys.argv[1]))
name, size = header.backbone, header.image_size
networks = {"trained": load_network(Path(sys.argv[1])),
            "untrained": SupConNet(name, descriptors=header.descriptors, image_size=size)}
settings = {"device": device, "workers": default_workers(device), "engine": "auto"}
rows = {which: embed_images(network.to(device), paths, transform=evaluation_transform(size), **settings)
        for which, network in networks.items()}
np.savez(sys.argv[2], network=f"{name}, {size} px", **rows)
"""

Line = dict  # of OUT
Values = dict[int, np.ndarray]  # seed -> the scores of Q photographs


class Arm(NamedTuple):
    name: str
    checkout: Path
    options: list[str]

    @classmethod
    def parse(cls, text: str) -> "Arm":
        name, _, rest = text.partition("=")
        if not name or not rest.strip():
            raise argparse.ArgumentTypeError(f"{text!r}: write NAME=CHECKOUT OPTIONS..., such as 'now=. --steps 400'")
        checkout, *options = shlex.split(rest)
        return cls(name, Path(checkout).resolve(), options)


class PhotographSet:
    """A data folder: the photographs set aside, and below `scratch` a data folder with the others."""

    def __init__(self, data: Path, scratch: Path) -> None:
        self.name, self.scratch, self.learned = data.absolute().name, scratch, scratch / data.absolute().name
        table = read_train(data)
        chosen = split_holdout(table.identities, share=1 / 3, seed=SET_ASIDE_SEED)
        self.set_aside = table.where(identity in chosen for identity in table.identities)
        if faults := find_faults(self.set_aside.paths):
            raise DataError(faults)
        columns = (table.identities, [path.name for path in table.paths], *filter(None, [table.encounters]))
        rows = list(zip(*columns, strict=True))
        self.checksum = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
        images = self.learned / "train" / "images"
        images.parent.mkdir(parents=True, exist_ok=True)
        images.unlink(missing_ok=True)
        images.symlink_to(table.paths[0].parent.resolve())
        header = (*TRAIN_HEADER, *filter(None, [table.encounter_column]))
        write_csv(images.parent / "train_data.csv", header, (row for row in rows if row[0] not in chosen))

    def run(self, arm: Arm, *, recipe: str, seed: int) -> Line:
        """Train and score; return the line of OUT."""
        folder = arm.checkout / recipe
        run = re.sub(r"[^\w.-]", "-", f"sets-{self.scratch.stem}-{self.name}-{arm.name}-{seed}")
        path = os.pathsep.join([str(arm.checkout / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        common = ["--small", "--no-pseudo", "--restart", "--data", self.learned, "--run", run, "--seed", str(seed)]
        describe = ["git", "-C", arm.checkout, "describe", "--always", "--dirty", "--exclude", "*"]
        version = subprocess.run(describe, check=False, capture_output=True, text=True).stdout.strip() or "not in git"
        weights, embeddings = folder / "results" / run / "best.safetensors", self.scratch / f"{run}.npz"
        with (self.scratch / f"{run}.log").open("w") as log:
            settings = {"stdout": log, "stderr": log, "env": os.environ | {"PYTHONPATH": path}}
            cost = timed([sys.executable, folder / "train.py", *common, *arm.options], **settings)
            embed, paths = [sys.executable, "-c", EMBED, weights, embeddings], [*map(str, self.set_aside.paths)]
            subprocess.run(embed, input=json.dumps(paths), text=True, cwd=folder, check=True, **settings)
        line = {"set": self.name, "checksum": self.checksum, "arm": arm.name, "options": [recipe, *arm.options]}
        line |= {"version": version, "seed": seed, **cost}
        identities = np.array(self.set_aside.identities)
        with np.load(embeddings) as file:
            line["network"] = str(file["network"])
            for which in ("trained", "untrained"):
                found = retrieval_metrics(file[which], identities, encounters=self.set_aside.encounters)
                values = zip(METRICS, (found.average_precision, found.hit[:, 0]), strict=True)
                line[which] = {metric: each.round(6).tolist() for metric, each in values}
        line["images"] = [self.set_aside.paths[row].name for row in found.query]
        return line | {"identities": identities[found.query].tolist()}


def timed(command: list[str | Path], **settings: object) -> dict[str, float]:
    """Run a command, and return what it took."""
    start = time.monotonic()
    with subprocess.Popen(command, **settings) as process:
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, shlex.join(map(str, command)))
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": time.monotonic() - start, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": peak}


def values(lines: list[Line], arm: str, which: str, metric: str) -> Values:
    return {line["seed"]: np.array(line[which][metric]) for line in lines if line["arm"] == arm}


def change(now: Values, then: Values, identities: list[str]) -> Score | None:
    """The paired change with its interval; None if no seed is common."""
    if not (seeds := now.keys() & then.keys()):
        return None
    return bootstrap_difference(*(np.mean([of[s] for s in seeds], axis=0) for of in (now, then)), identities, seed=0)


def change_cell(now: Values, then: Values, identities: list[str]) -> str:
    if not (score := change(now, then, identities)):
        return ""
    by_seed = [np.mean(now[seed] - then[seed]) for seed in now.keys() & then.keys()]
    spread = f" ± {np.std(by_seed, ddof=1):.4f}" if len(by_seed) > 1 else ""
    return f"{score.value:+.4f} [{score.low:+.4f}, {score.high:+.4f}]{spread}"


def print_table(title: str, lines: list[Line], arms: list[str]) -> None:
    """The table of one set: a row for each of `arms`, below the untrained networks from which they start."""
    identities = lines[0]["identities"]
    print(f"\n**{title}: {len(identities)} photographs of {len(set(identities))} identities**\n")
    columns = [f"{metric}{of}" for metric in METRICS for of in ("", " over untrained", f" against {arms[0]}")]
    print(f"| | seeds | {' | '.join(columns)} | seconds | CPU s | peak GB |\n|{'---|' * (len(columns) + 5)}")
    present = {arm: own for arm in arms if (own := [line for line in lines if line["arm"] == arm])}
    rows = {f"untrained {own[0]['network']}": (arm, "untrained", own) for arm, own in present.items()}
    for arm, own in present.items():
        rows[f"{arm} ({', '.join(dict.fromkeys(line['version'] for line in own))})"] = (arm, "trained", own)
    for label, (arm, which, own) in rows.items():
        cells = [label, str(len(own))]
        for metric in METRICS:
            now = values(lines, arm, which, metric)
            mean = np.mean([*now.values()], axis=0)
            cells.append(str(Score(mean.mean(), *bootstrap_mean(mean, identities, seed=0))))
            for other in ((arm, "untrained"), (arms[0], "trained")):
                then = values(lines, *other, metric)
                cells.append("" if other == (arm, which) else change_cell(now, then, identities))
        costs = [[line["seconds"], line["cpu_seconds"], line["peak_bytes"] / 1e9] for line in own]
        cells.append("{:.0f} | {:.0f} | {:.2f}".format(*np.mean(costs, axis=0)) if which == "trained" else "| |")
        print(f"| {' | '.join(cells)} |")


def of_domain(line: Line, domain: str) -> Line:
    """The line with the identities of one domain only."""
    chosen = np.array([name.partition("/")[0] == domain for name in line["identities"]])
    parts = {which: {m: np.array(line[which][m])[chosen] for m in METRICS} for which in ("trained", "untrained")}
    return {**line, **parts, "identities": np.array(line["identities"])[chosen].tolist()}


def print_tables(lines: list[Line], arms: list[str], *, least: int | None) -> None:
    """A table for each set, and for each domain with `least` identities; then the changes over all sets."""
    names = dict.fromkeys(line["set"] for line in lines)
    sets = {name: [line for line in lines if line["set"] == name] for name in names}
    for name, own in sets.items():
        print_table(name, own, arms)
        domains = Counter(one.partition("/")[0] for one in sorted(set(own[0]["identities"])) if "/" in one)
        for domain, identities in domains.items() if least else ():
            if identities < least:
                print(f"\n{name}, {domain}: {identities} identities, fewer than {least}")
            else:
                print_table(f"{name}, {domain}", [of_domain(line, domain) for line in own], arms)
    print()
    for arm, metric in itertools.product(arms[1:], METRICS):
        pairs = {n: [values(own, one, "trained", metric) for one in (arm, arms[0])] for n, own in sets.items()}
        changes = {n: score for n, pair in pairs.items() if (score := change(*pair, sets[n][0]["identities"]))}
        if changes:
            mean = np.mean([score.value for score in changes.values()])
            helped = ", ".join(name for name, score in changes.items() if score.low > 0) or "none"
            hurt = ", ".join(name for name, score in changes.items() if score.high < 0) or "none"
            print(f"{arm} against {arms[0]}, {metric}: {mean:+.4f}, the mean of {len(changes)} sets; ", end="")
            print(f"better beyond its interval: {helped}; worse: {hurt}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="data folders, of which train/ is used")
    parser.add_argument("--arm", type=Arm.parse, action="append", default=[], help="'NAME=CHECKOUT OPTIONS...'")
    parser.add_argument("--recipe", default="swin224_stage1", help="a recipe folder of each checkout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    by_domain = "also print each domain (DOMAIN/NAME is the identity) with N identities set aside; N: 10 by default"
    parser.add_argument("--by-domain", type=int, nargs="?", const=10, metavar="N", help=by_domain)
    parser.add_argument("--table", action="store_true", help="only print the tables of OUT")
    given = parser.parse_args()
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.is_file() else []
    names = [arm.name for arm in given.arm], [data.absolute().name for data in given.data]
    problems = [f"{name!r} is the name of {n}" for of in names for name, n in Counter(of).items() if n > 1]
    known = {line["arm"]: line["options"] for line in lines}
    for arm in given.arm:
        if not (arm.checkout / given.recipe / "train.py").is_file():
            problems.append(f"{arm.checkout} has no {given.recipe}/train.py")
        if known.get(arm.name, [given.recipe, *arm.options]) != [given.recipe, *arm.options]:
            problems.append(f"{given.out} has {arm.name!r} as {shlex.join(known[arm.name])!r}: give it another name")
    if not given.table and not (given.arm and given.data):
        problems.append("give --data and --arm")
    if problems:
        parser.error("; ".join(problems))
    scratch, failed = given.out.absolute().with_suffix(".files"), []
    sets = [] if given.table else [PhotographSet(data, scratch) for data in given.data]
    checksums = {line["set"]: line["checksum"] for line in lines}
    if changed := [one.name for one in sets if checksums.get(one.name, one.checksum) != one.checksum]:
        parser.error(f"{given.out} has scores of other photographs of {', '.join(changed)}: give another OUT")
    done = {(line["set"], line["arm"], line["seed"]) for line in lines}
    for seed, one, arm in itertools.product(given.seeds, sets, given.arm):
        if (one.name, arm.name, seed) in done:
            continue
        print(f"== {one.name}, {arm.name}, seed {seed}", file=sys.stderr, flush=True)
        try:
            lines.append(one.run(arm, recipe=given.recipe, seed=seed))
        except (subprocess.CalledProcessError, NoseprintError) as error:
            failed.append(f"{one.name}, {arm.name}, seed {seed}: {error}")
            continue
        with given.out.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    if lines:
        arms = [arm.name for arm in given.arm] or list(dict.fromkeys(line["arm"] for line in lines))
        print_tables(lines, arms, least=given.by_domain)
    if failed:
        sys.exit("\n".join([f"error: {len(failed)} trainings failed; their messages are in {scratch}", *failed]))


if __name__ == "__main__":
    with friendly_errors():
        main()
