"""Makes a data folder in the challenge's layout from a user's own photographs."""

import hashlib
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noseprint.data.decoding import decode, in_threads
from noseprint.data.import_sources import ImportSource, SourcePhotograph
from noseprint.data.splits import Shot, Shots, choose_queries, make_pairs, split_identities
from noseprint.data.tables import (
    ENCOUNTERS,
    LABEL_HEADER,
    PAIR_HEADER,
    PAIR_TABLES,
    RETRIEVAL_HEADER,
    TRAIN_HEADER,
    write_csv,
)
from noseprint.errors import DataError, Fault, NoseprintError, printable
from noseprint.files import friendly_write_errors, scratch_folder

IMPORTED_HEADER = ("original", "identity", "encounter", "folder", "image")
_SHOWN_FAULTS = 100
_HEIC_ADVICE = (
    "To read HEIC: `pip install noseprint[heic]`. To convert it to JPEG: `magick mogrify -format jpg *.HEIC` "
    "(ImageMagick) or, on macOS, `sips -s format jpeg *.HEIC --out .`; then move the HEIC files away"
)


@dataclass(frozen=True)
class ImportSummary:
    """What was written, as (split, individuals, photographs, pairs), and how many files were left out."""

    splits: tuple[tuple[str, int, int, int], ...]
    unusable: int
    copies: int


def import_photographs(
    source: ImportSource,
    target: Path,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    pairs: int = 6000,
    seed: int = 0,
    link: bool = False,
    skip_bad: bool = False,
) -> ImportSummary:
    """Write the data folder `target`: its three splits with their tables, labels.csv, retrieval.csv and imported.csv.

    The photographs are copied byte for byte under new names; imported.csv gives the old name of each. If an individual
    has several copies of a photograph, the one with the shortest name is used, and skipped.csv lists the others.
    `target` is written whole or not at all.

    validation, test: shares of the individuals. pairs: the most pairs in a split. link: make hard links instead of
    copies. skip_bad: leave out photographs that cannot be used, and list them in skipped.csv as well.
    Raises NoseprintError, before anything is written: where photographs cannot be used (broken, another format, one
    photograph of two individuals; all are named), where `target` is not empty, and as `split_identities`.
    """
    _require_empty(target)
    usable, copies, faults = _check_photographs(source.photographs)
    faults = [*source.faults, *faults]
    if faults and not skip_bad:
        raise NoseprintError(_fault_message(faults, copies=len(copies)))
    usable.sort(key=lambda photograph: (photograph.identity, photograph.path))
    names = [_new_name(photograph, number) for number, photograph in enumerate(usable, 1)]
    shots: dict[str, list[Shot]] = defaultdict(list)
    for photograph, name in zip(usable, names, strict=True):
        shots[photograph.identity].append(Shot(name, photograph.encounter or name))
    split_of = split_identities(shots, validation=validation, test=test, seed=seed)
    with friendly_write_errors(target), scratch_folder(target) as scratch:
        folder = scratch / "data"
        rows = []
        for photograph, name in zip(usable, names, strict=True):
            split = split_of[photograph.identity]
            new = folder / split / "images" / name
            new.parent.mkdir(parents=True, exist_ok=True)
            new.hardlink_to(photograph.path.resolve()) if link else shutil.copyfile(photograph.path, new)
            rows.append((photograph.path.absolute(), photograph.identity, photograph.encounter, split, name))
        write_csv(folder / "imported.csv", IMPORTED_HEADER, rows)
        if faults or copies:
            skipped = ((fault.file, fault.problem) for fault in (*faults, *copies))
            write_csv(folder / "skipped.csv", ("image", "problem"), skipped)
        parts = {s: {i: own for i, own in shots.items() if split_of[i] == s} for s in ("train", *PAIR_TABLES)}
        pair_counts = _write_tables(folder, parts, encounters=source.has_encounters, pairs=pairs, seed=seed)
        folder.rename(target)
    splits = [(s, len(own), sum(map(len, own.values())), pair_counts.get(s, 0)) for s, own in parts.items()]
    return ImportSummary(tuple(splits), len(faults), len(copies))


def similar_identities(photographs: Sequence[SourcePhotograph]) -> list[tuple[str, ...]]:
    """Identities whose names differ in case, spaces or Unicode form only: perhaps one, spelled in two ways."""
    similar = defaultdict(set)
    for photograph in photographs:
        normal_form = "".join(unicodedata.normalize("NFKC", photograph.identity).casefold().split())
        similar[normal_form].add(photograph.identity)
    return [tuple(sorted(names)) for names in similar.values() if len(names) > 1]


