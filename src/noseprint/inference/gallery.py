"""Galleries on disk: photographs that are embedded once and searched often."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.transforms import A
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError, breaks_line
from noseprint.inference.array_file import read_arrays, write_arrays
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network
from noseprint.models.weights_header import fingerprint, read_header
from noseprint.version import __version__

FORMAT = "noseprint embeddings 1"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
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

    @property
    def network(self) -> str:
        """The fingerprints of the networks, in their order."""
        return "+".join(fingerprint for _, fingerprint in self.weights)


def list_photographs(source: Path) -> tuple[Path, tuple[str, ...]]:
    """List one photograph, or all photographs in a folder and the folders inside it, except hidden ones.

    Returns the folder and the names in it, sorted. Raises NoseprintError if there are no photographs.
    """
    if source.is_file():
        return source.parent, (source.name,)
    if not source.is_dir():
        raise NoseprintError(f"{source}: no such photograph or folder")
    paths = (path.relative_to(source) for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES)
    names = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise NoseprintError(f"{source}: has no photographs ({', '.join(sorted(_SUFFIXES))})")
    return source, tuple(names)


def embed_photographs(
    weights: Sequence[Path], folder: Path, names: Sequence[str], *, device: torch.device
) -> npt.NDArray[np.float32]:
    """Embed the photographs `names` in `folder`: (N, D), rows of length 1.

    With several weights files, the rows are joined and scaled, so that cosines are the means of the networks' cosines.

    Raises NoseprintError for names that break a line, and as `load_network` and `embed_images` do.
    """
    if broken := [name for name in names if breaks_line(name)]:
        raise NoseprintError(
            f"{len(broken)} names hold control characters, line ends or bytes that are not UTF-8, which no table can "
            f"hold: rename the photographs {', '.join(map(ascii, broken[:100]))}"
        )
    for path in weights:
        read_header(path)  # so that a bad file is found before the first network runs
    parts: list[npt.NDArray[np.float32]] = []
    for path in weights:
        network = load_network(path)
        size = network.image_size
        part = embed_images(
            network.to(device),
            [folder / name for name in names],
            transform=A.Resize(size, size),
            device=device,
            workers=default_workers(device),
            label=path.name,
            engine="auto",
        )
        if not np.isfinite(part.sum()):
            raise NoseprintError(f"{path}: gives embeddings that are not finite; train it again")
        parts.append(np.divide(part, np.sqrt(len(weights)), dtype=np.float32))
    return np.concatenate(parts, axis=1)


def embed_gallery(
    weights: Sequence[Path], folder: Path, names: Sequence[str], *, device: torch.device
) -> GalleryEmbeddings:
    """Embed photographs, as `embed_photographs` does, for a gallery.

    Raises NoseprintError if two of the weights files are the same, and as `embed_photographs` does.
    """
    for path in weights:
        read_header(path)
    stored = tuple((path.resolve(), fingerprint(path)) for path in weights)
    if len({file_hash for _, file_hash in stored}) < len(stored):
        raise NoseprintError(f"two of these weights files are the same: {', '.join(map(str, weights))}")
    matrix = embed_photographs(weights, folder, names, device=device)
    return GalleryEmbeddings(matrix, tuple(names), stored, _fingerprint(matrix, _pack(names)))


def write_gallery(path: Path, gallery: GalleryEmbeddings) -> None:
    """Write a gallery, completely or not at all; the same gallery gives the same bytes."""
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "network": gallery.network,
        "weights": json.dumps([[str(file), fingerprint] for file, fingerprint in gallery.weights]),
        "fingerprint": gallery.fingerprint,
    }
    write_arrays(path, {"embeddings": gallery.matrix, "names": _pack(gallery.names)}, metadata)


def read_gallery(path: Path) -> GalleryEmbeddings:
    """Read what `write_gallery` wrote; the matrix is mapped into memory.

    Raises NoseprintError if the file is not a gallery, is damaged, or was changed after it was written.
    """
    shapes = {"embeddings": ("float32", 2), "names": ("uint8", 1)}
    arrays, metadata = read_arrays(path, what="gallery", format_name=FORMAT, shapes=shapes)
    matrix = arrays["embeddings"]
    try:
        names = tuple(arrays["names"].tobytes().decode().split("\0"))
        weights = tuple((Path(file), str(fingerprint)) for file, fingerprint in json.loads(metadata["weights"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise NoseprintError(f"{path}: its header is damaged ({type(error).__name__}); embed again") from error
    if len(names) != len(matrix) or not weights or not all(name and not breaks_line(name) for name in names):
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
    return GalleryEmbeddings(matrix, names, weights, metadata["fingerprint"])


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


def _pack(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\0".join(names).encode(), dtype=np.uint8)


def _fingerprint(matrix: npt.NDArray[np.float32], names: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(names).data)
    digest.update(np.ascontiguousarray(matrix).data)
    return digest.hexdigest()[:16]
