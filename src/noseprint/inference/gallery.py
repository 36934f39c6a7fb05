"""Galleries on disk: photographs that are embedded once and searched often."""

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.transforms import A
from noseprint.devices import default_workers, reuse_freed_memory
from noseprint.errors import NoseprintError
from noseprint.inference.array_file import pack_names, read_arrays, unpack_names, write_arrays
from noseprint.inference.kept_rows import forget_rows, keep_rows, kept_file
from noseprint.inference.photograph_records import RECORD_BYTES, Records, check_photographs
from noseprint.models.embed import embed_with, embedder
from noseprint.models.weights import load_network
from noseprint.models.weights_header import fingerprint, read_header
from noseprint.version import __version__

FORMAT = "noseprint embeddings 1"
BATCH_SIZE = 64
_BLOCK = 2**14


@dataclass(frozen=True)
class GalleryEmbeddings:
    """Embeddings of named photographs, and the networks that made them."""

    matrix: npt.NDArray[np.float32]
    """(N, D), rows of length 1."""
    names: tuple[str, ...]
    weights: tuple[tuple[Path, str], ...]
    """The weights file of each network, and its fingerprint."""
    fingerprint: str
    """Of matrix and names."""
    folder: Path | None = None
    """Where the photographs are. None if an older version made the gallery."""
    records: Records | None = None
    """Of each photograph (N, RECORD_BYTES). None if an older version made the gallery."""

    @property
    def network(self) -> str:
        """The fingerprints of the networks, in their order."""
        return "+".join(fingerprint for _, fingerprint in self.weights)

    def rows_of(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """The embeddings of these photographs, in this order. Raises NoseprintError if one is not in the gallery."""
        return self.matrix[self.find_rows(names)]

    def find_rows(self, names: Sequence[str]) -> list[int]:
        """The number of the row of each of these photographs. Raises NoseprintError if one is not in the gallery."""
        row = {name: number for number, name in enumerate(self.names)}
        if missing := [name for name in names if name not in row]:
            raise NoseprintError(f"{len(missing)} photographs are not embedded, such as {missing[0]}: embed them again")
        return [row[name] for name in names]


def embed_photographs(
    weights: Sequence[Path],
    folder: Path,
    names: Sequence[str],
    *,
    device: torch.device,
    keep_beside: Path | None = None,
    records: bytes = b"",
) -> npt.NDArray[np.float32]:
    """Embed the photographs `names` in `folder`: (N, D), rows of length 1.

    With several weights files, the rows are joined and scaled, so that cosines are the means of the networks' cosines.
    keep_beside: keep finished rows beside this file, so that the same call goes on if this one is interrupted
    (`forget_rows` removes them). records: if rows are kept, bytes that differ if the photographs do.

    Raises NoseprintError as `load_network`, `embed_with` and `keep_rows` do.
    """
    for path in weights:
        read_header(path)  # so that a bad file is found before the first network runs
    reuse_freed_memory()
    key = pack_names(names).tobytes() + records
    parts: list[npt.NDArray[np.float32]] = []
    for path in weights:
        network = load_network(path).to(device).eval()
        compute = embedder(network, device=device, engine="auto")
        kept: npt.NDArray[np.float32] = np.empty((0, network.embedding_size), np.float32)
        with ExitStack() as stack:
            if keep_beside:
                file = kept_file(keep_beside, network=fingerprint(path), device=device.type, photographs=key)
                kept, compute = stack.enter_context(
                    keep_rows(file, compute, width=network.embedding_size, batch_size=BATCH_SIZE)
                )
            if len(kept):
                print(f"{path}: {len(kept)} of {len(names)} photographs are embedded already", file=sys.stderr)
            part = kept
            if len(kept) < len(names):
                new = embed_with(
                    compute,
                    [folder / name for name in names],
                    transform=A.Resize(network.image_size, network.image_size),
                    workers=default_workers(device),
                    batch_size=BATCH_SIZE,
                    label=path.name,
                    rows=range(len(kept), len(names)),
                    pin_memory=device.type == "cuda",
                )
                part = np.concatenate([kept, new])
        if not np.isfinite(part.sum()):
            raise NoseprintError(f"{path}: gives embeddings that are not finite; train it again")
        parts.append(np.divide(part, np.sqrt(len(weights)), dtype=np.float32))
    return np.concatenate(parts, axis=1)


def embed_gallery(
    weights: Sequence[Path],
    folder: Path,
    names: Sequence[str],
    *,
    device: torch.device,
    skip_bad: bool = False,
    skipped_csv: Path | None = None,
    keep_beside: Path | None = None,
) -> GalleryEmbeddings:
    """Embed photographs, as `embed_photographs` does, for a gallery.

    skip_bad: leave out photographs that cannot be read; without it they raise NoseprintError, before anything is
    embedded. skipped_csv: where to list those left out. keep_beside: as for `embed_photographs`; `write_gallery`
    removes what is kept there.

    Raises NoseprintError if two of the weights files are the same, and as `check_photographs` and `embed_photographs`
    do.
    """
    for path in weights:
        read_header(path)
    if len({fingerprint(path) for path in weights}) < len(weights):
        raise NoseprintError(f"two of these weights files are the same: {', '.join(map(str, weights))}")
    names, records = check_photographs(folder, names, skip_bad=skip_bad, skipped_csv=skipped_csv)
    matrix = embed_photographs(
        weights, folder, names, device=device, keep_beside=keep_beside, records=records.tobytes()
    )
    return gallery_of(matrix, names, weights=weights, folder=folder, records=records)


def gallery_of(
    matrix: npt.NDArray[np.float32], names: tuple[str, ...], *, weights: Sequence[Path], folder: Path, records: Records
) -> GalleryEmbeddings:
    """The gallery of photographs `names` in `folder`, whose embeddings (N, D) these weights gave."""
    stored = tuple((path.resolve(), fingerprint(path)) for path in weights)
    return GalleryEmbeddings(matrix, names, stored, _fingerprint(matrix, pack_names(names)), folder.resolve(), records)


def write_gallery(path: Path, gallery: GalleryEmbeddings) -> None:
    """Write a gallery, completely or not at all; the same gallery gives the same bytes.

    Rows that were kept beside `path` while it was made are removed.
    """
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "network": gallery.network,
        "weights": json.dumps([[str(file), fingerprint] for file, fingerprint in gallery.weights]),
        "fingerprint": gallery.fingerprint,
    }
    arrays: dict[str, npt.NDArray[Any]] = {"embeddings": gallery.matrix, "names": pack_names(gallery.names)}
    if gallery.records is not None:
        arrays["records"] = gallery.records
        metadata["folder"] = str(gallery.folder).encode(errors="backslashreplace").decode()
    write_arrays(path, arrays, metadata)
    forget_rows(path)


