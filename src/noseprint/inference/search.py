"""Which individual is this, if any? Photographs against a gallery of embeddings, answered as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from noseprint.calibration.curves import Calibration, calibration_from_json, identity_probabilities
from noseprint.data.importing import IMPORTED_HEADER
from noseprint.data.tables import TRAIN_HEADER, read_rows, write_csv
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import check_output
from noseprint.inference.gallery import Embeddings, embed_with, photographs, read_embeddings, same_weights
from noseprint.inference.index import Index, build_index, read_index, search_index, write_index
from noseprint.inference.nearest import expand_queries, search
from noseprint.models.weights_header import read_header

_RIVALS = 50
"""Best images among which individuals are weighed against each other, however few are asked for."""


@dataclass(frozen=True)
class Found:
    """The `rank`-th best image of a query; `identity` is None without a table of them, "" where it has none.

    probability: that the query shows this image's individual; none: that it shows none of the gallery's. None where
    nothing is known that tells (see `which`).
    """

    query: str
    rank: int
    image: str
    similarity: float
    identity: str | None = None
    probability: float | None = None
    none: float | None = None


@dataclass(frozen=True)
class Ensemble:
    """The calibration of the mean cosine of several networks, by their fingerprints."""

    fingerprints: frozenset[str]
    calibration: Calibration
    file: Path


def which(
    query: Path,
    gallery: Path,
    *,
    out: Path,
    weights: Sequence[Path],
    identities: Path | None,
    ensemble: Ensemble | None = None,
    top: int,
    expand: int = 0,
    use_index: bool,
    device: torch.device,
) -> list[Found]:
    """Write the `top` best images for each query into `out`, a column for each field of `Found` that is known.

    identities: a table (dog ID,nose print image), or the imported.csv of `noseprint import`; images that it does not
    name have none, and are individuals of their own. Probabilities are by the calibration that a single network's
    weights carry, or that of the `ensemble`, among the individuals of the _RIVALS best images (the `top`, where that is
    more). With `expand` the queries, and so the similarities, are those of `expand_queries`, of which no calibration
    tells anything.
    Raises NoseprintError where the ensemble is of other networks than the gallery.
    """
    if top < 1:
        raise NoseprintError(f"--top {top}: must be at least 1")
    if expand < 0:
        raise NoseprintError(f"--expand {expand}: must be 0 (off) or more, such as 1")
    folder, names = photographs(query)
    check_output(out, suffix=".csv", inputs=[gallery, *weights, *([identities] if identities else [])])
    known = read_embeddings(gallery)
    identity_of = _identities(identities, known.names) if identities else None
    chosen = same_weights(known, weights, file=gallery)
    calibration = None if expand else _calibration(known, chosen, ensemble, gallery)
    index = _index(gallery, known) if use_index else None
    queries = embed_with(chosen, folder, names, device=device).matrix
    if expand:
        queries = expand_queries(queries, known.matrix, k=expand)
    rivals = max(top, _RIVALS) if calibration else top
    if index:
        rows, similarity = search_index(index, queries, known.matrix, k=rivals)
    else:
        rows, similarity = search(queries, known.matrix, k=rivals)
    individuals = len({_individual(image, identity_of) for image in known.names})
    table: list[Found] = []
    for name, found, values in zip(names, rows, similarity, strict=True):
        images = [known.names[row] for row in found]
        probability: Sequence[float | None] = [None] * len(images)
        none = None
        if calibration:
            whose = [_individual(image, identity_of) for image in images]
            share, none = identity_probabilities(calibration.log_odds(values), whose, gallery_identities=individuals)
            probability = share.tolist()
        best = zip(images[:top], values[:top], probability[:top], strict=True)
        for rank, (image, value, chance) in enumerate(best, start=1):
            identity = identity_of.get(image, "") if identity_of is not None else None
            table.append(Found(name, rank, image, value, identity, chance, none))
    columns = [name for name, value in vars(table[0]).items() if value is not None]
    write_csv(out, columns, ([getattr(row, column) for column in columns] for row in table))
    return table


def _individual(image: str, identity_of: Mapping[str, str] | None) -> str:
    """Whom an image shows; an image that no table names shows an individual of its own."""
    return f"identity {identity_of[image]}" if identity_of and image in identity_of else f"image {image}"


def _calibration(
    known: Embeddings, chosen: Sequence[Path], ensemble: Ensemble | None, gallery: Path
) -> Calibration | None:
    if ensemble:
        if ensemble.fingerprints != frozenset(mark for _, mark in known.weights):
            raise NoseprintError(
                f"{ensemble.file}: was made with other networks than {gallery}; embed with those, or calibrate these"
            )
        return ensemble.calibration
    carried = read_header(chosen[0]).extra.get("calibration") if len(chosen) == 1 else None
    return calibration_from_json(carried) if carried else None


def _index(gallery: Path, known: Embeddings) -> Index:
    """The index beside the embeddings; built where there is none."""
    path = gallery.with_name(f"{gallery.stem}.index.safetensors")
    if not path.exists():
        print(f"building {path}", flush=True)
        write_index(path, build_index(known.matrix), fingerprint=known.fingerprint)
    return read_index(path, known.matrix, fingerprint=known.fingerprint)


def _rows(path: Path, faults: list[Fault]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, identity, image) of each row; of imported.csv the image's name in the data folder, too."""
    headers = (IMPORTED_HEADER, TRAIN_HEADER)
    for line, row in read_rows(path, *headers, faults=faults, may_be_empty=("encounter",)):
        if len(row) == len(TRAIN_HEADER):
            yield line, row[0], (row[1],)
        else:
            _, identity, _, folder, image = row
            yield line, identity, (image, f"{folder}/images/{image}")


def _identities(path: Path, names: Sequence[str]) -> dict[str, str]:
    faults: list[Fault] = []
    found: dict[str, str] = {}
    for line, identity, images in _rows(path, faults):
        for image in images:
            if found.setdefault(image, identity) != identity:
                faults.append(Fault(path, line, f"image {image!r} has identity {found[image]!r} already: keep one"))
    if faults:
        raise DataError(faults)
    missing = [name for name in names if name not in found]
    if len(missing) == len(names):
        raise NoseprintError(
            f"{path}: names none of the {len(names)} gallery images, the first of which is {names[0]!r}; "
            "write their names as they are there"
        )
    if missing:
        print(f"{len(missing)} of {len(names)} gallery images have no identity in {path}, first {missing[0]!r}")
    return found
