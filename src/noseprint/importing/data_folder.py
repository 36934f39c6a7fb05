"""Makes a data folder in the challenge's layout from a user's own photographs."""

import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import decode, in_threads
from noseprint.data.encounters import Gap, count_encounters, encounter_problem, group_times, parse_gap
from noseprint.data.names import alike_groups, alike_text, count_text, is_missing, rounded_numbers, rounded_text
from noseprint.data.tables import (
    ENCOUNTERS,
    LABEL_HEADER,
    PAIR_HEADER,
    PAIR_TABLES,
    RETRIEVAL_HEADER,
    TRAIN_HEADER,
    ImageTable,
)
from noseprint.errors import DataError, Fault, NoseprintError, printable
from noseprint.files import file_hash, friendly_write_errors, require_writable, scratch_folder
from noseprint.importing.boxes import Box, crop_suffix, write_crop
from noseprint.importing.sources import ImportSource, SourcePhotograph
from noseprint.importing.splits import Shot, Shots, choose_queries, make_pairs, split_identities

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
    unknown: int = 0
    """Photographs of unknown individuals, which are in no split."""
    remarks: tuple[str, ...] = ()
    """What the user should know about names and encounters."""


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
    unknown: Sequence[str] = (),
    merge_alike: bool = False,
    keep_alike: bool = False,
    encounter_gap: str | None = None,
) -> ImportSummary:
    """Write the data folder `target`: its three splits with their tables, labels.csv, retrieval.csv and imported.csv.

    The photographs are copied byte for byte under new names; imported.csv gives the old name of each. If an individual
    has several copies of a photograph, the one with the shortest name is used, and skipped.csv lists the others.
    Photographs whose individual is missing (`is_missing`) go to unknown/images and to imported.csv, without an
    identity: a gallery can use them. `target` is written whole or not at all.

    validation, test: shares of the individuals. pairs: the largest number of pairs in a split. link: make hard links
    instead of copies. skip_bad: leave out photographs that cannot be used, and list them in skipped.csv as well.
    unknown: further words for a missing individual or encounter. merge_alike: give individuals whose names a person
    takes for the same (`alike_form`) the most frequent of their names; keep_alike: keep them apart.
    encounter_gap: read encounters as time stamps; a longer pause begins a new encounter (`parse_gap`).
    Raises NoseprintError, before anything is written, if photographs cannot be used (broken, another format, one
    photograph under two individuals), if names of individuals are alike and neither `merge_alike` nor `keep_alike` is
    given, if `target` is not empty, and as `parse_gap`, `group_times` and `split_identities` do.
    """
    gap = parse_gap(encounter_gap) if encounter_gap else None
    _require_empty(target)
    require_writable(target)
    source, remarks = _name_unknown(source, tuple(unknown))
    alike = alike_groups(photograph.identity for photograph in source.photographs)
    if rounded := rounded_numbers(photograph.identity for photograph in source.photographs):
        remarks.append(f"Caution: {rounded_text(rounded)}.")
    if alike and merge_alike:
        source = _merge_alike(source, alike)
        remarks.append(f"Taken for one individual each: {alike_text(alike)}.")
    elif alike and keep_alike:
        remarks.append(f"Kept as different individuals: {alike_text(alike)}.")
    if gap:
        source = _group_encounters(source, gap)
    usable, copies, faults = _check_photographs(source.photographs)
    faults = [*source.faults, *faults]
    problems = [_alike_message(alike)] if alike and not (merge_alike or keep_alike) else []
    if faults and not skip_bad:
        problems.append(_fault_message(faults, copies=len(copies)))
    if problems:
        raise NoseprintError("\n".join(problems))
    usable.sort(key=lambda one: (not one.identity, one.identity, one.path, str(one.box or "")))
    names = [_new_name(photograph, number) for number, photograph in enumerate(usable, 1)]
    shots: dict[str, list[Shot]] = defaultdict(list)
    first_name: dict[Path, str] = {}  # crops of one photograph are one encounter
    for photograph, name in zip(usable, names, strict=True):
        encounter = photograph.encounter or first_name.setdefault(photograph.path, name)
        if photograph.identity:
            shots[photograph.identity].append(Shot(name, encounter))
    split_of = split_identities(
        shots, validation=validation, test=test, seed=seed, encounter_column=source.encounter_column
    )
    remarks += _encounter_remarks(source, usable, gap=gap)
    with friendly_write_errors(target), scratch_folder(target) as scratch:
        folder = scratch / "data"
        rows = []
        for photograph, name in zip(usable, names, strict=True):
            split = split_of.get(photograph.identity, "unknown")
            new = folder / split / "images" / name
            new.parent.mkdir(parents=True, exist_ok=True)
            if photograph.box:
                write_crop(photograph.path, photograph.box, new)
            else:
                _link(photograph.path, new, target) if link else shutil.copyfile(photograph.path, new)
            whole = (
                photograph.path.parent.resolve() / photograph.path.name,
                photograph.identity,
                photograph.encounter,
                split,
                name,
            )
            rows.append((*whole, photograph.box) if photograph.box else whole)
        has_boxes = any(photograph.box for photograph in usable)
        write_csv(folder / "imported.csv", (*IMPORTED_HEADER, "bbox") if has_boxes else IMPORTED_HEADER, rows)
        if faults or copies:
            skipped = ((fault.file, fault.problem) for fault in (*faults, *copies))
            write_csv(folder / "skipped.csv", ("image", "problem"), skipped)
        parts = {s: {i: own for i, own in shots.items() if split_of[i] == s} for s in ("train", *PAIR_TABLES)}
        pair_counts = _write_tables(folder, parts, encounters=source.has_encounters, pairs=pairs, seed=seed)
        folder.rename(target)
    splits = [(s, len(own), sum(map(len, own.values())), pair_counts.get(s, 0)) for s, own in parts.items()]
    unknown_photographs = sum(not photograph.identity for photograph in usable)
    return ImportSummary(tuple(splits), len(faults), len(copies), unknown_photographs, tuple(remarks))


