"""What each candidate of recipes/universal_embedding brings: python benchmarks/instance_ladder.py DATA --work FOLDER

Each seed trains its own heads and backbones by each method; the frozen backbones and the hold-out are the same. It
prints mP@5 and mAP of the test, as means over the seeds, and their gain over the best frozen backbone under PCA, with
paired intervals over the test identities. Finished trainings are kept in the work folder, and an interrupted run
continues.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noseprint.data.instances import ALL_DOMAINS, InstanceTable, read_instances
from noseprint.devices import choose_device
from noseprint.inference.embedding_choice import Judged, find_candidates, is_frozen_pca, judge
from noseprint.inference.embedding_sources import find_sources
from noseprint.metrics.instances import by_domain

FAMILY = Path(__file__).resolve().parents[1] / "recipes" / "universal_embedding"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with images.csv: image,identity,domain,part,role")
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--backbones", default="lite0,lite1,lite2", help="separated by commas")
    parser.add_argument("--methods", default="small", help="of phases/phases.py, separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--dim", type=int, default=64, help="dimensions of the embedding")
    parser.add_argument("--train", default="", help="more options of phases/train.py")
    options = parser.parse_args()
    family, backbones = options.work / FAMILY.name, options.backbones.split(",")
    shutil.copytree(FAMILY, family, ignore=shutil.ignore_patterns("results", "data"), dirs_exist_ok=True)
    if not (family / "prepare/results/small/instances.csv").is_file():
        run(family, options, "prepare/prepare.py", run="small")
    for backbone in backbones:
        if not (family / f"frozen/results/small/{backbone}/features.safetensors").is_file():
            run(family, options, "frozen/embed.py", "--part", backbone, run="small")
    table = read_instances(options.data, table=family / "prepare/results/small/instances.csv")
    found: dict[str, list[Judged]] = {}
    for method in options.methods.split(","):
        for seed in options.seeds.split(","):
            for one in judged(family, options, table, method=method, seed=seed):
                name = one.candidate.name.replace("trained", method)
                found.setdefault(name, []).append(one)
    report(found)


def judged(
    family: Path, options: argparse.Namespace, table: InstanceTable, *, method: str, seed: str
) -> Iterator[Judged]:
    """Train the heads and backbones of one method and seed, unless that is done; score all candidates."""
    name, backbones = f"{method}-{seed}", options.backbones.split(",")
    for step in ("prepare", "frozen"):
        link = family / step / "results" / name
        if not link.is_symlink():
            link.symlink_to("small")
    for backbone in backbones:
        for script, given in (("head/train.py", ()), ("phases/train.py", ("--method", method, *options.train.split()))):
            if not (family / Path(script).parent / "results" / name / backbone / "best.safetensors").is_file():
                own = ("--part", backbone, "--dim", options.dim, "--seed", seed)
                run(family, options, script, *own, *given, run=name)
    sources = find_sources(
        family,
        table,
        run=name,
        parts=backbones,
        stages=["phases"],
        data=options.data,
        device=choose_device("auto"),
    )
    for candidate in find_candidates(tuple(sources), table, dim=options.dim, seed=int(seed)):
        yield judge(candidate, table)


def run(family: Path, options: argparse.Namespace, script: str, *given: object, run: str) -> None:
    words = [sys.executable, script, "--small", "--run", run, "--data", str(options.data.resolve()), *map(str, given)]
    print("$", *words, flush=True)
    subprocess.run(words, cwd=family, check=True)


def report(found: dict[str, list[Judged]]) -> None:
    def mean(ones: list[Judged], name: str) -> np.ndarray:
        return np.mean([getattr(one.scores, name) for one in ones], axis=0)

    held_out = {name: float(np.mean([one.value for one in ones])) for name, ones in found.items()}
    plain = max((name for name, ones in found.items() if is_frozen_pca(ones[0].candidate)), key=lambda n: held_out[n])
    for name in sorted(found, key=lambda name: held_out[name]):
        ones = found[name]
        print(f"\n{name}: {len(ones)} runs, held-out mAP {held_out[name]:.3f}" + (" (base)" if name == plain else ""))
        for metric, label in (("precision_at_5", "mP@5"), ("average_precision", "mAP")):
            own, base = mean(ones, metric), mean(found[plain], metric)
            scores, gains = by_domain(own, ones[0].scores), by_domain(own, ones[0].scores, than=base)
            each = [by_domain(getattr(one.scores, metric), one.scores)[ALL_DOMAINS].value for one in ones]
            print(f"  {label} each run {', '.join(f'{value:.3f}' for value in each)}")
            for domain, score in scores.items():
                print(f"    {domain:16} {score}   gain {gains[domain].value:+.3f}", end="")
                print(f" [{gains[domain].low:+.3f}, {gains[domain].high:+.3f}]")


if __name__ == "__main__":
    main()
