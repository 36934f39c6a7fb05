"""Making a verifier from the photographs that no network was trained on."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.curves import Calibration
from noseprint.calibration.fitting import cross_fit_probabilities, fit_calibration
from noseprint.calibration.holdout_pairs import (
    LabelledPairs,
    NoVerifierError,
    choose_pairs,
    draw_balanced_pairs,
    draw_rows,
    read_held_out_share,
    read_photographs,
)
from noseprint.calibration.operating_points import choose_operating_points, least_supported_fmr
from noseprint.calibration.quality_limits import degraded_copies, learn_limits
from noseprint.calibration.reliability import ReliabilityScores, reliability_scores
from noseprint.calibration.verifier import HoldOut, Member, Verifier
from noseprint.command_line import Engine
from noseprint.data.decoding import decode
from noseprint.data.holdout import HOLD_OUT_MORE, holdout_hash
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A, apply_transform
from noseprint.devices import default_workers
from noseprint.metrics.similarity import Embeddings, Indices, ensemble_embeddings, row_similarities
from noseprint.models.embed import embed_with, embedder
from noseprint.models.weights import load_network
from noseprint.models.weights_header import fingerprint

DEGRADED = 40
"""Number of photographs that are degraded to learn the limits on quality."""


def make_verifier(
    weights: Mapping[str, Path], data: Path, *, device: torch.device, engine: Engine = "auto"
) -> Verifier:
    """Make the verifier of the networks with these `weights` (member -> file) from the hold-out in `data`.

    A pair has two held-out photographs, or a held-out one and one of a cohort of trained identities. Calibrations are
    fitted to a balanced draw of the pairs, and thresholds are chosen on all of them. Limits on the quality of a
    photograph are learned from degraded copies.

    Raises NoVerifierError if the weights have no hold-out, the data are not those of the training, or the hold-out
    is too small; NoseprintError if the members were trained on different identities.
    """
    share = read_held_out_share(weights)
    held_out, cohort = read_photographs(weights, data, share=share)
    table = held_out + cohort
    pairs = choose_pairs(table, len(held_out))
    rows = np.sort(draw_rows(len(held_out), DEGRADED))
    embeddings: dict[str, Embeddings] = {}
    copies: dict[str, Embeddings] = {}
    for name, path in weights.items():
        embeddings[name], copies[name] = _embed(path, name, table, rows, device=device, engine=engine)
    drawn = draw_balanced_pairs(pairs, table)
    members = []
    for name, path in weights.items():
        calibration, reliability = _calibrate(embeddings[name], table, drawn)
        members.append(Member(name, path.resolve(), fingerprint(path), calibration, reliability))
    ensemble = ensemble_embeddings(embeddings)
    calibration, reliability = _calibrate(ensemble, table, drawn)
    identity = np.unique(np.asarray(table.identities), return_inverse=True)[1]
    similarity = row_similarities(ensemble, pairs.a, pairs.b)
    labels = pairs.same, identity[pairs.a], identity[pairs.b]
    points = choose_operating_points(similarity, *labels)
    different = int((~pairs.same).sum())
    if not points:
        raise NoVerifierError(
            f"the hold-out has {different} different pairs, too few for any threshold: {HOLD_OUT_MORE}"
        )
    return Verifier(
        members=tuple(members),
        calibration=calibration,
        reliability=reliability,
        holdout=HoldOut(
            share=share,
            identities_hash=holdout_hash(held_out.identities),
            identities=len(set(held_out.identities)),
            photographs=len(held_out),
            cohort=len(cohort),
            same_pairs=len(pairs.same) - different,
            different_pairs=different,
        ),
        least_fmr=least_supported_fmr(*labels),
        points=points,
        quality=learn_limits(
            held_out,
            rows,
            embeddings=ensemble[: len(held_out)],
            copies=ensemble_embeddings(copies),
            threshold=points[-1].threshold,
            fmr=points[-1].fmr,
        ),
    )


def _embed(
    weights: Path, name: str, table: ImageTable, rows: Indices, *, device: torch.device, engine: Engine
) -> tuple[Embeddings, Embeddings]:
    """One network's embeddings (N, D) of the table, and (levels, K, D) of degraded copies of its `rows` (K,)."""
    network = load_network(weights)
    embed = embedder(network.to(device), device=device, engine=engine)
    resize = A.Resize(network.image_size, network.image_size)
    embeddings = embed_with(embed, table.paths, transform=resize, workers=default_workers(device), label=name)
    copies = []
    for row in rows:
        images = [apply_transform(resize, image, (0,)) for image in degraded_copies(decode(table.paths[row]))]
        batch = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
        copies.append(embed(torch.from_numpy(batch)).numpy())
    return embeddings, np.stack(copies, axis=1)


def _calibrate(
    embeddings: Embeddings, table: ImageTable, pairs: LabelledPairs
) -> tuple[Calibration, ReliabilityScores]:
    """The calibration of embeddings (N, D), and how reliable it is for identities that it has not seen."""
    names = np.asarray(table.identities)
    labelled = (row_similarities(embeddings, pairs.a, pairs.b), pairs.same, names[pairs.a], names[pairs.b])
    calibration = fit_calibration(*labelled)
    return calibration, reliability_scores(cross_fit_probabilities(*labelled), *labelled[1:])
