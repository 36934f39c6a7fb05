"""noseprint labels."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import tyro

from noseprint.data.class_options import TableOptions
from noseprint.errors import NoseprintError

if TYPE_CHECKING:
    from noseprint.cleaning.decisions import Decision
    from noseprint.data.class_tables import ClassTable
    from noseprint.errors import DataError


@dataclass(frozen=True, kw_only=True)
class _WithLog:
    log: Path
    """The log of decisions (decisions.jsonl)."""

    def _read(self) -> "list[Decision]":
        from noseprint.cleaning.decisions import read_log

        if not self.log.is_file():
            raise NoseprintError(f"--log {self.log}: no such file; name the decisions.jsonl of the cleaning")
        return read_log(self.log)


@dataclass(frozen=True, kw_only=True)
class _WithTable(TableOptions, _WithLog):
    data: Path = Path("data")
    """The data folder."""

    def _images(self) -> "ClassTable":
        from noseprint.data.class_tables import read_classes

        return read_classes(self.data, columns=self.columns).split("train")


@dataclass(frozen=True, kw_only=True)
class History(_WithLog):
    """Show every decision about an image, and which of them counts."""

    image: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The image's path in the data folder, such as train/cat/1.jpg."""

    def __call__(self) -> None:
        """Print one line for each decision."""
        from noseprint.cleaning.decisions import describe, history

        found = history(self._read(), self.image)
        if not found:
            raise NoseprintError(f"{self.log} has no decision about {self.image!r}: give its path in the data folder")
        for line, state in found:
            print(f"{line.id}  {line.when[:19]}Z  {state:10}  {describe(line)}")


@dataclass(frozen=True, kw_only=True)
class Undo(_WithLog):
    """Take back decisions: lines by their ids, all about an image, or those of a rule, a round, or both.

    The undo is one more line of the log; undo its id to restore the decisions.
    """

    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[ID ...]")] = ()
    """The ids of lines, as history shows them."""
    image: str = ""
    """Take back every decision about this image."""
    round: int | None = None
    """Take back what rules decided in this round. What people decided stays."""
    rule: str = ""
    """Take back what this rule decided."""
    who: str
    """Your name."""

    def __call__(self) -> None:
        """Append the undo."""
        from noseprint.cleaning.decisions import in_force, undo

        if self.ids and (self.image or self.rule or self.round is not None):
            raise NoseprintError("give ids, or one of --image, --round and --rule: not both")
        before = Counter(line.id for line in in_force(self._read()))
        line = undo(self.log, who=self.who, ids=self.ids, image=self.image, round=self.round, rule=self.rule)
        after = Counter(line.id for line in in_force(self._read()))
        changes = (("taken back", before - after), ("restored", after - before))
        said = (
            " ".join(f"{_decisions(found.total())} {what}." for what, found in changes if found) or "Nothing changed."
        )
        print(f"{said} To reverse that: noseprint labels undo {line.id} --who {quote(self.who)} --log {self.log}")


@dataclass(frozen=True, kw_only=True)
class Add(_WithTable):
    """Add to the log what was decided on a review page: all decisions, or none if one is wrong."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The file that the page downloaded (review-decisions.jsonl)."""
    who: str
    """The name of the person who decided."""

    def __call__(self) -> None:
        """Check and append the decisions."""
        from noseprint.cleaning.label_files import add_decisions
        from noseprint.cleaning.sample import noise_rate
        from noseprint.errors import DataError

        try:
            new = add_decisions(self.log, self.file, self._images(), who=self.who)
        except DataError as error:
            raise NoseprintError(_all(error)) from None
        print(f"{self.log}: {_decisions(len(new))} added")
        noise = noise_rate(self._read())
        if noise.rate is not None and noise.low is not None and noise.high is not None:
            print(
                f"Random sample: {noise.wrong} of {noise.reviewed} labels are wrong, {noise.rate:.1%} "
                f"(95 % interval {noise.low:.1%} to {noise.high:.1%})"
            )


@dataclass(frozen=True, kw_only=True)
class ExportLabels(_WithTable):
    """Write the cleaned table: without the training images that are left out, with the labels after all decisions.

    It has the columns of the data folder's table, or image,label where there is none. The images that are left out are
    listed with the reasons in dropped.csv beside it.
    """

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The CSV to write."""

    def __call__(self) -> None:
        """Replay the log and write both files."""
        from noseprint.cleaning.decisions import replay
        from noseprint.cleaning.label_files import export_labels
        from noseprint.data.class_columns import read_class_rows
        from noseprint.data.class_tables import TABLES, find_table
        from noseprint.files import check_output, stream_of

        if stream_of(self.out) is not None or self.out.name == "dropped.csv":
            raise NoseprintError(f"{self.out}: name another CSV file; dropped.csv is written beside it")
        if self.out.name in TABLES and self.out.resolve().parent == self.data.resolve():
            raise NoseprintError(f"{self.out}: would be read as the table of {self.data}; write it elsewhere")
        check_output(self.out, suffix=".csv", inputs=[self.table] if self.table else [], option="OUT")
        images = self._images()
        replayed = replay(self._read(), images)
        for fault in replayed.not_applied:
            print(fault)
        path = find_table(self.data, self.columns, [])
        rows = read_class_rows(path, self.columns, faults=[]) if path else None
        done = export_labels(self.out, images, replayed, rows_of_table=rows, data=self.data)
        print(
            f"{self.out}: {done.kept} training images, {done.relabelled} of them with a new label; "
            f"{done.dropped} left out, listed in {self.out.with_name('dropped.csv')}"
        )


@dataclass(frozen=True)
class Labels:
    """Decisions about labels: show, undo or add them, and write the cleaned table. Images never move."""

    command: Annotated[
        Annotated[History, tyro.conf.subcommand("history")]
        | Annotated[Undo, tyro.conf.subcommand("undo")]
        | Annotated[Add, tyro.conf.subcommand("add")]
        | Annotated[ExportLabels, tyro.conf.subcommand("export")],
        tyro.conf.arg(name=""),
    ]

    def __call__(self) -> None:
        """Run the subcommand."""
        self.command()


def _decisions(number: int) -> str:
    return "1 decision is" if number == 1 else f"{number} decisions are"


def _all(error: "DataError") -> str:
    """Every fault, one a line."""
    return "\n".join(map(str, error.faults))
