"""Images of instances (individual things) of several domains: image,identity,domain,part,role."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, get_args

from noseprint.data.class_columns import ClassRows
from noseprint.data.class_tables import find_name_problem, relative_name
from noseprint.data.csv_rows import read_header, read_rows, write_csv
from noseprint.data.holdout import HOLDOUT_SEED, ordered_by_hash
from noseprint.data.names import SimilarFiles, column_words, is_missing
from noseprint.data.tables import Table
from noseprint.errors import DataError, Fault, NoseprintError

TABLE = "images.csv"
"""The table that is looked for in a data folder."""
COLUMNS = ("image", "identity", "domain", "part", "role")
ALL_DOMAINS = "mean of domains"
"""The name of the mean score, so no domain may have it."""
DISTRACTORS, MOST_DISTRACTORS = 5, 2000
"""At most so many training images, of each identity and in all, join the hold-out in the index: alone it is easy."""
Part = Literal["train", "val", "test"]
_PATTERNS = {
    "image": r"image|file|path|image (path|file|name)|file ?name",
    "identity": r"identity|instance|object|item|product|individual",
    "domain": r"domain",
    "part": r"part|split|subset",
    "role": r"role",
}
_ROLES = {"query": "query", "index": "index", "gallery": "index", "both": "both", "": "both"}


@dataclass(frozen=True)
class InstanceTable(Table):
    """Images of instances, one in each row."""

    paths: tuple[Path, ...]
    identities: tuple[str, ...]
    domains: tuple[str, ...]
    """The domain of each image; every image of an identity has the same."""
    parts: tuple[Part, ...]
    """train: to learn from. val: the hold-out, to choose by. test: for the scores at the end."""
    roles: tuple[str, ...]
    """In a search: query, index or both."""
    names: tuple[str, ...]
    """The path of each image, relative to the data folder, with "/"."""

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, name: Part) -> Self:
        """The rows of one part."""
        return self.where(part == name for part in self.parts)

    @property
    def is_query(self) -> tuple[bool, ...]:
        """Whether each image is searched for."""
        return tuple(role != "index" for role in self.roles)

    @property
    def is_index(self) -> tuple[bool, ...]:
        """Whether each image can be found."""
        return tuple(role != "query" for role in self.roles)


def read_instances(data: Path, *, table: Path | None = None, missing_ok: bool = False) -> InstanceTable:
    """Read a table of instances; its images lie in the folder `data`.

    Columns are recognised by their names: image and identity; and, if there are any, domain (otherwise all images are
    of the domain "all"), part (train, val or test; otherwise all are train) and role (query, index or both; an empty
    role is both). Rows without an identity (see `is_missing`) are left out, and the number is printed.

    table: None stands for images.csv in the data folder. missing_ok: accept rows whose image does not exist.
    Raises DataError with every fault: a column that is missing or found twice, an image that is missing, outside the
    data folder or listed twice, another part or role, the domain ALL_DOMAINS, an identity of two domains, and one that
    is trained on and is in another part, too. Raises NoseprintError if there is no table.
    """
    path = table or data / TABLE
    if not path.is_file():
        raise NoseprintError(
            f"{path} is missing: write a table with the columns {','.join(COLUMNS)}, or name one with --table FILE"
        )
    faults = list[Fault]()
    found = _read_rows(path, faults)
    if found is None:
        raise DataError(faults)
    names = [relative_name(text, data) for text in found.field("image")]
    domains = [text or "all" for text in found.field("domain")]
    parts = [text.casefold() or "train" for text in found.field("part")]
    roles = [_ROLES.get(text.casefold(), text) for text in found.field("role")]
    identities = found.field("identity")
    lines = [line for line, _ in found.rows]
    known = [not is_missing(identity) for identity in identities]
    faults += _row_faults(path, lines, data, names=names, parts=parts, roles=roles, missing_ok=missing_ok)
    faults += _identity_faults(path, lines, identities=identities, domains=domains, parts=parts, known=known)
    if not any(known) and not faults:
        faults.append(Fault(path, None, "no image has an identity: write what each one shows"))
    if faults:
        raise DataError(faults)
    if not all(known):
        print(f"{path}: {known.count(False)} images without an identity are left out", file=sys.stderr, flush=True)
    return InstanceTable(
        tuple(data / name for name in names),
        tuple(map(sys.intern, identities)),
        tuple(map(sys.intern, domains)),
        tuple(parts),  # type: ignore[arg-type] # checked above
        tuple(roles),
        tuple(names),
    ).where(known)


def write_instances(path: Path, table: InstanceTable) -> None:
    """Write a table that `read_instances` reads with the same data folder."""
    rows = zip(table.names, table.identities, table.domains, table.parts, table.roles, strict=True)
    write_csv(path, COLUMNS, rows)


def hold_out_instances(table: InstanceTable, *, share: float) -> InstanceTable:
    """Give part val to `share` (0..0.5) of the training identities of each domain, unless the table has a part val.

    Of the M identities of a domain with two images or more, round(share * M) are held out, but at least one and at most
    a third. They are those with the smallest hashes, so other rows do not change the choice. A domain with fewer than
    three such identities holds out none.
    """
    if not 0 <= share <= 0.5:
        raise NoseprintError(f"--holdout {share}: must be in 0..0.5; 0.2 holds out a fifth of the identities")
    if share == 0 or "val" in table.parts:
        return table
    train = table.part("train")
    images = Counter(train.identities)
    held_out = set[str]()
    for domain in sorted(set(train.domains)):
        of_domain = {one for one, its in zip(train.identities, train.domains, strict=True) if its == domain}
        eligible = [one for one in of_domain if images[one] >= 2]
        number = min(max(1, round(share * len(eligible))), len(eligible) // 3)
        held_out.update(ordered_by_hash(eligible, seed=HOLDOUT_SEED)[:number])
    parts: list[Part] = [
        "val" if part == "train" and identity in held_out else part
        for part, identity in zip(table.parts, table.identities, strict=True)
    ]
    return replace(table, parts=tuple(parts))


def cap_instances(table: InstanceTable, *, most: int, least: int) -> InstanceTable:
    """Leave out training identities with fewer than `least` images; of the others keep at most `most` images each.

    Which images are kept depends on their names alone. Other parts stay as they are.
    """
    of_identity: dict[str, list[str]] = {}
    for name, identity, part in zip(table.names, table.identities, table.parts, strict=True):
        if part == "train":
            of_identity.setdefault(identity, []).append(name)
    kept = {
        name
        for names in of_identity.values()
        if len(names) >= least
        for name in ordered_by_hash(names, seed=HOLDOUT_SEED)[:most]
    }
    return table.where(part != "train" or name in kept for name, part in zip(table.names, table.parts, strict=True))


def require_searches(table: InstanceTable) -> None:
    """Raise NoseprintError unless there is something to learn from, to choose by and, in the part test, to search for.

    The part val must have a query with another image of its identity in the index; so must the part test, if there is
    one.
    """
    if "train" not in table.parts:
        raise NoseprintError(
            "no images are left to train on: give the part train to some identities, or lower --least, which leaves "
            "out identities with few images"
        )
    if "val" not in table.parts:
        raise NoseprintError(
            "no identity can be held out, and nothing else shows which embedding is best: one domain needs three "
            "training identities or more, each with two images, or give some identities the part val"
        )
    parts: tuple[Part, ...] = ("val", "test")
    for part in parts:
        rows = table.part(part)
        findable = Counter(one for one, is_index in zip(rows.identities, rows.is_index, strict=True) if is_index)
        queries = zip(rows.identities, rows.is_query, rows.is_index, strict=True)
        if len(rows) and not any(is_query and findable[one] > is_index for one, is_query, is_index in queries):
            raise NoseprintError(
                f"part {part}: no query has another image of its identity in the index, so no search can succeed: "
                "correct the column role (query, index or both), or add images"
            )


def distractors(train: InstanceTable) -> InstanceTable:
    """Some training images of each identity, to search the hold-out among. They depend on their names alone."""
    few = cap_instances(train, most=DISTRACTORS, least=1)
    kept = set(ordered_by_hash(few.names, seed=HOLDOUT_SEED)[:MOST_DISTRACTORS])
    return few.where(name in kept for name in few.names)


def _read_rows(path: Path, faults: list[Fault]) -> ClassRows | None:
    header = read_header(path, faults=faults)
    at = dict[str, int]()
    for kind in COLUMNS if header else ():
        found = [i for i, name in enumerate(header) if re.fullmatch(_PATTERNS[kind], column_words(name))]
        exact = [i for i in found if column_words(header[i]) == kind]
        found = exact if len(exact) == 1 else found
        shown = ", ".join(map(repr, header))
        if len(found) > 1:
            faults.append(Fault(path, 1, f"{len(found)} columns may be the {kind} ({shown}): keep one of them"))
        elif found:
            at[kind] = found[0]
        elif kind in ("image", "identity"):
            faults.append(Fault(path, 1, f"there is no column {kind}: rename one of the columns {shown}"))
    if faults:
        return None
    empty = [name for i, name in enumerate(header) if i != at["image"]]
    rows = list(read_rows(path, header, faults=faults, may_be_empty=empty))
    return ClassRows(header, at, rows)


def _row_faults(
    path: Path,
    lines: Sequence[int],
    data: Path,
    *,
    names: Sequence[str],
    parts: Sequence[str],
    roles: Sequence[str],
    missing_ok: bool,
) -> Iterator[Fault]:
    first: dict[str, int] = {}
    similar = SimilarFiles()
    for line, name, part, role in zip(lines, names, parts, roles, strict=True):
        if part not in get_args(Part):
            yield Fault(path, line, f"part {part!r} is none of {', '.join(get_args(Part))}")
        if role not in _ROLES.values():
            yield Fault(path, line, f"role {role!r} is none of query, index, both")
        if (before := first.setdefault(name, line)) != line:
            yield Fault(path, line, f"image {name!r} is already listed on line {before}: delete one row")
        elif problem := find_name_problem(name, "", data, similar, missing_ok=missing_ok):
            yield Fault(path, line, problem)


def _identity_faults(
    path: Path,
    lines: Sequence[int],
    *,
    identities: Sequence[str],
    domains: Sequence[str],
    parts: Sequence[str],
    known: Sequence[bool],
) -> Iterator[Fault]:
    """A reserved domain; an identity of two domains; one that is trained on and is in another part, too: each once."""
    if ALL_DOMAINS in domains:
        line = lines[domains.index(ALL_DOMAINS)]
        yield Fault(path, line, f"domain {ALL_DOMAINS!r}: the scores call their mean so; give the domain another name")
    first: dict[str, int] = {}
    told = set[str]()
    for row, (identity, domain, part) in enumerate(zip(identities, domains, parts, strict=True)):
        before = first.setdefault(identity, row)
        if before == row or identity in told or not known[row]:
            continue
        if domains[before] != domain:
            told.add(identity)
            problem = f"identity {identity!r} is of the domain {domain!r} here and {domains[before]!r} on line"
            yield Fault(path, lines[row], f"{problem} {lines[before]}: give it one domain")
        elif (parts[before] == "train") != (part == "train"):
            told.add(identity)
            problem = f"identity {identity!r} is in {part} here and in {parts[before]} on line {lines[before]}"
            advice = "only identities that were never trained on show how good an embedding is; give it one part"
            yield Fault(path, lines[row], f"{problem}: {advice}")


def describe_instances(table: InstanceTable) -> str:
    """How many identities and images each domain has in each part, as a line for each domain."""
    counts: Mapping[tuple[str, str], int] = Counter(zip(table.domains, table.parts, strict=True))
    whose = set(zip(table.domains, table.parts, table.identities, strict=True))
    identities: Mapping[tuple[str, str], int] = Counter((domain, part) for domain, part, _ in whose)
    lines = list[str]()
    for domain in sorted(set(table.domains)):
        parts = (
            f"{part} {identities[domain, part]} identities, {counts[domain, part]} images" for part in get_args(Part)
        )
        lines.append(f"{domain}: {'; '.join(parts)}")
    return "\n".join(lines)