def _require_empty(target: Path) -> None:
    """Raise NoseprintError unless `target` is missing or an empty folder, and not the current folder."""
    if target.resolve() == Path.cwd():
        raise NoseprintError(f"{target} is the current folder: name a new one inside it")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise NoseprintError(f"{target} already exists: name a new folder; nothing is added to an existing one")


def _check_photographs(
    photographs: Sequence[SourcePhotograph],
) -> tuple[list[SourcePhotograph], list[Fault], list[Fault]]:
    """The photographs that can be used, the copies of them, and what is wrong with the others."""
    checked = list(zip(photographs, in_threads(_checksum, photographs, label="photographs"), strict=True))
    faults = [fault for _, fault in checked if isinstance(fault, Fault)]
    by_checksum: dict[str, list[SourcePhotograph]] = defaultdict(list)
    for photograph, checksum in checked:
        if isinstance(checksum, str):
            by_checksum[checksum].append(photograph)
    usable, copies = list[SourcePhotograph](), list[Fault]()
    for equal in by_checksum.values():
        first, *rest = sorted(equal, key=lambda photograph: (len(photograph.path.name), photograph.path))
        identities = sorted({photograph.identity for photograph in equal})
        if len(identities) > 1:
            problem = f"is the same file under {' and '.join(map(repr, identities))}: keep the right one"
            faults += [Fault(photograph.path, None, problem) for photograph in equal]
        else:
            usable.append(first)
            copies += [Fault(copy.path, None, f"is the same file as {first.path}: left out") for copy in rest]
    return usable, copies, faults


def _checksum(photograph: SourcePhotograph) -> str | Fault:
    try:
        decode(photograph.path)
    except DataError as error:
        return error.faults[0]
    return hashlib.sha256(photograph.path.read_bytes()).hexdigest()


def _write_tables(
    folder: Path, parts: Mapping[str, Shots], *, encounters: bool, pairs: int, seed: int
) -> dict[str, int]:
    """Write the tables of each split; return the number of pairs in each split that has pairs."""
    column = ENCOUNTERS[:1] * encounters
    train = [(identity, shot.name, shot.encounter) for identity, own in parts["train"].items() for shot in own]
    rows = (row[: 2 + encounters] for row in train)
    write_csv(folder / "train" / "train_data.csv", (*TRAIN_HEADER, *column), rows)
    pair_counts: dict[str, int] = {}
    for split, table in PAIR_TABLES.items():
        labelled = make_pairs(parts[split], most=pairs, seed=seed)
        pair_counts[split] = len(labelled)
        write_csv(folder / split / table, PAIR_HEADER, (pair[:2] for pair in labelled))
        write_csv(folder / split / "labels.csv", LABEL_HEADER, labelled)
    rng = np.random.default_rng((seed, 2))
    search = []
    for identity, own in parts["test"].items():
        queries = choose_queries(own, rng)
        roles = ["query" if shot.name in queries else "gallery" for shot in own]
        search += [("test", role, identity, shot.name, shot.encounter) for role, shot in zip(roles, own, strict=True)]
    write_csv(folder / "retrieval.csv", (*RETRIEVAL_HEADER, *column), (row[: 4 + encounters] for row in search))
    return pair_counts


def _new_name(photograph: SourcePhotograph, number: int) -> str:
    """A file name that works on any disk; the number makes it unique."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", photograph.identity) if not unicodedata.combining(c))
    word = re.sub(r"[^A-Za-z0-9]+", "-", letters)[:40].strip("-")
    suffix = re.sub(r"[^a-z0-9.]", "", photograph.path.suffix.lower())[:8]
    return f"{word or 'individual'}-{number:05d}{suffix}"


def _fault_message(faults: Sequence[Fault], *, copies: int) -> str:
    also = f" (and the copies: {copies})" if copies else ""
    advice = f"move them away, or leave them out with --skip-bad{also}"
    lines = [f"{len(faults)} files cannot be used: {advice}. Nothing was written."]
    lines += [f"  {printable(fault)}" for fault in faults[:_SHOWN_FAULTS]]
    lines += [f"  and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
    lines += [_HEIC_ADVICE] if any("is HEIC" in fault.problem for fault in faults) else []
    return "\n".join(lines)
