"""A data folder in the challenge's layout from a user's own photographs."""

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
from noseprint.data.import_sources import Found, Original
from noseprint.data.splits import Shot, Shots, choose_queries, divide, make_pairs
from noseprint.data.tables import (
    ENCOUNTERS,
    LABEL_HEADER,
    PAIR_HEADER,
    PAIR_TABLES,
    RETRIEVAL_HEADER,
    TRAIN_HEADER,
    write_csv,
)
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import friendly_write_errors, scratch_folder

IMPORTED_HEADER = ("original", "identity", "encounter", "folder", "image")
_SHOWN = 100  # faults in a message
_HEIC = (
    "HEIC to JPEG: `magick mogrify -format jpg *.HEIC` (ImageMagick) or, on macOS, "
    "`sips -s format jpeg *.HEIC --out .`; then move the HEIC files away"
)


@dataclass(frozen=True)
class Imported:
    """What was written: (split, individuals, photographs, pairs); what was left out: unusable files, and copies."""

    splits: tuple[tuple[str, int, int, int], ...]
    unusable: int
    copies: int


def import_photographs(
    found: Found,
    target: Path,
    *,
    validation: float,
    test: float,
    pairs: int,
    seed: int,
    link: bool,
    skip_bad: bool,
) -> Imported:
    """Write `target`: train, validation and test with their tables, labels.csv, retrieval.csv and imported.csv.

    The photographs are copied (or hard-linked: `link`), byte for byte, under names that are unique in the folder;
    imported.csv says which was which. Of copies of a photograph of the same individual the one with the shortest name
    is kept, of equally short ones the first. The others are listed in skipped.csv; so are, under `skip_bad`, those that
    cannot be used. `target` is made whole or not at all.

    Raises NoseprintError, before anything is written, with all that cannot be used: broken files, other formats, one
    photograph of two individuals; where `target` holds something; and as `divide`.
    """
    _require_empty(target)
    sound, copies, faults = _look(found.originals)
    faults = [*found.faults, *faults]
    if faults and not skip_bad:
        raise NoseprintError(_told(faults, copies=len(copies)))
    sound.sort(key=lambda original: (original.identity, original.path))
    shots: dict[str, list[Shot]] = defaultdict(list)
    names = [_name(original, number) for number, original in enumerate(sound, 1)]
    for original, name in zip(sound, names, strict=True):
        shots[original.identity].append(Shot(name, original.encounter or name))
    split_of = divide(shots, validation=validation, test=test, seed=seed)
    left_out = [*faults, *copies]
    with friendly_write_errors(target), scratch_folder(target) as part:
        whole = part / "data"
        rows = []
        for original, name in zip(sound, names, strict=True):
            split = split_of[original.identity]
            to = whole / split / "images" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.hardlink_to(original.path.resolve()) if link else shutil.copyfile(original.path, to)
            rows.append((_plain(original.path.absolute()), original.identity, original.encounter, split, name))
        write_csv(whole / "imported.csv", IMPORTED_HEADER, rows)
        if left_out:
            write_csv(
                whole / "skipped.csv", ("image", "problem"), ((_plain(f.file), _plain(f.problem)) for f in left_out)
            )
        parts = {s: {i: own for i, own in shots.items() if split_of[i] == s} for s in ("train", *PAIR_TABLES)}
        numbers = _write_tables(whole, parts, encounters=found.has_encounters, pairs=pairs, seed=seed)
        whole.rename(target)
    splits = [(s, len(own), sum(map(len, own.values())), numbers.get(s, 0)) for s, own in parts.items()]
    return Imported(tuple(splits), len(faults), len(copies))


def _require_empty(target: Path) -> None:
    """Raise NoseprintError where something lies at `target` but an empty folder, or where it is the current one."""
    if target.resolve() == Path.cwd():
        raise NoseprintError(f"{target} is the folder you are in: name one to make in it")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise NoseprintError(f"{target} is there already: name a folder that does not exist; nothing is added to one")


