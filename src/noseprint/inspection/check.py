"""A look at a whole data folder before a long training: every fault at once, and what is worth knowing besides."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from noseprint.data.tables import (
    PairTable,
    contradictions,
    image_folder,
    read_labels,
    read_pairs,
    read_retrieval,
    read_train,
)
from noseprint.errors import DataError, Fault
from noseprint.inspection.copies import Copy, find_copies
from noseprint.inspection.orientation import Orientation, find_turned
from noseprint.inspection.summaries import PhotoSummary, summarise

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
TINY = 48  # px of the short side
DARK = 32  # mean grey of 255


@dataclass(frozen=True)
class Finding:
    """One thing found: a fault stops a training, a remark does not."""

    kind: str
    file: Path
    problem: str
    line: int | None = None
    other: Path | None = None
    """The other photograph, where two are concerned."""


@dataclass(frozen=True)
class SplitFigures:
    """What one split holds."""

    name: str
    images: int
    per_identity: tuple[int, ...] | None
    """Images of each identity, where identities are known."""
    short_sides: tuple[int, ...]
    sharpness: tuple[float, ...]
    tiny: int
    dark: int


@dataclass(frozen=True)
class Report:
    """All that `check` found."""

    faults: list[Finding]
    remarks: list[Finding]
    splits: list[SplitFigures]
    orientation: Orientation | None


@dataclass(frozen=True)
class _Tables:
    """What the tables say, as far as they can be read."""

    faults: list[Fault] = field(default_factory=list)
    images: dict[str, list[Path]] = field(default_factory=dict)
    """Split -> each image that a table names once; every file of the folder where a table cannot be read."""
    identity: dict[Path, str] = field(default_factory=dict)
    different: set[frozenset[Path]] = field(default_factory=set)
    """Pairs that a labels.csv calls different."""
    labels: list[tuple[PairTable, tuple[bool, ...]]] = field(default_factory=list)
    searched: dict[Path, str] = field(default_factory=dict)
    """The identities of retrieval.csv."""

    def read(self, reader: Callable[[Path], T], data: Path) -> T | None:
        """What `reader` returns, or None where it fails; what is wrong is kept."""
        try:
            return reader(data)
        except DataError as error:
            self.faults.extend(error.faults)
        return None


def check(data: Path) -> Report:
    """Read every table of a data folder and every photograph they name, with a progress bar."""
    tables = _read_tables(data)
    paths = [path for split in SPLITS for path in tables.images[split]]
    split_of = {path: split for split in SPLITS for path in tables.images[split]}
    seen = dict(zip(paths, summarise(paths), strict=True))
    looks = {path: look for path, look in seen.items() if isinstance(look, PhotoSummary)}
    good = list(looks)
    copies = find_copies(list(looks.values()))
    orientation = find_turned([look.thumbnail for look in looks.values()])
    remarks = _judge(copies, good, split_of=split_of, tables=tables)
    for row, degrees in orientation.turned.items() if orientation else ():
        remarks.append(Finding("turned", good[row], f"seems turned by {degrees} degrees anticlockwise"))
    remarks += _contradicted(tables)
    for split in SPLITS:
        remarks += _names(data, split, listed=tables.images[split])
    remarks += _poor(looks)
    faults = [Finding("table", fault.file, fault.problem, fault.line) for fault in dict.fromkeys(tables.faults)]
    faults += [Finding("image", look.file, look.problem) for look in seen.values() if isinstance(look, Fault)]
    figures = [_figures(split, tables.images[split], identity=tables.identity, looks=looks) for split in SPLITS]
    return Report(faults, remarks, figures, orientation)


def measure(data: Path, *, most: int) -> list[SplitFigures]:
    """The figures of each split, measured on at most `most` of its photographs, evenly spaced: no search for faults."""
    tables = _read_tables(data)
    paths = {split: tables.images[split] for split in SPLITS}
    looked = [path for split in SPLITS for path in paths[split][:: -(-len(paths[split]) // most) or 1]]
    looks = {path: look for path, look in zip(looked, summarise(looked), strict=True) if isinstance(look, PhotoSummary)}
    figures = [_figures(split, paths[split], identity=tables.identity, looks=looks) for split in SPLITS]
    return [replace(found, images=len(paths[found.name])) for found in figures]


def _read_tables(data: Path) -> _Tables:
    tables = _Tables()
    named: dict[str, list[Path]] = defaultdict(list)
    whole = set(SPLITS)
    if train := tables.read(read_train, data):
        whole.remove("train")
        named["train"] += train.paths
        tables.identity.update(zip(train.paths, train.identities, strict=True))
    for split in ("validation", "test"):
        if pairs := tables.read(partial(read_pairs, split=split), data):
            whole.remove(split)
            named[split] += [pairs.folder / name for name in pairs.names()]
        if labels := tables.read(partial(read_labels, split=split), data):
            tables.labels.append(labels)
            listed, same = labels
            named[split] += [listed.folder / name for name in listed.names()]
            rows = zip(listed.image_a, listed.image_b, same, strict=True)
            tables.different.update(
                frozenset((listed.folder / a, listed.folder / b)) for a, b, is_same in rows if not is_same
            )
    if search := tables.read(read_retrieval, data):
        for path, identity in zip(search.paths, search.identities, strict=True):
            named[path.parent.relative_to(data).parts[0]].append(path)
            tables.identity.setdefault(path, identity)
            tables.searched[path] = identity
    for split in SPLITS:
        tables.images[split] = list(dict.fromkeys(named[split] + (_files(data, split) if split in whole else [])))
    return tables


def _judge(
    copies: Sequence[Copy], paths: Sequence[Path], *, split_of: Mapping[Path, str], tables: _Tables
) -> list[Finding]:
    """The near-copies, the gravest first."""
    kinds = ("two identities", "labelled different", "two splits", "near-copy")
    found: dict[str, list[Finding]] = {kind: [] for kind in kinds}
    for copy in copies:
        a, b = paths[copy.first], paths[copy.second]
        alike = "the same pixels" if copy.correlation == 1 else f"correlation {copy.correlation:.2f}"
        one, other = tables.identity.get(a), tables.identity.get(b)
        if split_of[a] != split_of[b]:
            found["two splits"].append(Finding("two splits", a, alike, other=b))
        elif frozenset((a, b)) in tables.different:
            found["labelled different"].append(Finding("labelled different", a, alike, other=b))
        elif one is not None and other is not None and one != other:
            problem = f"identities {one!r} and {other!r}, {alike}"
            found["two identities"].append(Finding("two identities", a, problem, other=b))
        else:  # inside one identity, or inside one split without identities
            found["near-copy"].append(Finding("near-copy", a, alike, other=b))
    return [finding for findings in found.values() for finding in findings]


def _poor(looks: Mapping[Path, PhotoSummary]) -> list[Finding]:
    """Photographs in which there is little to see."""
    found = [
        Finding("tiny", path, f"short side {look.short_side} px")
        for path, look in looks.items()
        if look.short_side < TINY
    ]
    dark = ((path, look.brightness) for path, look in looks.items() if look.brightness < DARK)
    return found + [Finding("dark", path, f"mean grey {brightness:.0f}") for path, brightness in dark]


def _contradicted(tables: _Tables) -> list[Finding]:
    """The pairs whose label is not what the identities of retrieval.csv say."""
    found = []
    for pairs, same in tables.labels:
        for row in contradictions(pairs, same, tables.searched):
            a, b = pairs.folder / pairs.image_a[row], pairs.folder / pairs.image_b[row]
            problem = f"label {int(same[row])}, identities {tables.searched[a]!r} and {tables.searched[b]!r}"
            found.append(Finding("contradicted", a, problem, other=b))
    return found


def _names(data: Path, split: str, *, listed: Sequence[Path]) -> list[Finding]:
    """Names of a split that some systems take for one, and files that no table names."""
    first: dict[str, Path] = {}
    found = []
    for path in listed:
        if (other := first.setdefault(path.name.casefold(), path)) != path:
            found.append(Finding("case", path, "are one file on a disk that ignores case", other=other))
    known = set(listed)
    return found + [
        Finding("unlisted", path, "is named by no table") for path in _files(data, split) if path not in known
    ]


def _files(data: Path, split: str) -> list[Path]:
    """What lies in the image folder of a split, but for hidden files; nothing where there is no such folder."""
    try:
        folder = image_folder(data, split)
    except DataError:  # read_train and read_pairs have said so
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _figures(
    split: str, paths: Iterable[Path], *, identity: Mapping[Path, str], looks: Mapping[Path, PhotoSummary]
) -> SplitFigures:
    mine = [looks[path] for path in paths if path in looks]
    counts = Counter(identity[path] for path in paths if path in identity)
    return SplitFigures(
        name=split,
        images=len(mine),
        per_identity=tuple(counts.values()) or None,
        short_sides=tuple(look.short_side for look in mine),
        sharpness=tuple(look.sharpness for look in mine),
        tiny=sum(look.short_side < TINY for look in mine),
        dark=sum(look.brightness < DARK for look in mine),
    )