def read_gallery(path: Path) -> GalleryEmbeddings:
    """Read what `write_gallery` wrote; the matrix is mapped into memory.

    Raises NoseprintError if the file is not a gallery, is damaged, or was changed after it was written.
    """
    shapes = {"embeddings": ("float32", 2), "names": ("uint8", 1)}
    optional = {"records": ("uint8", 2)}
    arrays, metadata = read_arrays(path, what="gallery", format_name=FORMAT, shapes=shapes, optional=optional)
    matrix, records = arrays["embeddings"], arrays.get("records")
    try:
        names = unpack_names(arrays["names"])
        weights = tuple((Path(file), str(fingerprint)) for file, fingerprint in json.loads(metadata["weights"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise NoseprintError(f"{path}: its header is damaged ({type(error).__name__}); embed again") from error
    if len(names) != len(matrix) or not weights:
        raise NoseprintError(f"{path}: is damaged: {len(names)} names for {len(matrix)} embeddings; embed again")
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK]
        wrong = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", block, block) - 1) < 1e-3))
        if len(wrong):
            raise NoseprintError(
                f"{path}: is damaged: the embedding of {names[start + wrong[0]]!r} is not of length 1; embed again"
            )
    if _fingerprint(matrix, arrays["names"]) != metadata.get("fingerprint"):
        raise NoseprintError(f"{path}: was changed after it was written; embed again")
    if records is None:
        return GalleryEmbeddings(matrix, names, weights, metadata["fingerprint"])
    if records.shape != (len(names), RECORD_BYTES) or "folder" not in metadata:
        raise NoseprintError(f"{path}: is damaged: {len(names)} names for {len(records)} records; embed again")
    return GalleryEmbeddings(matrix, names, weights, metadata["fingerprint"], Path(metadata["folder"]), records)


def find_weights(gallery: GalleryEmbeddings, given: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The weights files to embed queries with: those given, or else the files that the gallery remembers.

    Raises NoseprintError unless they are the weights that the gallery was embedded with, in the same order.
    """
    paths = tuple(given) or tuple(path for path, _ in gallery.weights)
    for path in paths:
        if not path.is_file():
            moved = "" if given else "; if this file was moved, name it with --weights"
            raise NoseprintError(f"{path}: no such weights file{moved}")
    found = "+".join(map(fingerprint, paths))
    if found != gallery.network:
        raise NoseprintError(
            f"the gallery was embedded with other weights ({gallery.network}) than {', '.join(map(str, paths))} "
            f"({found}); embed it again with these, or name the other weights with --weights, in the same order"
        )
    return paths


def _fingerprint(matrix: npt.NDArray[np.float32], names: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(names).data)
    digest.update(np.ascontiguousarray(matrix).data)
    return digest.hexdigest()[:16]