def alike_identities(originals: Sequence[Original]) -> list[tuple[str, ...]]:
    """Identities whose names differ in case, spaces or Unicode's form only: perhaps one, spelt in two ways."""
    alike = defaultdict(set)
    for original in originals:
        alike["".join(unicodedata.normalize("NFKC", original.identity).casefold().split())].add(original.identity)
    return [tuple(sorted(names)) for names in alike.values() if len(names) > 1]


def _look(originals: Sequence[Original]) -> tuple[list[Original], list[Fault], list[Fault]]:
    """Those that can be used; copies of them; and what is wrong with the others."""
    seen = list(zip(originals, in_threads(_digest, originals, label="photographs"), strict=True))
    faults = [fault for _, fault in seen if isinstance(fault, Fault)]
    by_digest: dict[str, list[Original]] = defaultdict(list)
    for original, digest in seen:
        if isinstance(digest, str):
            by_digest[digest].append(original)
    sound, copies = list[Original](), list[Fault]()
    for equal in by_digest.values():
        first, *others = sorted(equal, key=lambda original: (len(original.path.name), original.path))
        identities = sorted({original.identity for original in equal})
        if len(identities) > 1:
            problem = f"is the same file under {' and '.join(map(repr, identities))}: keep it where it belongs"
            faults += [Fault(original.path, None, problem) for original in equal]
        else:
            sound.append(first)
            copies += [Fault(other.path, None, f"is the same file as {first.path}: left out") for other in others]
    return sound, copies, faults


def _digest(original: Original) -> str | Fault:
    try:
        decode(original.path)
    except DataError as error:
        return error.faults[0]
    return hashlib.sha256(original.path.read_bytes()).hexdigest()


def _write_tables(
    folder: Path, parts: Mapping[str, Shots], *, encounters: bool, pairs: int, seed: int
) -> dict[str, int]:
    """Write the tables of each split; return how many pairs those have that have pairs."""
    seen = ENCOUNTERS[:1] * encounters
    train = [(identity, shot.name, shot.encounter) for identity, own in parts["train"].items() for shot in own]
    write_csv(folder / "train" / "train_data.csv", (*TRAIN_HEADER, *seen), (row[: 2 + encounters] for row in train))
    numbers: dict[str, int] = {}
    for split, table in PAIR_TABLES.items():
        rows = make_pairs(parts[split], most=pairs, seed=seed)
        numbers[split] = len(rows)
        write_csv(folder / split / table, PAIR_HEADER, (row[:2] for row in rows))
        write_csv(folder / split / "labels.csv", LABEL_HEADER, rows)
    rng = np.random.default_rng((seed, 2))
    search = []
    for identity, own in parts["test"].items():
        queries = choose_queries(own, rng)
        roles = ["query" if shot.name in queries else "gallery" for shot in own]
        search += [("test", role, identity, shot.name, shot.encounter) for role, shot in zip(roles, own, strict=True)]
    write_csv(folder / "retrieval.csv", (*RETRIEVAL_HEADER, *seen), (row[: 4 + encounters] for row in search))
    return numbers


def _name(original: Original, number: int) -> str:
    """Unique in any folder, on any disk: the number makes it so."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", original.identity) if not unicodedata.combining(c))
    word = re.sub(r"[^A-Za-z0-9]+", "-", letters)[:40].strip("-")
    suffix = re.sub(r"[^a-z0-9.]", "", original.path.suffix.lower())[:8]
    return f"{word or 'individual'}-{number:05d}{suffix}"


def _told(faults: Sequence[Fault], *, copies: int) -> str:
    besides = f" (besides copies: {copies})" if copies else ""
    advice = f"move them away, or --skip-bad leaves them out{besides}"
    lines = [f"{len(faults)} of the files cannot be used; {advice}. Nothing was written."]
    lines += [f"  {_plain(fault)}" for fault in faults[:_SHOWN]]
    lines += [f"  and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    lines += [_HEIC] if any("HEIC" in fault.problem for fault in faults) else []
    return "\n".join(lines)


def _plain(text: object) -> str:
    return str(text).encode(errors="backslashreplace").decode()