def without_encounters(source: ImportSource) -> ImportSource:
    """The source as if it gave no encounters."""
    photographs = [replace(photograph, encounter="") for photograph in source.photographs]
    description = f"{source.description}; encounters are not used" if source.has_encounters else source.description
    return replace(source, photographs=photographs, has_encounters=False, description=description)


def _require_empty(target: Path) -> None:
    """Raise NoseprintError unless `target` is missing or an empty folder, and not the current folder."""
    if target.resolve() == Path.cwd():
        raise NoseprintError(f"{target} is the current folder: name a new one inside it")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise NoseprintError(f"{target} already exists: name a new folder; nothing is added to an existing one")


def _name_unknown(source: ImportSource, unknown: tuple[str, ...]) -> tuple[ImportSource, list[str]]:
    """The source with "" for each missing identity and encounter, and a remark on the identities."""

    def known(name: str) -> str:
        return "" if is_missing(name, unknown) else name

    missing = [p.identity for p in source.photographs if not known(p.identity)]
    photographs = [replace(p, identity=known(p.identity), encounter=known(p.encounter)) for p in source.photographs]
    remark = (
        f"Unknown individuals on {len(missing)} photographs: {count_text(missing)}. These photographs are in no split; "
        "unknown/images keeps them for a gallery. If one of these words is a name, write it in another way."
    )
    return replace(source, photographs=photographs), [remark] if missing else []


def _merge_alike(source: ImportSource, alike: Sequence[Sequence[str]]) -> ImportSource:
    counts = Counter(photograph.identity for photograph in source.photographs)
    name_of = {name: max(names, key=counts.__getitem__) for names in alike for name in names}
    merged = [replace(p, identity=name_of.get(p.identity, p.identity)) for p in source.photographs]
    return replace(source, photographs=merged)


def _group_encounters(source: ImportSource, gap: Gap) -> ImportSource:
    photographs = source.photographs
    if not any(photograph.encounter for photograph in photographs):
        raise NoseprintError("--encounter-gap: no time stamps are known; name their column with --encounter-column")
    grouped = group_times([p.identity for p in photographs], [p.encounter for p in photographs], gap)
    named = zip(photographs, grouped, strict=True)
    return replace(source, photographs=[replace(photograph, encounter=encounter) for photograph, encounter in named])


