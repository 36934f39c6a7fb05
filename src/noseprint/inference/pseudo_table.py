"""Write the pseudo-labels of the validation pairs: pseudo.csv and pseudo.json."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import HOLDOUT_SEED, require_scorable, split_holdout
from noseprint.data.readable import readable_photographs
from noseprint.data.tables import PSEUDO_HEADER, ImageTable, read_pairs
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import join_world, report_lost_ranks
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.inference.pseudo_labels import produce_pseudo_labels
from noseprint.lock import lock
from noseprint.metrics.holdout_scores import evaluate_holdout
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network, read_header

WITHOUT_HOLDOUT = 500
"""Pairs to choose if there is no hold-out to set a threshold by, as in 2022."""


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
    """Score the validation pairs with `results`/best.safetensors, and write pseudo.csv and pseudo.json beside it.

    Under torchrun the processes share the embedding, and rank 0 does the rest.

    Args:
        results: Folder of the network's weights.
        data: Data folder.
        labelled: The table that the network was trained on; its hold-out sets the threshold.
        evaluation_transform: Makes the transform of each image, for an input side in pixels.
        precision: As for `produce_pseudo_labels`.
        count: As for `produce_pseudo_labels`.
        skip_bad: Leave out unreadable photographs, and list them in skipped_pseudo.csv.
        device: auto, cpu, cuda, cuda:1 or mps.
        workers: Processes that decode photographs; None: as many as suit the machine.

    Raises:
        NoseprintError: No validation pair has two readable photographs, the hold-out cannot be scored, or as for
            `load_network` and `readable_photographs`.
    """
    weights = results / "best.safetensors"
    network = load_network(weights)
    share = read_header(weights).holdout_share or 0
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
        readable = readable_photographs(needed, skip_bad=skip_bad, skipped_csv=results / "skipped_pseudo.csv")
        holdout, pairs = holdout.where(path in readable for path in holdout.paths), pairs.among(readable)
        require_scorable(
            holdout.identities, share=share, encounters=holdout.encounters, encounter_column=holdout.encounter_column
        )
        if not len(pairs):
            raise NoseprintError(
                "every validation pair has an unreadable photograph: replace them, or train with --no-pseudo"
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
        pseudo = produce_pseudo_labels(
            pairs,
            rows,
            {name: row for row, name in enumerate(names)},
            holdout=scores,
            precision=precision,
            count=count if scores else count or WITHOUT_HOLDOUT,
            labelled=set(labelled.identities),
        )
        write_csv(results / "pseudo.csv", PSEUDO_HEADER, pseudo.rows)
        with atomic_write(results / "pseudo.json") as part:
            part.write_text(json.dumps(pseudo.summary, indent=1) + "\n")
        print(_summary(pseudo.summary, results / "pseudo.csv"), flush=True)


def _summary(summary: dict[str, Any], out: Path) -> str:
    """The result in two or three lines."""
    if summary["threshold"] is None:
        return f"no pseudo-identities, because no threshold reaches this precision on the hold-out: {out}"
    precision = "unknown"
    if estimate := summary["estimated_precision"]:
        precision = (
            f"{estimate['precision']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}], by "
            f"{estimate['individuals']} held-out individuals"
        )
    warning = ""
    if summary["accepted"] == summary["distinct_pairs"]:
        warning = "Every pair was chosen, including wrong ones: hold identities out, or give a lower --count.\n"
    return warning + (
        f"{summary['accepted']} of {summary['distinct_pairs']} pairs chosen, with a similarity of at least "
        f"{summary['threshold']:.4f}; {len(summary['refused'])} of them refused as contradictions; "
        f"estimated precision {precision}\n"
        f"{summary['identities']} pseudo-identities with {summary['images']} images: {out}"
    )
