"""An approximate index for searches in large galleries, by faiss."""

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from noseprint.errors import NoseprintError
from noseprint.inference.array_file import read_arrays, write_arrays
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.inference.nearest import Floats, Rows, check_searchable, nearest_images, rank_candidates

Index: TypeAlias = Any
"""A faiss index, which has no types."""
FORMAT = "noseprint faiss index 1"
_DIMENSIONS = 128  # of the reduced embeddings
_SEARCHED_SHARE, _MIN_SEARCHED = 0.12, 128  # lists that a query searches: this share, but at least this many
_CANDIDATES = 200  # images that are measured exactly for each query, at least
_SAMPLE, _BLOCK = 50, 2**16


def build_index(gallery: Floats) -> Index:
    """Build an index of `gallery` (N, D), which may be a `numpy.memmap`.

    PCA reduces the embeddings to 128 dimensions, k-means puts them into about 2 sqrt(N) lists, and each is stored in 8
    bits a dimension. Recall@10 was 0.994 in a trial with 100,000 images (docs/performance.md).
    """
    faiss = _import_faiss()
    count, width = gallery.shape
    lists = max(1, min(count, round(2 * count**0.5)))
    index = faiss.index_factory(width, f"PCA{min(_DIMENSIONS, width, count)},IVF{lists},SQ8")
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.min_points_per_centroid = 1  # no warning about small galleries
    inverted.nprobe = min(lists, max(_MIN_SEARCHED, round(_SEARCHED_SHARE * lists)))
    rows = np.random.default_rng(0).choice(count, min(count, _SAMPLE * lists), replace=False)
    index.train(gallery[np.sort(rows)])
    for start in range(0, count, _BLOCK):
        index.add(np.ascontiguousarray(gallery[start : start + _BLOCK]))
    return index


def search_index(index: Index, queries: Floats, gallery: Floats, *, k: int) -> tuple[Rows, Floats]:
    """Find the `k` gallery rows most similar to each query, as `nearest_images` does, but approximately.

    The similarities are exact; some of the nearest images may be missing. Queries for which the index finds fewer than
    `k` images are searched exactly.
    """
    k = check_searchable(queries, gallery, k=k)
    _, candidates = index.search(np.ascontiguousarray(queries), min(len(gallery), max(_CANDIDATES, 10 * k)))
    rows, similarity = rank_candidates(queries, gallery, candidates, k=k)
    incomplete = np.flatnonzero(rows[:, -1] < 0)
    if len(incomplete):
        rows[incomplete], similarity[incomplete] = nearest_images(queries[incomplete], gallery, k=k)
    return rows, similarity


def open_index(file: Path, gallery: GalleryEmbeddings) -> Index:
    """Read the index that lies beside the gallery `file`; build and write it if there is none.

    Raises NoseprintError if faiss is not installed, or the index is damaged or belongs to other embeddings.
    """
    _import_faiss()
    path = file.with_name(f"{file.stem}.faiss.safetensors")
    if not path.exists():
        print(f"building {path}", flush=True)
        write_index(path, build_index(gallery.matrix), gallery)
    return read_index(path, gallery)


def write_index(path: Path, index: Index, gallery: GalleryEmbeddings) -> None:
    """Write the index of `gallery`."""
    data = _import_faiss().serialize_index(index)
    write_arrays(
        path, {"index": data}, {"format": FORMAT, "fingerprint": gallery.fingerprint, "content": _content_hash(data)}
    )


def read_index(path: Path, gallery: GalleryEmbeddings) -> Index:
    """Read what `write_index` wrote for `gallery`.

    Raises NoseprintError if the index is damaged or belongs to other embeddings.
    """
    try:
        arrays, metadata = read_arrays(path, what="index", format_name=FORMAT, shapes={"index": ("uint8", 1)})
        if metadata.get("fingerprint") != gallery.fingerprint:
            raise NoseprintError(f"{path}: belongs to other embeddings")
        if metadata.get("content") != _content_hash(arrays["index"]):
            raise NoseprintError(f"{path}: is damaged")
    except NoseprintError as error:
        raise NoseprintError(f"{error}: delete this file, and the next search builds a new index") from error
    return _import_faiss().deserialize_index(arrays["index"])


def _import_faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NoseprintError(
            "--index needs faiss: pip install noseprint[index], or leave --index out for an exact search"
        ) from error
    return faiss


def _content_hash(data: np.ndarray) -> str:
    return hashlib.sha256(data.data).hexdigest()[:16]
