"""Pairs of photographs to similarities, on disk."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noseprint.data.augment import View
from noseprint.data.tables import Split, read_pairs
from noseprint.devices import check_workers, choose_device, default_workers
from noseprint.errors import NoseprintError
from noseprint.lock import lock
from noseprint.matching.calibration import Platt
from noseprint.matching.embed import Engine, embed_images
from noseprint.matching.pairs import pair_similarities, write_similarities
from noseprint.models.network import SupConNet
from noseprint.models.weights import read_header
from noseprint.options import check_run_name

_SIMILARITY: dict[Split, str] = {"test": "similarity.csv", "validation": "similarity_validation.csv"}


@dataclass(frozen=True)
class InferOptions:
    """Options of every recipe's infer.py."""

    data: Path
    """Data folder, laid out as the README says."""
    run: str = ""
    """Name of the run: files lie in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run that train.py --small made; short for --run small."""
    weights: Path | None = None
    """Weights to use. None: results/RUN/best.safetensors. A .pth file is read as one of the checkpoints of 2022."""
    split: Split = "test"
    """Which pairs to score."""
    degraded_view: bool = False
    """Also compare a view degraded at random, seeded by image: the mean of both cosines, twice the time."""
    batch_size: int = 64
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: Engine = "auto"
    """auto: OpenVINO on a CPU where it is installed, several times as fast; in bf16 if the CPU has it."""
    workers: int | None = None
    """Processes that decode. None: by the machine."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if self.batch_size < 1:
            raise NoseprintError(f"--batch-size {self.batch_size}: must be at least 1")
        check_run_name(self.run)
        check_workers(self.workers)


def infer(
    network: SupConNet, *, views: Sequence[View], calibration: Platt | None, results: Path, options: InferOptions
) -> None:
    """Write the similarity of every pair of the split into `results`: imageA,imageB,prediction[,probability].

    Those of the test pairs go to similarity.csv, those of the validation pairs to similarity_validation.csv.

    prediction is the mean over `views` of the cosine of the two images' embeddings, each image embedded once a view;
    probability, where there is a calibration, is the share of such pairs that are the same where half of all are.
    """
    with lock(results):
        _infer(network, views=views, calibration=calibration, out=results / _SIMILARITY[options.split], options=options)


def _infer(
    network: SupConNet, *, views: Sequence[View], calibration: Platt | None, out: Path, options: InferOptions
) -> None:
    device = choose_device(options.device)
    pairs = read_pairs(options.data, options.split)
    names = pairs.names()
    index = {name: row for row, name in enumerate(names)}
    network.to(device)
    start = time.monotonic()
    similarity = np.zeros(len(pairs), np.float32)
    for view in views:
        embeddings = embed_images(
            network,
            [pairs.folder / name for name in names],
            view=view,
            device=device,
            workers=default_workers(device) if options.workers is None else options.workers,
            batch_size=options.batch_size,
            seed=options.seed,
            engine=options.engine,
        )
        similarity += pair_similarities(embeddings, index, pairs) / np.float32(len(views))
    write_similarities(out, pairs, similarity, probability=calibration.probability(similarity) if calibration else None)
    print(f"{len(pairs)} pairs of {len(names)} images in {time.monotonic() - start:.1f} s: {out}", flush=True)


def calibration_of(weights: Path) -> Platt | None:
    """The calibration stored beside the weights; None where they carry none, as the checkpoints of 2022."""
    if weights.suffix == ".pth":
        return None
    stored = read_header(weights).extra.get("calibration")
    return Platt.from_json(stored) if stored else None
