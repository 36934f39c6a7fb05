"""Pairs of photographs to similarities, on disk."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from noseprint.calibration.curves import Calibration, calibration_from_json
from noseprint.data.tables import Split, read_pairs
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import World, join_world, report_lost_ranks
from noseprint.inference.infer_options import InferOptions
from noseprint.inference.similarity_table import write_similarities
from noseprint.lock import lock
from noseprint.metrics.similarity import pair_similarities
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.published import load_published
from noseprint.models.weights import load_network
from noseprint.models.weights_header import read_header

_SIMILARITY: dict[Split, str] = {"test": "similarity.csv", "validation": "similarity_validation.csv"}


def infer_folder(
    folder: Path,
    build_model: Callable[..., SupConNet],
    options: InferOptions,
    *,
    evaluation: Callable[[int], Transform],
    degraded: Callable[[int], Transform],
) -> None:
    """Score the pairs of a split with the weights of a recipe `folder`, or with `options.weights`: see `infer`.

    build_model: the folder's network, for published weights that do not describe theirs. evaluation, degraded: from a
    side in pixels to what is done to each image.
    """
    results = folder / "results" / options.run
    weights = options.weights or results / "best.safetensors"
    if weights.suffix == ".pth":
        network = build_model(pretrained=False)
        load_published(weights, network)
    else:
        network = load_network(weights, recipe=folder.name if options.weights else None)
    transforms = [evaluation(network.image_size)]
    if options.degraded_transform:
        transforms.append(degraded(network.image_size))
    infer(network, transforms=transforms, calibration=calibration_of(weights), results=results, options=options)


def infer(
    network: SupConNet,
    *,
    transforms: Sequence[Transform],
    calibration: Calibration | None,
    results: Path,
    options: InferOptions,
) -> None:
    """Write the similarity of every pair of the split into `results`: imageA,imageB,prediction[,probability].

    Those of the test pairs go to similarity.csv, those of the validation pairs to similarity_validation.csv.

    prediction is the mean over `transforms` of the cosine of the two images' embeddings;
    probability, where there is a calibration, is the share of such pairs that are the same where half of all are. Under
    torchrun the ranks share the images and rank 0 writes.
    """
    with (
        join_world(options.device) as place,
        lock(results) if place.is_main else nullcontext(),
        report_lost_ranks(place.size),
    ):
        out = results / _SIMILARITY[options.split]
        _infer(network, transforms=transforms, calibration=calibration, out=out, options=options, place=place)


def _infer(
    network: SupConNet,
    *,
    transforms: Sequence[Transform],
    calibration: Calibration | None,
    out: Path,
    options: InferOptions,
    place: World,
) -> None:
    pairs = read_pairs(options.data, options.split)
    names = pairs.names()
    index = {name: row for row, name in enumerate(names)}
    network.to(place.device)
    start = time.monotonic()
    similarity = np.zeros(len(pairs), np.float32)
    for transform in transforms:
        embeddings = embed_images(
            network,
            [pairs.folder / name for name in names],
            transform=transform,
            device=place.device,
            workers=default_workers(place.device) if options.workers is None else options.workers,
            batch_size=options.batch_size,
            seed=options.seed,
            engine=options.engine,
        )
        if place.is_main:
            similarity += pair_similarities(embeddings, index, pairs) / np.float32(len(transforms))
    if not place.is_main:
        return
    write_similarities(out, pairs, similarity, probability=calibration.probability(similarity) if calibration else None)
    print(f"{len(pairs)} pairs of {len(names)} images in {time.monotonic() - start:.1f} s: {out}", flush=True)


def calibration_of(weights: Path) -> Calibration | None:
    """The calibration stored beside the weights; None where they carry none, as the checkpoints of 2022."""
    if weights.suffix == ".pth":
        return None
    stored = read_header(weights).extra.get("calibration")
    return calibration_from_json(stored) if stored else None