def _encounter_remarks(source: ImportSource, usable: Sequence[SourcePhotograph], *, gap: Gap | None) -> list[str]:
    """How many encounters there are; without a gap, also what makes them useless."""
    known = [(p.path, p.identity, p.encounter) for p in usable if p.identity]
    paths, identities, encounters = zip(*known, strict=True)
    table = ImageTable(paths, identities, encounters, encounter_column=source.encounter_column)
    number, photographs = count_encounters(table)
    if not photographs:
        return []
    remarks = [f"{number} encounters for {photographs} photographs."]
    if not gap and (problem := encounter_problem(table)):
        remarks.append(f"Caution: {problem}.")
    return remarks


def _check_photographs(
    photographs: Sequence[SourcePhotograph],
) -> tuple[list[SourcePhotograph], list[Fault], list[Fault]]:
    """The photographs that can be used, the copies of them, and what is wrong with the others."""
    paths = list(dict.fromkeys(photograph.path for photograph in photographs))
    checked = dict(zip(paths, in_threads(_checksum, paths, label="photographs"), strict=True))
    faults = [fault for fault in checked.values() if isinstance(fault, Fault)]
    by_checksum: dict[tuple[str, Box | None], list[SourcePhotograph]] = defaultdict(list)
    for photograph in photographs:
        if isinstance(checksum := checked[photograph.path], str):
            by_checksum[checksum, photograph.box].append(photograph)
    usable, copies = list[SourcePhotograph](), list[Fault]()
    for equal in by_checksum.values():
        first, *rest = sorted(equal, key=lambda p: (not p.identity, len(p.path.name), p.path))
        identities = sorted({photograph.identity for photograph in equal if photograph.identity})
        if len(identities) > 1:
            part = f", cut to the same box {first.box}," if first.box else ""
            problem = f"is the same file{part} under {' and '.join(map(repr, identities))}: keep the right one"
            faults += [Fault(photograph.path, None, problem) for photograph in equal]
        else:
            usable.append(first)
            copies += [Fault(copy.path, None, f"is the same file as {first.path}: left out") for copy in rest]
    return usable, copies, faults


def _checksum(path: Path) -> str | Fault:
    try:
        decode(path)
    except DataError as error:
        return error.faults[0]
    return file_hash(path)


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


def _link(photograph: Path, new: Path, target: Path) -> None:
    try:
        new.hardlink_to(photograph.resolve())
    except OSError as error:
        problem = f"--link: {photograph} cannot be linked into {target} ({error.strerror})"
        raise NoseprintError(f"{problem}: leave --link out, or name a target on the disk of the photographs") from error


def _new_name(photograph: SourcePhotograph, number: int) -> str:
    """A file name that works on any disk; the number makes it unique."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", photograph.identity) if not unicodedata.combining(c))
    word = re.sub(r"[^A-Za-z0-9]+", "-", letters)[:40].strip("-")
    suffix = re.sub(r"[^a-z0-9.]", "", photograph.path.suffix.lower())[:8]
    suffix = crop_suffix(photograph.path) if photograph.box else suffix
    return f"{word or ('individual' if photograph.identity else 'unknown')}-{number:05d}{suffix}"


def _alike_message(alike: Sequence[Sequence[str]]) -> str:
    return (
        f"{sum(map(len, alike))} names of individuals are alike: {alike_text(alike)}. If they are one individual each, "
        "--merge-alike gives them one name; if not, --keep-alike keeps them apart. Nothing was written."
    )


def _fault_message(faults: Sequence[Fault], *, copies: int) -> str:
    also = f" (copies are left out, too: {copies})" if copies else ""
    advice = f"move them away, or leave them out with --skip-bad{also}"
    lines = [f"{len(faults)} files cannot be used: {advice}. Nothing was written."]
    lines += [f"  {printable(fault)}" for fault in faults[:_SHOWN_FAULTS]]
    lines += [f"  and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
    lines += [_HEIC_ADVICE] if any("is HEIC" in fault.problem for fault in faults) else []
    return "\n".join(lines)
