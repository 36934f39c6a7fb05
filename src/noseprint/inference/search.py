"""Which individual does a photograph show, if any? Search photographs in a gallery."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from noseprint.calibration.curves import Calibration, calibration_from_json, identity_probabilities
from noseprint.calibration.verifier import Verifier
from noseprint.data.importing import IMPORTED_HEADER
from noseprint.data.names import alike_form, alike_groups, alike_text, count_text, is_missing
from noseprint.data.tables import TRAIN_HEADER, read_rows, write_csv
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.inference.gallery import GalleryEmbeddings, embed_photographs, find_weights, list_photographs
from noseprint.inference.index import Index, search_index
from noseprint.inference.nearest import expand_queries, nearest_images
from noseprint.models.weights_header import read_header

_WEIGHED_IMAGES = 50  # best images whose identities share the probability, even if fewer are requested


@dataclass(frozen=True)
class Match:
    """A gallery image that is similar to a query."""

    query: str
    """Name of the photograph."""
    rank: int
    """1 for the most similar image."""
    image: str
    """Name of the gallery image."""
    similarity: float
    """Cosine, -1..1."""
    identity: str | None = None
    """Of the image. None if no identities are known; "" if only this image's is not."""
    probability: float | None = None
    """That the query shows the image's identity. None without a calibration."""
    none: float | None = None
    """Probability that the query shows no identity of the gallery. None without a calibration."""


def search_gallery(
    query: Path,
    gallery: GalleryEmbeddings,
    *,
    device: torch.device,
    top: int = 5,
    identities: Mapping[str, str] | None = None,
    verifier: Verifier | None = None,
    weights: Sequence[Path] = (),
    expand: int = 0,
    index: Index | None = None,
) -> list[Match]:
    """Find the `top` most similar gallery images of each query.

    Probabilities come from the verifier's calibration or, if a single network made the gallery, from its weights. They
    are shared among the identities of the 50 best images (of the `top`, if that is more). An image without an identity
    counts as an individual of its own.

    Args:
        query: A photograph, or a folder of them.
        gallery: The embeddings to search in.
        device: Where the networks run.
        top: Images to return for each query.
        identities: Identity of each gallery image, by name (see `read_identities`).
        verifier: The calibration of several networks' mean cosine.
        weights: The gallery's weights files, if they were moved.
        expand: Move each query towards this many of its nearest images (see `expand_queries`). The similarities are
            then those of the moved query, which no calibration fits, so there are no probabilities.
        index: Search approximately (see `open_index`).

    Returns:
        The matches of each query, the most similar first.

    Raises:
        NoseprintError: An argument is out of range, there are no photographs, or the weights or the verifier's networks
            are not those of the gallery.
    """
    if top < 1:
        raise NoseprintError(f"--top {top}: must be at least 1")
    if expand < 0:
        raise NoseprintError(f"--expand {expand}: must be 0 (off) or more, such as 1")
    folder, names = list_photographs(query)
    paths = find_weights(gallery, weights)
    calibration = None if expand else _find_calibration(gallery, paths, verifier)
    queries = embed_photographs(paths, folder, names, device=device)
    if expand:
        queries = expand_queries(queries, gallery.matrix, k=expand)
    k = max(top, _WEIGHED_IMAGES) if calibration else top
    if index is None:
        rows, similarities = nearest_images(queries, gallery.matrix, k=k)
    else:
        rows, similarities = search_index(index, queries, gallery.matrix, k=k)
    gallery_identities = len({_individual(image, identities) for image in gallery.names})
    matches: list[Match] = []
    for name, query_rows, similarity in zip(names, rows, similarities, strict=True):
        images = [gallery.names[row] for row in query_rows]
        probability: Sequence[float | None] = [None] * len(images)
        none = None
        if calibration:
            shares, none = identity_probabilities(
                calibration.log_odds(similarity),
                [_individual(image, identities) for image in images],
                gallery_identities=gallery_identities,
            )
            probability = shares.tolist()
        for rank, row in enumerate(zip(images[:top], similarity[:top], probability[:top], strict=True), start=1):
            image = row[0]
            identity = None if identities is None else identities.get(image, "")
            matches.append(Match(name, rank, image, row[1], identity, row[2], none))
    return matches


