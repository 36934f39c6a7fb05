"""From a trained network and unlabelled pairs to the table of pseudo-identities: pseudo.csv and pseudo.json."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from noseprint.data.holdout import HOLDOUT_SEED, require_scorable, split_holdout
from noseprint.data.readable import readable_photographs
from noseprint.data.tables import PSEUDO_HEADER, ImageTable, read_pairs, write_csv
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import join_world, report_lost_ranks
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.inference.pseudo_labels import produce_pseudo
from noseprint.lock import lock
from noseprint.metrics.holdout_scores import evaluate_holdout
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network, read_header

WITHOUT_HOLDOUT = 500
"""Pairs that are taken, as the original did, where there is no hold-out to tell which are right."""


def write_pseudo_table(
    results: Path,
    *,
    data: Path,
    labelled: ImageTable,
    evaluation_transform: Callable[[int], Transform],
    precision: float,
    count: int | None,
    skip_bad: bool,
    device: str,
    workers: int | None,
) -> None:
    """Score the validation pairs of `data` with `results`/best.safetensors and write the pseudo-identities beside it.

    labelled: the table that the network was trained on; its hold-out sets the similarity at which a pair is accepted.
    evaluation_transform: from a side in pixels to what is done to each image. precision, count: see `produce_pseudo`.
    Under torchrun the ranks share the embedding, and rank 0 does the rest.
    """
    weights = results / "best.safetensors"
    network = load_network(weights)
    share = json.loads(read_header(weights).extra["training"])["holdout"]
    with (
        join_world(device) as joined,
        lock(results) if joined.is_main else nullcontext(),
        report_lost_ranks(joined.size),
    ):
        network.to(joined.device)
        held_out = split_holdout(labelled.identities, share=share)
        holdout = labelled.where(identity in held_out for identity in labelled.identities)
        pairs = read_pairs(data, "validation", missing_ok=True)
        needed = [*holdout.paths, *(pairs.folder / name for name in pairs.names())]
        skipped = results / "skipped_pseudo.csv" if joined.is_main else None
        readable = readable_photographs(needed, skip_bad=skip_bad, skipped_csv=skipped)
        holdout, pairs = holdout.where(path in readable for path in holdout.paths), pairs.among(readable)
        require_scorable(holdout.identities, share=share, encounters=holdout.encounters)
        if not len(pairs):
            raise NoseprintError(
                "no pair of validation photographs can be used: replace the broken ones, or train with --no-pseudo"
            )
        names = pairs.names()
        held_out_rows, rows = (
            embed_images(
                network,
                paths,
                transform=evaluation_transform(network.image_size),
                device=joined.device,
                workers=default_workers(joined.device) if workers is None else workers,
            )
            for paths in (list(holdout.paths), [pairs.folder / name for name in names])
        )
        if not joined.is_main:
            return
        scores = None
        if len(holdout):
            scores = evaluate_holdout(
                held_out_rows, holdout.identities, seed=HOLDOUT_SEED, encounters=holdout.encounters
            )
        pseudo = produce_pseudo(
            pairs,
            rows,
            {name: row for row, name in enumerate(names)},
            holdout_similarity=scores.similarity if scores else None,
            holdout_same=scores.same if scores else None,
            precision=precision,
            count=count if scores else count or WITHOUT_HOLDOUT,
            labelled=set(labelled.identities),
        )
        write_csv(results / "pseudo.csv", PSEUDO_HEADER, pseudo.rows)
        with atomic_write(results / "pseudo.json") as part:
            part.write_text(json.dumps(pseudo.summary, indent=1) + "\n")
        print(_summary(pseudo.summary, results / "pseudo.csv"), flush=True)


def _summary(summary: dict[str, Any], out: Path) -> str:
    """What was accepted, in two or three lines."""
    if summary["threshold"] is None:
        return f"no similarity reaches the precision asked for on the hold-out: no pseudo-identities. {out}"
    precision = "unknown"
    if estimate := summary["estimated_precision"]:
        precision = f"{estimate['precision']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    warning = ""
    if summary["accepted"] == summary["distinct_pairs"]:
        warning = "Every pair was accepted, wrong ones too: give --count, or hold identities out.\n"
    return warning + (
        f"{summary['accepted']} of {summary['distinct_pairs']} pairs accepted, similarity from "
        f"{summary['threshold']:.4f}; {len(summary['refused'])} of them refused as contradictions; "
        f"estimated precision {precision}\n"
        f"{summary['identities']} pseudo-identities of {summary['images']} images: {out}"
    )
