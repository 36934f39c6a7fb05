"""The log of decisions about labels: JSON lines, of which none is ever changed or removed. Images never move.

A rule or a person decides that an image keeps its label, gets another one, or leaves the training. `replay` gives the
labels that follow from all lines. An undo is one more line, so it can be undone, too.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import in_threads
from noseprint.errors import DataError, Fault, NoseprintError, breaks_line, printable
from noseprint.files import atomic_write, file_hash
from noseprint.lock import GRACE, lock

RULE = "rule"
"""Who decides if no person does."""
OUT = ("drop", "not a member")
"""The decisions that take an image out of the training."""
_ID = "^[0-9a-f]{16}$"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$"


def _check_line(text: str) -> str:
    if breaks_line(text):
        raise ValueError("has control characters or line ends")
    return text


Text = Annotated[str, Field(max_length=4095), AfterValidator(_check_line)]
Probability = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda value: round(value, 6))]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """An image, the label given to it, and what a network that never trained on it says about that label.

    image: its name relative to the data folder. sha256: of the bytes of its file. rank: of the label among the classes
    by probability, from 1. proposal: the label that the network or the rule proposes. fold: the part of the images that
    the network left out, from 0. round: of the cleaning, from 0. rule, threshold: which rule found the image suspect,
    and its limit. network: its fingerprint. Probabilities are in 0..1. A figure that is not known is None, a text "".
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    image: Text = ""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    label: Text = ""
    rank: Annotated[int, Field(ge=1)] | None = None
    probability: Probability | None = None
    proposal: Text = ""
    proposal_probability: Probability | None = None
    fold: Annotated[int, Field(ge=0)] | None = None
    round: Annotated[int, Field(ge=0)] | None = None
    rule: Text = ""
    threshold: float | None = None
    network: Text = ""


@dataclass(frozen=True, kw_only=True)
class Decision(Evidence):
    """One line of the log.

    to: the label that a relabelled image gets. who: RULE or the name of a person. when: in UTC; the default stands for
    now. supersedes: the ids of the lines that no longer count; in an undo, of those that it takes back. An undo that
    names none takes back all earlier decisions about its image, or those of rules in its round, by its rule, or both.
    id: a hash of the line, without `when` and, except in an undo, without `supersedes`. `append` fills in `when` if it
    is the default, `supersedes` except in an undo, and `id`.
    """

    decision: Literal["keep", "drop", "relabel", "not a member", "undo"]
    to: Text = ""
    who: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check_line)] = RULE
    when: Annotated[str, Field(pattern=_TIME)] = "1970-01-01T00:00:00Z"
    supersedes: tuple[Annotated[str, Field(pattern=_ID)], ...] = ()
    id: Annotated[str, Field(pattern=_ID)] = "0" * 16

    def __post_init__(self) -> None:
        """Raise ValueError for fields that contradict each other."""
        if (self.decision == "relabel") != bool(self.to):
            raise ValueError("relabel needs the new label in `to`, and no other decision has one")
        if self.decision == "undo":
            if self.who == RULE:
                raise ValueError("only a person undoes; a rule that changes its mind decides again")
            if not (self.supersedes or self.image or self.rule or self.round is not None):
                raise ValueError("an undo must name what it takes back: ids of lines, an image, a round or a rule")
        elif not (self.image and self.sha256 and self.label):
            raise ValueError("a decision needs the image, the hash of its file, and the label given")


_ADAPTER = TypeAdapter(Decision)
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Replay:
    """What follows from a log for the rows of a table.

    labels (N,): of each row, as decided. kept (N,): whether the row stays. decisions (N,): the line that counts for
    each row, None if there is none. not_applied: one fault for each image whose file or label is no longer the one that
    was decided about, or that the table does not have.
    """

    labels: tuple[str, ...]
    kept: tuple[bool, ...]
    decisions: tuple[Decision | None, ...]
    not_applied: tuple[Fault, ...]


def file_hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """The `file_hash` of each distinct path; "" for a file that cannot be read."""

    def or_none(path: Path) -> str:
        try:
            return file_hash(path)
        except OSError:
            return ""

    distinct = list(dict.fromkeys(paths))
    return dict(zip(distinct, in_threads(or_none, distinct, label="files"), strict=True))


def read_log(path: Path) -> list[Decision]:
    """The lines of a log, in order; none if there is no such file.

    A last line that is not complete, because its writer was killed, is dropped with a message on standard error.
    Raises DataError with every other line that is not one that `append` wrote.
    """
    faults, lines = list[Fault](), list[Decision]()
    texts = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, text in enumerate(texts, 1):
        is_torn = number == len(texts)  # what follows the last line end: nothing, if the writer was not killed
        if text.strip() == b"":
            continue
        try:
            line = _ADAPTER.validate_json(text)
        except ValidationError as error:
            if is_torn:
                print(f"{path}: the last line is not complete, and is dropped", file=sys.stderr, flush=True)
            else:
                faults.append(Fault(path, number, f"is no decision ({why_invalid(error)}): restore the line"))
            continue
        if line.id != _hash(line):
            faults.append(Fault(path, number, "was changed by hand: restore it; to change a decision, add another"))
        lines.append(line)
    if faults:
        raise DataError(faults)
    return lines


