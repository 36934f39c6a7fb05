"""Which individual does a photograph show, if any? Search photographs in a gallery."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from noseprint.calibration.curves import (
    SAME_PIXELS_LOG_ODDS,
    Calibration,
    calibration_from_json,
    identity_probabilities,
)
from noseprint.calibration.quality_limits import shortfalls
from noseprint.calibration.verifier import Verifier
from noseprint.data.csv_rows import read_rows, write_csv
from noseprint.data.decoding import decode, in_threads
from noseprint.data.listing import list_photographs
from noseprint.data.names import alike_form, alike_groups, alike_text, count_text, is_missing
from noseprint.data.photo_quality import measure_quality
from noseprint.data.tables import TRAIN_HEADER
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.importing.data_folder import IMPORTED_HEADER
from noseprint.inference.alike import AlikeIndividuals, alike_individuals
from noseprint.inference.gallery import GalleryEmbeddings, embed_photographs, find_weights
from noseprint.inference.index import Index, search_index
from noseprint.inference.nearest import Floats, Rows, expand_queries, nearest_images
from noseprint.inference.photograph_records import Records, check_photographs, digest_of
from noseprint.models.weights_header import read_header

_WEIGHED_IMAGES = 50  # best images whose identities share the probability, even if fewer are requested
_LARGE_SHARE = 0.25  # of a query's probability: two individuals that both have more are perhaps one
_SAME_PIXELS = 1 - 1e-5  # similarity from which a gallery without records is taken to hold the query itself
_NAMED = 5  # individuals that a note names


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
    """Probability that the query shows the image's identity. None without a calibration, or if it has a shortfall."""
    none: float | None = None
    """Probability that the query shows no identity of the gallery; None as for `probability`."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    matches: list[Match]
    """Of each query, the most similar first."""
    skipped: tuple[str, ...] = ()
    """The queries that cannot be read."""
    alike: tuple[AlikeIndividuals, ...] = ()
    """Individuals of the gallery that are perhaps one. Empty without a calibration or identities."""
    shortfalls: Mapping[str, str] = field(default_factory=dict)
    """Queries that are too small, too blurred or too dark for a probability, and what is wrong with each."""


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
    skip_bad: bool = False,
    skipped_csv: Path | None = None,
) -> SearchResult:
    """Find the `top` most similar gallery images of each query.

    Probabilities come from the verifier's calibration or, if a single network made the gallery, from its weights. They
    are shared among the identities of the 50 best images (of the `top`, if that is more). An image without an identity
    counts as an individual of its own. An image with the same pixels as the query certainly shows the same individual.
    A query below the verifier's limits gets no probability, as it gets no decision from `verify`.

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
        skip_bad: Leave out queries that cannot be read.
        skipped_csv: Where to list those.

    Raises:
        NoseprintError: An argument is out of range, there are no photographs, some cannot be read, or the weights or
            the verifier's networks are not those of the gallery.
    """
    if top < 1:
        raise NoseprintError(f"--top {top}: must be at least 1")
    if expand < 0:
        raise NoseprintError(f"--expand {expand}: must be 0 (off) or more, such as 1")
    folder, listed = list_photographs(query)
    paths = find_weights(gallery, weights)
    calibration = None if expand else _find_calibration(gallery, paths, verifier)
    names, records = check_photographs(folder, listed, skip_bad=skip_bad, skipped_csv=skipped_csv)
    queries = embed_photographs(paths, folder, names, device=device)
    if expand:
        queries = expand_queries(queries, gallery.matrix, k=expand)
    k = max(top, _WEIGHED_IMAGES) if calibration else top
    if index is None:
        rows, similarities = nearest_images(queries, gallery.matrix, k=k)
    else:
        rows, similarities = search_index(index, queries, gallery.matrix, k=k)
    images_of = Counter(_individual(image, identities) for image in gallery.names)
    shortfalls_of = _find_shortfalls(folder, names, verifier) if calibration and verifier else {}
    matches: list[Match] = []
    suspects: set[tuple[str, str]] = set()
    for name, record, query_rows, similarity in zip(names, records, rows, similarities, strict=True):
        images = [gallery.names[row] for row in query_rows]
        probability: Sequence[float | None] = [None] * len(images)
        none = None
        if calibration and name not in shortfalls_of:
            individuals = [_individual(image, identities) for image in images]
            numbers = np.array([images_of[individual] for individual in individuals])
            same = _has_pixels_of(record, gallery, query_rows, similarity)
            log_odds = np.where(same, SAME_PIXELS_LOG_ODDS + np.log(numbers), calibration.log_odds(similarity))
            shares, none = identity_probabilities(
                log_odds, individuals, images=numbers.tolist(), gallery_identities=len(images_of)
            )
            probability = shares.tolist()
            large = {(identities or {}).get(image) for image, p in zip(images, shares, strict=True) if p > _LARGE_SHARE}
            suspects |= set(combinations(sorted(filter(None, large)), 2))
        for rank, row in enumerate(zip(images[:top], similarity[:top], probability[:top], strict=True), start=1):
            image = row[0]
            identity = None if identities is None else identities.get(image, "")
            matches.append(Match(name, rank, image, row[1], identity, row[2], none))
    alike: list[AlikeIndividuals] = []
    if calibration and identities:
        alike = alike_individuals(
            gallery, identities, calibration, gallery_identities=len(images_of), suspects=suspects
        )
    kept = set(names)
    skipped = tuple(name for name in listed if name not in kept)
    return SearchResult(matches, skipped, tuple(alike), shortfalls_of)


def write_matches(path: Path, matches: Sequence[Match], *, skipped: Sequence[str] = ()) -> None:
    """Write a CSV with a column for each field of `Match` that is known.

    skipped: queries without matches. Each gets a row, in which the other fields are empty, where its name belongs.
    """
    names = [column.name for column in fields(Match)]
    columns = [name for name in names if any(getattr(match, name) is not None for match in matches)]
    rows = [[getattr(match, column) for column in columns] for match in matches]
    rows += [[name, *[""] * (len(columns) - 1)] for name in skipped]
    write_csv(path, columns, sorted(rows, key=lambda row: str(row[0])) if skipped else rows)


def read_identities(path: Path, names: Sequence[str], *, unknown: Sequence[str] = ()) -> dict[str, str]:
    """Read the identities of the gallery images `names`. Images whose identity is missing (`is_missing`) have none.

    path: a table (dog ID, nose print image) or the imported.csv of `noseprint import`. In the latter, images are named
    both in their own folder and in the data folder. Backslashes in names may stand for slashes. unknown: further words
    for a missing identity. Prints which identities are missing, and which names of individuals are alike.

    Photographs that only the table or only the gallery has are counted and named on standard error, and so are
    individuals that the gallery lacks. Raises DataError for faults in the table, and NoseprintError if it names none of
    the images.
    """
    faults: list[Fault] = []
    identity_of: dict[str, str] = {}
    known, found, elsewhere = set(names), set[str](), dict[str, str]()
    for line, identity, written in _read_image_names(path, faults):
        images = [name if name in known else name.replace("\\", "/") for name in written]
        if known.isdisjoint(images):
            elsewhere[images[-1]] = identity
        else:
            found.add(identity)
        for image in images:
            if identity_of.setdefault(image, identity) != identity:
                problem = f"image {image!r} already has identity {identity_of[image]!r}: keep one of the two"
                faults.append(Fault(path, line, problem))
    if faults:
        raise DataError(faults)
    missing = [name for name in names if name not in identity_of]
    similar = {alike_form(image): image for image in identity_of} if missing else {}
    forms = map(alike_form, missing)
    instead = next((f"; the table has {similar[form]!r}" for form in forms if form in similar), "")
    if len(missing) == len(names):
        raise NoseprintError(
            f"{path}: names none of the {len(names)} gallery images; the first of them is {names[0]!r}{instead}: "
            "write the names as the gallery has them"
        )
    if missing:
        _say(
            f"{path} gives no identity for {len(missing)} of {len(names)} gallery images, such as {missing[0]!r}"
            f"{instead}: each counts as an individual of its own"
        )
    if elsewhere:
        absent = list(dict.fromkeys(identity for identity in elsewhere.values() if identity not in found))
        more = ", ..." if len(absent) > _NAMED else ""
        _say(
            f"{path} names {len(elsewhere)} photographs that are not in the gallery, such as {next(iter(elsewhere))!r}"
            + f". The gallery has no photograph of {len(absent)} individuals ({', '.join(absent[:_NAMED])}{more}), so "
            "they cannot be found: embed their photographs too" * bool(absent)
        )
    listed = [identity_of[name] for name in names if name in identity_of]
    if nobody := [identity for identity in listed if is_missing(identity, tuple(unknown))]:
        _say(f"{path}: {len(nobody)} gallery images show unknown individuals: {count_text(nobody)}")
    if alike := alike_groups(set(listed) - set(nobody)):
        _say(f"{path}: alike names count as different individuals: {alike_text(alike)}; give each individual one name")
    return {image: identity for image, identity in identity_of.items() if not is_missing(identity, tuple(unknown))}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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


def _find_shortfalls(folder: Path, names: Sequence[str], verifier: Verifier) -> dict[str, str]:
    """What is wrong with the photographs that are below the verifier's limits: "too blurred: ..."."""
    found = in_threads(lambda name: measure_quality(decode(folder / name)), names, label="quality")
    return {
        name: " and ".join(map(str, below))
        for name, quality in zip(names, found, strict=True)
        if (below := shortfalls(quality, verifier.quality))
    }


def _has_pixels_of(record: Records, gallery: GalleryEmbeddings, rows: Rows, similarity: Floats) -> np.ndarray:
    """Whether each of the gallery's `rows` (K,) is the very picture that a query with this record shows: (K,) bool."""
    if gallery.records is None:
        return np.asarray(similarity >= _SAME_PIXELS)
    return np.array([digest_of(gallery.records[row]) == digest_of(record) for row in rows])


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
