"""Soups: means of the weights of networks that the phases of one training left with the same projection."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from noseprint.data.csv_rows import read_rows
from noseprint.data.instances import InstanceTable, distractors
from noseprint.data.transforms import A
from noseprint.devices import default_workers
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.inference.reduction import greedy_soup, soup
from noseprint.metrics.instances import domain_mean, score_instances
from noseprint.models.embed import embed_images
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import load_projection


def best_soup(
    folder: Path, table: InstanceTable, *, device: torch.device
) -> tuple[ProjectionNet, tuple[Path, ...]] | None:
    """The greedy soup of the networks after each phase of a training, and the files in it; None if one alone is best.

    folder: of one training, as `run_phases` leaves it. Only networks with the same projection can be mixed:
    those of phases that trained the backbone, not the head. The hold-out of the table decides, by the mean over domains
    of the average precision.
    """
    files = max(_same_projection(_networks(folder)), key=len, default=())
    among = set(distractors(table.part("train")).names)
    searched = table.where(part == "val" or name in among for part, name in zip(table.parts, table.names, strict=True))
    held_out = np.array(searched.parts) == "val"

    def score(network: ProjectionNet) -> float:
        rows = embed_images(
            network.to(device),
            searched.paths,
            transform=A.Resize(network.image_size, network.image_size),
            device=device,
            workers=default_workers(device),
            label="soup",
        )
        found = score_instances(
            rows,
            identities=searched.identities,
            domains=searched.domains,
            queries=held_out & searched.is_query,
            index=~held_out | searched.is_index,
        )
        return domain_mean(found.average_precision, found.domains)

    if len(files) < 2:
        return None
    joined = greedy_soup(files, score=score)
    return (soup(joined), joined) if len(joined) > 1 else None


def _networks(folder: Path) -> list[Path]:
    """The network that a training began with and those after its phases, in the order of phases.csv.

    The folder may have others: of a training with other phases.
    """
    faults, phases = list[Fault](), folder / "phases.csv"
    if not phases.is_file():
        raise NoseprintError(f"{phases} is missing: run the training in {folder} again")
    names = [name for _, (name,) in read_rows(phases, ("phase",), faults=faults)]
    if faults:
        raise DataError(faults)
    folders = [f"{number}-{name}" if number else name for number, name in enumerate(names)]
    return [folder / name / "best.safetensors" for name in folders]


def _same_projection(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """The files in groups whose networks have the same configuration and projection, without equal networks."""
    groups: dict[tuple[str, bytes], dict[str, Path]] = {}
    for path in files:
        network = load_projection(path)
        layers = [np.asarray(part.detach()).tobytes() for part in network.projection.parameters()]
        groups.setdefault((str(network.config()), b"".join(layers)), {}).setdefault(network.content_hash(), path)
    return [tuple(group.values()) for group in groups.values()]