def append(log: Path, decisions: Iterable[Decision], *, latest: bool = False) -> list[Decision]:
    """Append decisions to the log, all or none of them, and return the lines that are new.

    Nothing is appended for a decision of a rule that the log has already, even if it was undone, or for a decision of a
    person that the log has with the same time, or that counts already. So a run that was killed and resumes leaves the
    lines of a run that was not.
    latest: the decisions are what rules say now. So a line that the log has is appended again if another line of a rule
    has taken its place since, as when the options of a cleaning change and change back.
    Raises NoseprintError if a decision is not possible, or if another process keeps the log locked, and DataError as
    `read_log` does.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    decisions = list(decisions)
    with lock(log.parent, name=f".{log.name}.lock", wait=GRACE):
        lines = read_log(log)
        count, known = governing(lines), {line.id for line in lines}
        states = zip(lines, _counts(lines), strict=True)
        taken_back = {_opinion(line) for line, counts in states if line.who == RULE and not counts}
        events = {(line.id, line.when) for line in lines}
        new = []
        for decision in decisions:
            given = asdict(decision)
            if decision.when == Decision.when:
                given["when"] = now
            line = _validated(given)
            line = replace(line, id=_hash(line))
            before = count.get(_key(line))
            if line.decision != "undo":
                counts = before is not None and before.id == line.id
                replaced = latest and before is not None and before.who == RULE and not counts
                stands = (line.id in known and not replaced) or _opinion(line) in taken_back
                if stands if line.who == RULE else counts or (line.id, line.when) in events:
                    continue
                line = replace(line, supersedes=(before.id,) if before and _outranks(line, before) else ())
                if before is None or _outranks(line, before):
                    count[_key(line)] = line
            known.add(line.id)
            events.add((line.id, line.when))
            new.append(line)
        if new:
            with atomic_write(log) as part:
                part.write_bytes(b"".join(map(_to_bytes, [*lines, *new])))
    return new


def _opinion(line: Decision) -> tuple[Key, str, str, str]:
    """What a rule says about an image, whatever its figures: a person who took it back need not do so again."""
    return _key(line), line.rule, line.decision, line.to


def undo(
    log: Path, *, who: str, ids: Sequence[str] = (), image: str = "", round: int | None = None, rule: str = ""
) -> Decision:
    """Append an undo and return it.

    ids: of the lines to take back, which may be undos. Without ids, it takes back every decision so far about `image`;
    or, of the rules' decisions, those of `round`, by `rule`, or both. Raises NoseprintError if the log lacks an id, or
    if the undo changes nothing, and otherwise as `append` does.
    """
    lines = read_log(log)
    if unknown := sorted(set(ids) - {line.id for line in lines}):
        raise NoseprintError(f"{log} has no line {', '.join(unknown)}: noseprint labels history IMAGE shows the ids")
    line = _validated(
        {"decision": "undo", "who": who, "supersedes": tuple(ids), "image": image, "round": round, "rule": rule}
    )
    if in_force(lines) == in_force([*lines, line]):
        raise NoseprintError(
            f"{log}: there is nothing of the kind to take back now: noseprint labels history IMAGE shows what counts"
        )
    (new,) = append(log, [line])
    return new


def in_force(lines: Sequence[Decision]) -> list[Decision]:
    """The decisions that no undo has taken back, in order. An undo counts unless a later undo takes it back."""
    return [line for line, counts in zip(lines, _counts(lines), strict=True) if counts and line.decision != "undo"]


def governing(lines: Sequence[Decision]) -> dict[Key, Decision]:
    """For each image, as (name, label given, hash), the line that counts: a person's last one, else a rule's last."""
    found: dict[Key, Decision] = {}
    for line in in_force(lines):
        if (before := found.get(_key(line))) is None or _outranks(line, before):
            found[_key(line)] = line
    return found


def decided_by_people(lines: Sequence[Decision]) -> set[str]:
    """The names of the images about which a person has decided: a review need not show them again."""
    return {line.image for line in governing(lines).values() if line.who != RULE}


def replay(lines: Sequence[Decision], table: ClassTable) -> Replay:
    """The labels and the kept rows of `table` after all lines.

    A person outranks every rule, and a person's later line outranks an earlier one of any person. Images without
    decisions keep their labels. Only the files of images with decisions are read, to compare their hashes.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table.names):
        rows.setdefault(name, []).append(row)
    found = governing(lines)
    hashes = file_hashes(table.paths[row] for name in dict.fromkeys(line.image for line in found.values())
                         for row in rows.get(name, ()))  # fmt: skip
    decisions: list[Decision | None] = [None] * len(table.names)
    classes = set(table.labels)
    stale: dict[str, Fault] = {}
    for (name, label, sha256), line in found.items():
        same_file = [row for row in rows.get(name, ()) if hashes[table.paths[row]] == sha256]
        same_label = [row for row in same_file if table.labels[row] == label]
        for row in same_label:
            decisions[row] = line
        if line.to and line.to not in classes:
            decided = (row for row in same_label if decisions[row] is line)
            for row in decided:
                decisions[row] = None
            stale[name] = Fault(
                Path(name), None, f"there is no class {line.to!r} now: the decision ({describe(line)}) is not applied: "
                "decide again, or undo it",
            )  # fmt: skip
        elif not same_label:
            where = table.paths[rows[name][0]] if name in rows else Path(name)
            known = hashes.get(where, "")
            problem = (
                "is not in the table" if name not in rows
                else "cannot be read" if not known
                else "is another file than the one that was decided about" if not same_file
                else f"has the label {table.labels[same_file[0]]!r} now, and {label!r} was decided about"
            )  # fmt: skip
            stale[name] = Fault(
                where, None, f"{problem}: the decision ({describe(line)}) is not applied: decide again, or undo it"
            )
    applied = {line.image for line in decisions if line}
    return Replay(
        tuple(line.to if line and line.to else label for line, label in zip(decisions, table.labels, strict=True)),
        tuple(line is None or line.decision not in OUT for line in decisions),
        tuple(decisions),
        tuple(fault for name, fault in stale.items() if name not in applied),
    )


