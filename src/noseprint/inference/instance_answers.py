"""Embeds photographs with the chosen network, and lists what each query of the test finds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch

from noseprint.data.csv_rows import write_csv
from noseprint.data.instance_options import EmbedInstancesOptions
from noseprint.data.instances import ALL_DOMAINS, InstanceTable
from noseprint.data.views import View
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.files import skipped_table
from noseprint.inference.gallery import GalleryEmbeddings, embed_gallery, gallery_of, write_gallery
from noseprint.inference.photograph_records import check_photographs
from noseprint.inference.views import embed_views
from noseprint.metrics.instances import by_domain, score_instances
from noseprint.models.limit import check_limit
from noseprint.models.weights import load_projection

ANSWERS = ("query", "identity", "rank", "found", "found identity", "similarity")
"""The columns of prediction.csv; the identities are those of the table."""
FOUND = 5
"""Photographs that are listed for each query."""


def embed_instances(
    weights: Path,
    folder: Path,
    names: Sequence[str],
    *,
    options: EmbedInstancesOptions,
    device: torch.device,
    out: Path,
) -> GalleryEmbeddings:
    """Embed photographs in `folder`, check the limit of the network, and write the gallery `out`.

    Raises NoseprintError for an unknown view, rows that break the limit, and as `embed_gallery` does.
    """
    views = _views(options.views)
    skipped, dim = skipped_table(out), load_projection(weights).dim
    if views == ("plain",):
        found = embed_gallery(
            [weights],
            folder,
            names,
            device=device,
            skip_bad=options.skip_bad,
            skipped_csv=skipped,
            keep_beside=out if skipped else None,
        )
    else:
        kept, records = check_photographs(folder, names, skip_bad=options.skip_bad, skipped_csv=skipped)
        rows = embed_views(
            load_projection(weights).to(device),
            [folder / name for name in kept],
            views=views,
            device=device,
            workers=default_workers(device) if options.workers is None else options.workers,
            engine="auto",
        )
        found = gallery_of(rows, kept, weights=[weights], folder=folder, records=records)
    check_limit(found.matrix, dim=dim)
    write_gallery(out, found)
    return found


def write_answers(path: Path, found: GalleryEmbeddings, test: InstanceTable) -> Iterator[str]:
    """Write the nearest photographs of the index for each query, and return the scores as lines of text."""
    rows = found.rows_of(test.names)
    query, index = np.flatnonzero(test.is_query), np.flatnonzero(test.is_index)
    similarity = rows[query] @ rows[index].T
    similarity[query[:, None] == index] = -np.inf  # an image never finds itself
    lines = []
    for row, of_query in zip(query, similarity, strict=True):
        order = np.argsort(-of_query, kind="stable")[:FOUND]
        for rank, (at, value) in enumerate(zip(index[order], of_query[order], strict=True), 1):
            if np.isfinite(value):
                own = (test.names[row], test.identities[row], rank, test.names[at], test.identities[at])
                lines.append((*own, f"{value:.6f}"))
    scores = score_instances(
        rows, identities=test.identities, domains=test.domains, queries=test.is_query, index=test.is_index
    )
    write_csv(path, ANSWERS, lines)
    yield f"{len(query)} queries among {len(index)} photographs: {path}"
    precision, average = (by_domain(values, scores) for values in (scores.precision_at_5, scores.average_precision))
    for domain in (ALL_DOMAINS, *(name for name in precision if name != ALL_DOMAINS)):
        yield f"{domain}: mP@5 {precision[domain]}, mAP {average[domain]}"


def _views(text: str) -> tuple[View, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in get_args(View)]:
        raise NoseprintError(
            f"--views {text}: there is no view {unknown[0]!r}; choose from {', '.join(get_args(View))}"
        )
    return cast(tuple[View, ...], names)
