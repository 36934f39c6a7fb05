"""Embeddings of a folder of photographs, on disk: made once, searched often."""

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
from noseprint.errors import NoseprintError
from noseprint.inference.array_file import read_arrays, write_arrays
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network
from noseprint.models.weights_header import fingerprint, read_header
from noseprint.version import __version__

FORMAT = "noseprint embeddings 1"
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
_BLOCK = 2**14


@dataclass(frozen=True)
class Embeddings:
    """`matrix` (N, D) float32, rows of length 1, of the images `names`; `network` fingerprints what made them.

    `weights` are the files of that network (several: an ensemble) with their fingerprints; `fingerprint` is that of
    matrix and names.
    """

    matrix: npt.NDArray[np.float32]
    names: tuple[str, ...]
    weights: tuple[tuple[Path, str], ...]
    fingerprint: str

    @property
    def network(self) -> str:
        """The members' fingerprints, in their order."""
        return "+".join(mark for _, mark in self.weights)


def photographs(source: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder and the names in it, sorted: one photograph, or all in a folder and the folders in it but hidden ones.

    Raises NoseprintError where there are none.
    """
    if source.is_file():
        return source.parent, (source.name,)
    if not source.is_dir():
        raise NoseprintError(f"{source}: no such photograph or folder")
    found = (path.relative_to(source) for path in source.rglob("*") if path.suffix.lower() in _PICTURES)
    names = sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise NoseprintError(f"{source}: holds no photographs ({', '.join(sorted(_PICTURES))})")
    return source, tuple(names)


def embed_with(weights: Sequence[Path], folder: Path, names: Sequence[str], *, device: torch.device) -> Embeddings:
    """Embed the images `names` of `folder`; several weights are joined, so that cosines are the means of theirs.

    Raises NoseprintError for weights named twice, and as `load_network` and `embed_images`.
    """
    packed = _packed(names)
    marks = []
    for path in weights:
        read_header(path)  # all are looked at before the first is put to work
        marks.append((path.resolve(), fingerprint(path)))
    if len({mark for _, mark in marks}) < len(marks):
        raise NoseprintError(f"weights are named twice among {', '.join(map(str, weights))}")
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
    matrix: npt.NDArray[np.float32] = np.concatenate(parts, axis=1)
    return Embeddings(matrix, tuple(names), tuple(marks), _fingerprint(matrix, packed))


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write them, whole or not at all; the same embeddings give the same bytes."""
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "network": embeddings.network,
        "weights": json.dumps([[str(place), mark] for place, mark in embeddings.weights]),
        "fingerprint": embeddings.fingerprint,
    }
    write_arrays(path, {"embeddings": embeddings.matrix, "names": _packed(embeddings.names)}, metadata)


def read_embeddings(path: Path) -> Embeddings:
    """Read what `write_embeddings` wrote, the matrix mapped from disk.

    Raises NoseprintError for another file, as many names as there are not rows, rows that are not of length 1, and
    content that is not what was written.
    """
    shapes = {"embeddings": ("F32", 2), "names": ("U8", 1)}
    arrays, metadata = read_arrays(path, what="file of embeddings", form=FORMAT, shapes=shapes)
    matrix = arrays["embeddings"].astype(np.float32, copy=False)
    try:
        names = tuple(arrays["names"].tobytes().decode().split("\0"))
        weights = tuple((Path(place), str(mark)) for place, mark in json.loads(metadata["weights"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise NoseprintError(f"{path}: damaged header ({type(error).__name__}); embed again") from error
    if len(names) != len(matrix) or not weights or not all(name.isprintable() and name for name in names):
        raise NoseprintError(f"{path}: damaged: {len(names)} names for {len(matrix)} embeddings; embed again")
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK]
        wrong = np.flatnonzero(~(np.abs(np.einsum("nd,nd->n", block, block) - 1) < 1e-3))
        if len(wrong):
            name = names[start + wrong[0]]
            raise NoseprintError(f"{path}: the embedding of {name!r} is not of length 1: it is damaged; embed again")
    mark = _fingerprint(matrix, _packed(names))
    if mark != metadata.get("fingerprint"):
        raise NoseprintError(f"{path}: was changed after it was written; embed again")
    return Embeddings(matrix, names, weights, mark)


def same_weights(gallery: Embeddings, given: Sequence[Path], *, file: Path) -> tuple[Path, ...]:
    """The weights to embed queries with: those given, else those the gallery remembers. `file` names it in messages.

    Raises NoseprintError where they are not the ones the gallery was embedded with, in their order.
    """
    paths = tuple(given) or tuple(place for place, _ in gallery.weights)
    for path in paths:
        if not path.is_file():
            mend = "give its place" if given else "name it, wherever it is now, with --weights"
            raise NoseprintError(f"{path}: no such weights file, which {file} was embedded with; {mend}")
    found = "+".join(map(fingerprint, paths))
    if found != gallery.network:
        raise NoseprintError(
            f"{file} was embedded with other weights ({gallery.network}) than {', '.join(map(str, paths))} ({found}); "
            "embed the gallery again with these, or name those with --weights, in their order"
        )
    return paths


def _packed(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    for name in names:
        if not name.isprintable():
            raise NoseprintError(f"{name!r} is no name for a table; give the photograph another one")
    return np.frombuffer("\0".join(names).encode(), dtype=np.uint8)


def _fingerprint(matrix: npt.NDArray[np.float32], names: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(names.data)
    digest.update(np.ascontiguousarray(matrix).data)
    return digest.hexdigest()[:16]
