"""The backbones of a run, frozen and trained, with their features of all photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from noseprint.data.instances import InstanceTable
from noseprint.errors import NoseprintError
from noseprint.inference.gallery import GalleryEmbeddings, embed_gallery, read_gallery, write_gallery
from noseprint.inference.phase_soups import best_soup
from noseprint.inference.photograph_records import Records, find_changes
from noseprint.inference.reduction import Floats, Projection
from noseprint.models.projection_net import ProjectionNet, plan_network
from noseprint.models.weights import fingerprint, load_projection, save_weights
from noseprint.models.weights_header import read_header

STAGES = {"phases": "trained", "large": "larger"}
"""The stages that train a backbone, and what its source is called."""
BACKBONE = "backbone.safetensors"
"""The file of a backbone beside its features."""


@dataclass(frozen=True)
class Source:
    """A backbone, frozen or trained, and its features of all photographs of the table."""

    name: str
    weights: Path
    """A ProjectionNet whose projection leaves the features as they are."""
    features: Floats
    """(N, F) of the photographs, in the order of the table."""
    size: int
    """Side of its input in pixels."""
    records: Records
    """Of the photographs, as they were when the features were computed."""
    is_trained: bool = False
    head: Projection | None = None
    """The projection that was trained on it."""


def joined(sources: Sequence[Source]) -> Floats:
    """The features of several sources side by side: (N, F)."""
    return np.concatenate([source.features for source in sources], axis=1)


def keep_features(
    network: ProjectionNet, folder: Path, *, data: Path, names: Sequence[str], device: torch.device
) -> GalleryEmbeddings:
    """The features that the backbones of a network give for photographs, without its projection; computed once.

    folder: gets backbone.safetensors and features.safetensors; the latter is a gallery that `noseprint search` takes.
    If they are there for the same backbones and photographs, they are read. names: of photographs in the folder `data`.
    """
    weights, kept = folder / BACKBONE, folder / "features.safetensors"
    columns = network.projection.in_features
    bare = plan_network(network.plan, dim=columns, image_size=network.image_size, like=network).eval()
    for own, given in zip(bare.backbones, network.backbones, strict=True):
        own.load_state_dict(given.state_dict())
    bare.set_projection(torch.eye(columns), torch.zeros(columns))
    save_weights(weights, bare, extra={"recipe": "universal_embedding"})
    if kept.is_file():
        try:
            found = read_gallery(kept)
            same = found.names == tuple(names) and [one for _, one in found.weights] == [fingerprint(weights)]
            if same and found.records is not None and not any(find_changes(data, names, found.records)):
                return found
        except NoseprintError:  # damaged, so it is made again
            pass
    gallery = embed_gallery([weights], data, names, device=device, keep_beside=kept)
    write_gallery(kept, gallery)
    return gallery


def find_sources(
    family: Path,
    table: InstanceTable,
    *,
    run: str,
    parts: Sequence[str],
    stages: Sequence[str],
    data: Path,
    device: torch.device,
) -> Iterator[Source]:
    """The frozen backbones called `parts`, then those that were trained in each of `stages`, and soups of their phases.

    The features of trained backbones are kept in reduce/results/RUN. Raises NoseprintError if a backbone is missing.
    """
    for part in parts:
        folder = family / "frozen" / "results" / run / part
        head = family / "head" / "results" / run / part / "best.safetensors"
        source = read_source(f"frozen {part}", folder, table, data=data)
        yield replace(source, head=_projection(load_projection(head))) if head.is_file() else source
    for stage in stages:
        for part in parts:
            adjective, trained = STAGES[stage], family / stage / "results" / run / part
            network = load_projection(trained / "best.safetensors")
            if _same_backbones(network, load_projection(family / "frozen" / "results" / run / part / BACKBONE)):
                print(f"{part}: {stage}/ kept the network before its training, which is not compared again", flush=True)
                continue
            networks = {f"{adjective} {part}": network}
            if mixed := best_soup(trained, table, device=device):
                networks[f"{adjective} {part}, soup"] = mixed[0]
                print(f"{part}: soup of {', '.join(path.parent.name for path in mixed[1])}", flush=True)
            for name, network in networks.items():
                folder = family / "reduce" / "results" / run / name.replace(" ", "-").replace(",", "")
                keep_features(network, folder, data=data, names=table.names, device=device)
                yield replace(read_source(name, folder, table, data=data), is_trained=True, head=_projection(network))


def _same_backbones(one: ProjectionNet, other: ProjectionNet) -> bool:
    (a, b) = (network.backbones[0].state_dict() for network in (one, other))
    return (
        one.plan == other.plan and one.image_size == other.image_size and all(torch.equal(a[key], b[key]) for key in a)
    )


def _projection(network: ProjectionNet) -> Projection:
    return network.projection.weight.detach(), network.projection.bias.detach()


def read_source(name: str, folder: Path, table: InstanceTable, *, data: Path) -> Source:
    """The backbone whose features of all photographs of the table `keep_features` left in `folder`.

    Raises NoseprintError if they are missing, damaged, of another backbone, or if photographs have changed since.
    """
    kept, weights = folder / "features.safetensors", folder / BACKBONE
    if not kept.is_file():
        raise NoseprintError(f"{kept} is missing: run frozen/embed.py --part {folder.name} first")
    gallery = read_gallery(kept)
    if [given for _, given in gallery.weights] != [fingerprint(weights)] or gallery.records is None:
        raise NoseprintError(f"{kept}: these features are not of {weights}: delete both, and run train.sh again")
    rows = gallery.find_rows(table.names)
    records = gallery.records[rows]
    for found, what in zip(find_changes(data, table.names, records), ("are gone", "have changed"), strict=True):
        if found:
            raise NoseprintError(
                f"{len(found)} photographs {what} since their features were kept in {kept}, such as {found[0]}: run "
                "train.sh again without --from"
            )
    return Source(name, weights, gallery.matrix[rows], size=read_header(weights).image_size, records=records)
