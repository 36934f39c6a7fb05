"""Which individual is this? Photographs against a gallery of embeddings, answered as a table."""

from collections.abc import Sequence
from pathlib import Path

import torch

from noseprint.data.rows import read_rows
from noseprint.data.tables import TRAIN_HEADER, write_csv
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import check_output
from noseprint.matching.embeddings import Embeddings, embed_with, photographs, read_embeddings, same_weights
from noseprint.matching.index import Index, build_index, read_index, search_index, write_index
from noseprint.matching.search import expand_queries, search


def which(
    query: Path,
    gallery: Path,
    *,
    out: Path,
    weights: Sequence[Path],
    identities: Path | None,
    top: int,
    expand: int = 0,
    use_index: bool,
    device: torch.device,
) -> list[tuple[object, ...]]:
    """Write query,rank,image,similarity[,identity] into `out`, the `top` best images for each query; gives these rows.

    The identity of an image that the table `identities` (dog ID,nose print image) does not name is left empty. With
    `expand` the queries, and so the similarities, are those of `expand_queries`.
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
    index = _index(gallery, known) if use_index else None
    queries = embed_with(chosen, folder, names, device=device).matrix
    if expand:
        queries = expand_queries(queries, known.matrix, k=expand)
    if index:
        rows, similarity = search_index(index, queries, known.matrix, k=top)
    else:
        rows, similarity = search(queries, known.matrix, k=top)
    table: list[tuple[object, ...]] = []
    for name, found, values in zip(names, rows, similarity, strict=True):
        for rank, (row, value) in enumerate(zip(found, values, strict=True), start=1):
            image = known.names[row]
            table.append((name, rank, image, value, *([identity_of.get(image, "")] if identity_of else [])))
    write_csv(out, ("query", "rank", "image", "similarity", *(["identity"] if identity_of else [])), table)
    return table


def _index(gallery: Path, known: Embeddings) -> Index:
    """The index beside the embeddings; built where there is none."""
    path = gallery.with_name(f"{gallery.stem}.index.safetensors")
    if not path.exists():
        print(f"building {path}", flush=True)
        write_index(path, build_index(known.matrix), fingerprint=known.fingerprint)
    return read_index(path, known.matrix, fingerprint=known.fingerprint)


def _identities(path: Path, names: Sequence[str]) -> dict[str, str]:
    faults: list[Fault] = []
    found: dict[str, str] = {}
    for line, (identity, image) in read_rows(path, TRAIN_HEADER, faults=faults):
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
