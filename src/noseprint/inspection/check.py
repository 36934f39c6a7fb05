"""Checks a whole data folder before a long training: faults, which stop a training, and remarks, which do not."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from noseprint.data.encounters import encounter_problem
from noseprint.data.names import alike_groups, disk_form, rounded_numbers
from noseprint.data.tables import (
    ImageTable,
    PairTable,
    RetrievalTable,
    contradicting_rows,
    image_folder,
    read_labels,
    read_pairs,
    read_retrieval,
    read_train,
)
from noseprint.errors import DataError, Fault
from noseprint.inspection.copies import find_copies
from noseprint.inspection.summaries import PhotoSummary, summarise

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
TINY_SIDE = 48  # px of the short side
DARK_GREY = 32  # mean grey value, 0..255


@dataclass(frozen=True)
class Finding:
    """A fault or a remark."""

    kind: str
    file: Path
    problem: str
    line: int | None = None
    other: Path | None = None
    """The second photograph, if the finding is about two."""


@dataclass(frozen=True)
class SplitFigures:
    """What one split holds."""

    name: str
    images: int
    per_identity: tuple[int, ...] | None
    """Number of images of each identity; None if identities are not known."""
    short_sides: tuple[int, ...]
    sharpness: tuple[float, ...]
    tiny: int
    dark: int


@dataclass(frozen=True)
class DataReport:
    """All that `check` found."""

    faults: list[Finding]
    remarks: list[Finding]
    splits: list[SplitFigures]


@dataclass(frozen=True)
class _Tables:
    """What the tables of a data folder say; `faults` says what could not be read."""

    faults: list[Fault] = field(default_factory=list)
    images: dict[str, list[Path]] = field(default_factory=dict)
    """Split -> each image that a table names, once. If a table cannot be read, every file of the folder as well."""
    identities: dict[Path, str] = field(default_factory=dict)
    retrieval_identities: dict[Path, str] = field(default_factory=dict)
    named: dict[Path, ImageTable | RetrievalTable] = field(default_factory=dict)
    """Table file -> the tables that name identities."""
    labels: list[tuple[PairTable, tuple[bool, ...]]] = field(default_factory=list)
    different: set[frozenset[Path]] = field(default_factory=set)
    """Pairs that a labels.csv calls different."""

    def read(self, reader: Callable[[Path], T], data: Path) -> T | None:
        """What `reader` returns; None if it fails, and its faults are added."""
        try:
            return reader(data)
        except DataError as error:
            self.faults.extend(error.faults)
        return None


def check(data: Path) -> DataReport:
    """Read every table of a data folder and every photograph that they name, with a progress bar."""
    tables = _read_tables(data)
    split_of = {path: split for split in SPLITS for path in tables.images[split]}
    results = dict(zip(split_of, summarise(list(split_of)), strict=True))
    summaries = {path: result for path, result in results.items() if isinstance(result, PhotoSummary)}
    faults = [Finding("table", fault.file, fault.problem, fault.line) for fault in dict.fromkeys(tables.faults)]
    broken = [result for result in results.values() if isinstance(result, Fault)]
    faults += [Finding("image", fault.file, fault.problem) for fault in broken]
    remarks = _find_copies(summaries, split_of, tables)
    remarks += _find_contradictions(tables)
    remarks += _find_single(data, tables)
    remarks += _find_odd_identities(tables)
    for split in SPLITS:
        remarks += _find_odd_names(data, split, named=tables.images[split])
    tiny = {path: found.short_side for path, found in summaries.items() if found.short_side < TINY_SIDE}
    remarks += [Finding("tiny", path, f"short side {side} px") for path, side in tiny.items()]
    dark = {path: found.brightness for path, found in summaries.items() if found.brightness < DARK_GREY}
    remarks += [Finding("dark", path, f"mean grey {brightness:.0f}") for path, brightness in dark.items()]
    return DataReport(faults, remarks, [_figures(split, tables, summaries) for split in SPLITS])


def measure_splits(data: Path, *, most: int) -> list[SplitFigures]:
    """The figures of each split, measured on at most `most` of its photographs, evenly spaced. Ignores faults."""
    tables = _read_tables(data)
    sample = [path for paths in tables.images.values() for path in paths[:: -(-len(paths) // most) or 1]]
    results = zip(sample, summarise(sample), strict=True)
    summaries = {path: result for path, result in results if isinstance(result, PhotoSummary)}
    figures = [_figures(split, tables, summaries) for split in SPLITS]
    return [replace(found, images=len(tables.images[found.name])) for found in figures]


def _read_tables(data: Path) -> _Tables:
    tables = _Tables()
    named: dict[str, list[Path]] = defaultdict(list)
    unread = set(SPLITS)
    if train := tables.read(read_train, data):
        unread.remove("train")
        named["train"] += [*train.paths, *train.unknown]
        tables.named[data / "train" / "train_data.csv"] = train
        tables.identities.update(zip(train.paths, train.identities, strict=True))
    for split in ("validation", "test"):
        if pairs := tables.read(partial(read_pairs, split=split), data):
            unread.remove(split)
            named[split] += [pairs.folder / name for name in pairs.names()]
        if labels := tables.read(partial(read_labels, split=split), data):
            tables.labels.append(labels)
            labelled, same = labels
            named[split] += [labelled.folder / name for name in labelled.names()]
            for a, b, is_same in zip(labelled.image_a, labelled.image_b, same, strict=True):
                if not is_same:
                    tables.different.add(frozenset((labelled.folder / a, labelled.folder / b)))
    if retrieval := tables.read(read_retrieval, data):
        tables.retrieval_identities.update(zip(retrieval.paths, retrieval.identities, strict=True))
        tables.named[data / "retrieval.csv"] = retrieval
        for path in (*retrieval.paths, *retrieval.unknown):
            named[path.parent.relative_to(data).parts[0]].append(path)
        for path, identity in tables.retrieval_identities.items():
            tables.identities.setdefault(path, identity)
    for split in SPLITS:
        files = _image_files(data, split) if split in unread else []
        tables.images[split] = list(dict.fromkeys(named[split] + files))
    return tables


def _find_copies(
    summaries: Mapping[Path, PhotoSummary], split_of: Mapping[Path, str], tables: _Tables
) -> list[Finding]:
    """The copies and near copies, the worst kind first."""
    paths = list(summaries)
    kinds = ("two identities", "labelled different", "two splits", "near copy")
    findings: dict[str, list[Finding]] = {kind: [] for kind in kinds}
    for copy in find_copies(list(summaries.values())):
        a, b = paths[copy.first], paths[copy.second]
        problem = "the same pixels" if copy.correlation == 1 else f"correlation {copy.correlation:.2f}"
        identity_a, identity_b = tables.identities.get(a), tables.identities.get(b)
        if split_of[a] != split_of[b]:
            kind = "two splits"
        elif frozenset((a, b)) in tables.different:
            kind = "labelled different"
        elif identity_a is not None and identity_b is not None and identity_a != identity_b:
            kind, problem = "two identities", f"identities {identity_a!r} and {identity_b!r}, {problem}"
        else:  # of one identity, or in a split without identities
            kind = "near copy"
        findings[kind].append(Finding(kind, a, problem, other=b))
    return [finding for kind in kinds for finding in findings[kind]]


def _find_contradictions(tables: _Tables) -> list[Finding]:
    """The pairs whose label contradicts the identities in retrieval.csv."""
    findings, identities = [], tables.retrieval_identities
    for pairs, same in tables.labels:
        for row in contradicting_rows(pairs, same, identities):
            a, b = pairs.folder / pairs.image_a[row], pairs.folder / pairs.image_b[row]
            problem = f"label {int(same[row])}, identities {identities[a]!r} and {identities[b]!r}"
            findings.append(Finding("contradiction", a, problem, other=b))
    return findings


def _find_single(data: Path, tables: _Tables) -> list[Finding]:
    """How many training identities have one photograph, if any."""
    counts = Counter(tables.identities[path] for path in tables.images["train"] if path in tables.identities)
    single = sum(count == 1 for count in counts.values())
    problem = f"{single} of {len(counts)} identities have one photograph"
    return [Finding("single", data / "train" / "train_data.csv", problem)] if single else []


def _find_odd_identities(tables: _Tables) -> list[Finding]:
    """Identities that are missing, rounded, or have alike names, in one table or two, and encounters without use."""
    findings = []
    for file, table in tables.named.items():
        findings += [Finding("unknown", path, f"{word!r} in {file.name}") for path, word in table.unknown.items()]
        if problem := encounter_problem(table):
            findings.append(Finding("encounters", file, problem))
    files_of: dict[str, Path] = {}
    for file, table in tables.named.items():
        for identity in table.identities:
            files_of.setdefault(identity, file)
    for identity in rounded_numbers(files_of):
        findings.append(Finding("rounded", files_of[identity], f"{identity!r} is a number that a program has rounded"))
    for first, *others in alike_groups(files_of):
        for other in others:
            file, other_file = files_of[first], files_of[other]
            problem = f"{first!r} and {other!r} count as two individuals"
            findings.append(Finding("alike", file, problem, other=None if file == other_file else other_file))
    return findings


def _find_odd_names(data: Path, split: str, *, named: Sequence[Path]) -> list[Finding]:
    """Names of a split that some systems take for the same, and files that no table names."""
    first: dict[str, Path] = {}
    findings = []
    for path in named:
        if (other := first.setdefault(disk_form(path.name), path)) != path:
            findings.append(Finding("case", path, "are one file on a disk that ignores case", other=other))
    known = set(named)
    unlisted = [path for path in _image_files(data, split) if path not in known]
    return findings + [Finding("unlisted", path, "is not named in any table") for path in unlisted]


def _image_files(data: Path, split: str) -> list[Path]:
    """The files in the image folder of a split, except hidden ones; [] if there is no such folder."""
    try:
        folder = image_folder(data, split)
    except DataError:  # already reported by read_train or read_pairs
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _figures(split: str, tables: _Tables, summaries: Mapping[Path, PhotoSummary]) -> SplitFigures:
    paths = tables.images[split]
    own = [summaries[path] for path in paths if path in summaries]
    counts = Counter(tables.identities[path] for path in paths if path in tables.identities)
    return SplitFigures(
        name=split,
        images=len(own),
        per_identity=tuple(counts.values()) or None,
        short_sides=tuple(summary.short_side for summary in own),
        sharpness=tuple(summary.sharpness for summary in own),
        tiny=sum(summary.short_side < TINY_SIDE for summary in own),
        dark=sum(summary.brightness < DARK_GREY for summary in own),
    )
