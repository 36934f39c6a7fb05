"""Find pseudo-identities among the validation pairs with the network of train.py: results/pseudo.csv, pseudo.json."""

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from noseprint.command_line import check_run_name, check_workers, run
from noseprint.errors import NoseprintError

HERE = Path(__file__).resolve().parent
WITHOUT_HOLDOUT = 500  # pairs, as the original took, where no hold-out tells which are right


@dataclass(frozen=True)
class Options:
    """Find pseudo-identities among the validation pairs."""

    data: Path = HERE.parent / "data"
    """Data folder, laid out as the README says."""
    run: str = ""
    """Name of the run: files lie in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run that train.py --small made; short for --run small."""
    precision: float = 0.95
    """Take every pair above the similarity at which this share of the hold-out pairs is right."""
    count: int | None = None
    """Take this many of the best pairs instead."""
    skip_bad: bool = False
    """Leave out the photographs that are missing or broken, and list them in skipped_pseudo.csv."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode. None: by the machine."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        check_run_name(self.run)
        check_workers(self.workers)
        if self.count is not None and self.count < 1:
            raise NoseprintError(f"--count {self.count}: must be at least 1")
        if not 0.5 <= self.precision < 1:
            raise NoseprintError(f"--precision {self.precision}: must be in 0.5..1, such as 0.95")


def main(options: Options) -> None:
    """Score, choose, merge, write. Under torchrun the ranks share the embedding, and rank 0 does the rest."""
    from dataset import evaluation_transform, training_table  # here, not above: what wants torch takes seconds to load

    from noseprint.data.holdout import HOLDOUT_SEED, require_scorable, split_holdout
    from noseprint.data.readable import readable_photographs
    from noseprint.data.tables import PSEUDO_HEADER, read_pairs, write_csv
    from noseprint.devices import default_workers
    from noseprint.distributed import telling_of_lost_ranks, world
    from noseprint.files import atomic_write
    from noseprint.inference.pseudo_labels import produce_pseudo
    from noseprint.lock import lock
    from noseprint.metrics.holdout_scores import evaluate_holdout
    from noseprint.models.embed_shared import embed_shared
    from noseprint.models.weights import load_network, read_header

    results = HERE / "results" / options.run
    weights = results / "best.safetensors"
    network = load_network(weights)
    training = json.loads(read_header(weights).extra["training"])

    with (
        world(options.device) as place,
        lock(results) if place.is_main else nullcontext(),
        telling_of_lost_ranks(place.size),
    ):
        network.to(place.device)
        labelled = training_table(options.data)
        held_out = split_holdout(labelled.identities, share=training["holdout"], seed=HOLDOUT_SEED)
        holdout = labelled.where(identity in held_out for identity in labelled.identities)
        pairs = read_pairs(options.data, "validation", missing_ok=True)
        needed = [*holdout.paths, *(pairs.folder / name for name in pairs.names())]
        skipped = results / "skipped_pseudo.csv" if place.is_main else None
        sound = readable_photographs(needed, skip_bad=options.skip_bad, skipped_csv=skipped)
        holdout, pairs = holdout.where(path in sound for path in holdout.paths), pairs.among(sound)
        require_scorable(holdout.identities, share=training["holdout"], encounters=holdout.encounters)
        if not len(pairs):
            raise NoseprintError("no pair of validation photographs can be used: mend them, or train with --no-pseudo")
        names = pairs.names()
        known, asked = (
            embed_shared(
                network,
                paths,
                transform=evaluation_transform(network.image_size),
                device=place.device,
                workers=default_workers(place.device) if options.workers is None else options.workers,
            )
            for paths in (list(holdout.paths), [pairs.folder / name for name in names])
        )
        if not place.is_main:
            return
        scores = None
        if len(holdout):
            scores = evaluate_holdout(known, holdout.identities, seed=HOLDOUT_SEED, encounters=holdout.encounters)
        found = produce_pseudo(
            pairs,
            asked,
            {name: row for row, name in enumerate(names)},
            holdout_similarity=scores.similarity if scores else None,
            holdout_same=scores.same if scores else None,
            precision=options.precision,
            count=options.count if scores else options.count or WITHOUT_HOLDOUT,
            labelled=set(labelled.identities),
        )
        write_csv(results / "pseudo.csv", PSEUDO_HEADER, found.rows)
        with atomic_write(results / "pseudo.json") as part:
            part.write_text(json.dumps(found.summary, indent=1) + "\n")
        print(describe(found.summary, results / "pseudo.csv"), flush=True)


def describe(summary: dict, out: Path) -> str:
    """The summary in two or three lines."""
    estimate = summary["estimated_precision"]
    known = (
        "unknown"
        if estimate is None
        else f"{estimate['precision']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    )
    if summary["threshold"] is None:
        return f"no similarity reaches the precision asked for on the hold-out: no pseudo-identities. {out}"
    all_of_them = summary["accepted"] == summary["distinct_pairs"]
    return ("Every pair was taken, wrong ones too: give --count, or hold identities out.\n" * all_of_them) + (
        f"{summary['accepted']} of {summary['distinct_pairs']} pairs accepted, similarity from "
        f"{summary['threshold']:.4f}; "
        f"{len(summary['refused'])} of them refused as contradictions; estimated precision {known}\n"
        f"{summary['identities']} pseudo-identities of {summary['images']} images: {out}"
    )


if __name__ == "__main__":
    run(main, full=Options(), small=replace(Options(), run="small", small=True))