def write_matches(path: Path, matches: Sequence[Match]) -> None:
    """Write a CSV with a column for each field of `Match` that is known."""
    columns = [name for name, value in vars(matches[0]).items() if value is not None]
    write_csv(path, columns, ([getattr(match, column) for column in columns] for match in matches))


def read_identities(path: Path, names: Sequence[str], *, unknown: Sequence[str] = ()) -> dict[str, str]:
    """Read the identities of the gallery images `names`. Images whose identity is missing (`is_missing`) have none.

    path: a table (dog ID, nose print image) or the imported.csv of `noseprint import`. In the latter, images are named
    both in their own folder and in the data folder. Backslashes in names may stand for slashes. unknown: further words
    for a missing identity. Prints which identities are missing, and which names of individuals are alike.

    Raises DataError for faults in the table, and NoseprintError if it names none of the images.
    """
    faults: list[Fault] = []
    identity_of: dict[str, str] = {}
    in_gallery = set(names)
    for line, identity, images in _read_image_names(path, faults):
        for image in (name if name in in_gallery else name.replace("\\", "/") for name in images):
            if identity_of.setdefault(image, identity) != identity:
                problem = f"image {image!r} already has identity {identity_of[image]!r}: keep one of the two"
                faults.append(Fault(path, line, problem))
    if faults:
        raise DataError(faults)
    missing = [name for name in names if name not in identity_of]
    similar = {alike_form(image): image for image in identity_of} if missing else {}
    instead = next((f"; it has {similar[form]!r}" for name in missing if (form := alike_form(name)) in similar), "")
    if len(missing) == len(names):
        raise NoseprintError(
            f"{path}: names none of the {len(names)} gallery images; the first of them is {names[0]!r}{instead}: "
            "write the names as the gallery has them"
        )
    if missing:
        print(
            f"{path} gives no identity for {len(missing)} of {len(names)} gallery images, such as {missing[0]!r}"
            f"{instead}"
        )
    listed = [identity_of[name] for name in names if name in identity_of]
    if nobody := [identity for identity in listed if is_missing(identity, tuple(unknown))]:
        print(f"{path}: {len(nobody)} gallery images show unknown individuals: {count_text(nobody)}")
    if alike := alike_groups(set(listed) - set(nobody)):
        print(f"{path}: alike names count as different individuals: {alike_text(alike)}; give each individual one name")
    return {image: identity for image, identity in identity_of.items() if not is_missing(identity, tuple(unknown))}


def _find_calibration(
    gallery: GalleryEmbeddings, weights: Sequence[Path], verifier: Verifier | None
) -> Calibration | None:
    if verifier:
        if {member.fingerprint for member in verifier.members} != {fingerprint for _, fingerprint in gallery.weights}:
            raise NoseprintError(
                "the verifier was made with other networks than the gallery: embed the gallery with the verifier's "
                "networks, or calibrate the gallery's networks"
            )
        return verifier.calibration
    stored = read_header(weights[0]).extra.get("calibration") if len(weights) == 1 else None
    return calibration_from_json(stored) if stored else None


def _individual(image: str, identities: Mapping[str, str] | None) -> str:
    """Whom an image shows: its identity, or else an individual of its own."""
    return f"identity {identities[image]}" if identities and image in identities else f"image {image}"


def _read_image_names(path: Path, faults: list[Fault]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line, identity and names of the image of each row."""
    may_be_empty = ("identity", "encounter", TRAIN_HEADER[0])
    for line, row in read_rows(path, IMPORTED_HEADER, TRAIN_HEADER, faults=faults, may_be_empty=may_be_empty):
        if len(row) == len(TRAIN_HEADER):
            yield line, row[0], (row[1],)
        else:
            _, identity, _, folder, image = row
            yield line, identity, (image, f"{folder}/images/{image}")
