"""Write the similarities of the pairs in a data folder."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from noseprint.calibration.curves import Calibration, calibration_from_json
from noseprint.data.readable import readable_photographs
from noseprint.data.tables import Split, read_pairs
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import join_world, report_lost_ranks
from noseprint.errors import NoseprintError
from noseprint.files import skipped_table
from noseprint.inference.infer_options import InferOptions
from noseprint.inference.similarity_table import write_similarities
from noseprint.lock import lock
from noseprint.metrics.similarity import pair_similarities
from noseprint.models.embed import embed_images
from noseprint.models.network import EmbeddingNet, SupConNet
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
    """Score the pairs of a split with the weights of a recipe folder: see `infer`.

    Args:
        folder: The recipe folder; `options.weights` replaces its weights.
        build_model: Builds the folder's network, which published weights (.pth) do not describe.
        options: Options of infer.py.
        evaluation: Makes the transform of each image, for an input side in pixels.
        degraded: Makes the transform that `options.degraded_transform` adds, likewise.
    """
    results = folder / "results" / options.run
    weights = options.weights or results / "best.safetensors"
    if weights.suffix == ".pth":
        published = build_model(pretrained=False)
        load_published(weights, published)
        network: EmbeddingNet = published
    else:
        network = load_network(weights, recipe=folder.name if options.weights else None)
    transforms = [evaluation(network.image_size)]
    if options.degraded_transform:
        transforms.append(degraded(network.image_size))
    infer(network, transforms=transforms, calibration=stored_calibration(weights), results=results, options=options)


def infer(
    network: EmbeddingNet,
    *,
    transforms: Sequence[Transform],
    calibration: Calibration | None,
    results: Path,
    options: InferOptions,
) -> None:
    """Write a row imageA,imageB,prediction[,probability] for each pair of a split.

    `prediction` is the cosine of the two embeddings, averaged over `transforms`. `probability` is the share of same
    pairs among pairs with this similarity, if half of all pairs are the same; it needs a calibration. Both are empty if
    a photograph of the pair is skipped (`options.skip_bad`). Under torchrun the processes share the images, and rank 0
    writes.

    Args:
        network: Embeds the images.
        transforms: What is done to each image; only embeddings from the same transform are compared.
        calibration: Of the network's cosines.
        results: Folder for similarity.csv (test pairs) or similarity_validation.csv (validation pairs).
        options: Options of infer.py.

    Raises:
        NoseprintError: A photograph cannot be read, and `options.skip_bad` is not set or no pair is left.
    """
    with (
        join_world(options.device) as world,
        lock(results) if world.is_main else nullcontext(),
        report_lost_ranks(world.size),
    ):
        out = results / _SIMILARITY[options.split]
        pairs = read_pairs(options.data, options.split, missing_ok=options.skip_bad)
        readable = readable_photographs(
            [pairs.folder / name for name in pairs.names()],
            skip_bad=options.skip_bad,
            skipped_csv=skipped_table(out),
        )
        good = {name for name in pairs.names() if pairs.folder / name in readable}
        kept = np.array([a in good and b in good for a, b in zip(pairs.image_a, pairs.image_b, strict=True)])
        answered = pairs.where(kept)
        if not len(answered):
            raise NoseprintError(f"{pairs.folder}: every pair has a photograph that cannot be read: replace them")
        names = answered.names()
        index = {name: row for row, name in enumerate(names)}
        network.to(world.device)
        start = time.monotonic()
        similarity = np.zeros(len(pairs), np.float32)
        for transform in transforms:
            embeddings = embed_images(
                network,
                [answered.folder / name for name in names],
                transform=transform,
                device=world.device,
                workers=default_workers(world.device) if options.workers is None else options.workers,
                batch_size=options.batch_size,
                seed=options.seed,
                engine=options.engine,
            )
            if world.is_main:
                similarity[kept] += pair_similarities(embeddings, index, answered) / np.float32(len(transforms))
        if not world.is_main:
            return
        probability = calibration.probability(similarity) if calibration else None
        write_similarities(out, pairs, similarity, probability=probability, skipped=~kept)
        print(f"{len(answered)} pairs of {len(names)} images in {time.monotonic() - start:.1f} s: {out}", flush=True)


def stored_calibration(weights: Path) -> Calibration | None:
    """The calibration in the header of a weights file; None if there is none, as in the checkpoints of 2022."""
    if weights.suffix == ".pth":
        return None
    stored = read_header(weights).extra.get("calibration")
    return calibration_from_json(stored) if stored else None