def history(lines: Sequence[Decision], image: str) -> list[tuple[Decision, str]]:
    """Every line about an image, with its state: "counts", "outranked" or "taken back"."""
    counting = set(map(id, governing(lines).values()))
    found: list[tuple[Decision, str]] = []
    for line, counts in zip(lines, _counts(lines), strict=True):
        is_undo = line.decision == "undo"
        if any(_takes_back(line, other) for other, _ in found) if is_undo else line.image == image:
            state = "taken back" if not counts else "counts" if is_undo or id(line) in counting else "outranked"
            found.append((line, state))
    return found


def describe(line: Decision) -> str:
    """Who decided what, and why, in one line."""
    what = f"relabel to {line.to}" if line.to else line.decision
    if line.decision == "undo":
        names = [f"line {name}" for name in line.supersedes] or [
            part for part in (
                line.image, f"round {line.round}" * (line.round is not None), f"rule {line.rule}" * bool(line.rule)
            ) if part
        ]  # fmt: skip
        return printable(f"{line.who}: undo {', '.join(names)}")
    figures = [
        f"round {line.round}" * (line.round is not None),
        f"rule {line.rule}" * bool(line.rule),
        f"threshold {line.threshold:g}" if line.threshold is not None else "",
        f"{line.label} has rank {line.rank}" * (line.rank is not None),
        f"probability {line.probability:.3f}" if line.probability is not None else "",
        f"{line.proposal} is proposed" * bool(line.proposal),
        f"probability {line.proposal_probability:.3f}" if line.proposal_probability is not None else "",
    ]
    return printable(": ".join(filter(None, (line.who, what, ", ".join(filter(None, figures))))))


def why_invalid(error: ValidationError) -> str:
    """The first reason why a line is invalid."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    problem = first["msg"].removeprefix("Value error, ")
    return f"{where}: {problem}" if where else problem


def _validated(fields: Mapping[str, object]) -> Decision:
    try:
        return _ADAPTER.validate_python(fields, strict=False)
    except ValidationError as error:
        what = fields.get("image") or fields["decision"]
        raise NoseprintError(f"{printable(what)}: not a possible decision: {why_invalid(error)}") from None


def _counts(lines: Sequence[Decision]) -> list[bool]:
    """Whether each line counts: from the last line to the first, as an undo takes back only what is before it."""
    ids, images, undos = set[str](), set[str](), list[Decision]()
    counts = [True] * len(lines)
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        is_undo = line.decision == "undo"
        if line.id in ids or (not is_undo and (line.image in images or any(_takes_back(u, line) for u in undos))):
            counts[at] = False
        elif is_undo and line.supersedes:
            ids.update(line.supersedes)
        elif is_undo and line.round is None and not line.rule:
            images.add(line.image)
        elif is_undo:
            undos.append(line)
    return counts


def _takes_back(undo: Decision, line: Decision) -> bool:
    """Whether an undo names an earlier line."""
    if undo.supersedes:
        return line.id in undo.supersedes
    if line.decision == "undo" or undo.image not in ("", line.image):
        return False
    if undo.round is None and not undo.rule:
        return True
    return line.who == RULE and undo.round in (None, line.round) and undo.rule in ("", line.rule)


def _outranks(line: Decision, before: Decision) -> bool:
    return line.who != RULE or before.who == RULE


def _key(line: Decision) -> Key:
    return line.image, line.label, line.sha256


def _hash(line: Decision) -> str:
    content = asdict(line)
    for name in ("id", "when", *(() if line.decision == "undo" else ("supersedes",))):
        del content[name]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _to_bytes(line: Decision) -> bytes:
    """The line as JSON, without the fields that are not known."""
    content = {"id": line.id} | {name: value for name, value in asdict(line).items() if value not in (None, "", ())}
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode() + b"\n"
