"""Which photographs can be decoded: checked once, before hours of work depend on them."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import Image, decode, find_faults
from noseprint.distributed import gather_lists, is_main_rank, own_rows
from noseprint.errors import DataError, Fault, NoseprintError, printable

_SHOWN_FAULTS = 3  # of those that a table lists
_NAMED_FAULTS = 100  # of those that nothing else lists


def readable_photographs(
    paths: Sequence[Path], *, skip_bad: bool, skipped_csv: Path | None, read: Callable[[Path], Image] = decode
) -> frozenset[Path]:
    """Decode every photograph and return the paths of those that can be. Under torchrun the ranks share the work.

    skip_bad: leave out missing and broken photographs; without it they raise NoseprintError, which names all of them.
    skipped_csv: where to list those left out (image,problem); removed if there are none. None: they are only printed.
    read: decodes a photograph (`cached_decoder`).
    """
    distinct = tuple(dict.fromkeys(paths))
    own = own_rows(len(distinct), block=1)
    faults = gather_lists(find_faults(distinct[own.start : own.stop], read=read))
    if faults and len(distinct) == 1:
        raise DataError(faults)
    leave_out(
        faults,
        f"{len(faults)} of {len(distinct)} photographs cannot be read",
        fix="replace them, or remove them and, from a table, the rows that name them",
        skip_bad=skip_bad,
        skipped_csv=skipped_csv,
    )
    return frozenset(paths) - {fault.file for fault in faults}


def leave_out(faults: Sequence[Fault], found: str, *, fix: str, skip_bad: bool, skipped_csv: Path | None) -> None:
    """Raise or print what is wrong with photographs. found, fix: what was found, and how to fix it, in a few words.

    skip_bad, skipped_csv: see `readable_photographs`. Raises NoseprintError without skip_bad, naming them all.
    """
    if faults and not skip_bad:
        lines = _lines(faults, most=_NAMED_FAULTS)
        raise NoseprintError(f"{found}. Go on without them with --skip-bad, {fix}:\n{lines}")
    if is_main_rank():
        if skipped_csv and not faults:
            skipped_csv.unlink(missing_ok=True)
        elif skipped_csv:
            write_csv(skipped_csv, ("image", "problem"), ((fault.file, fault.problem) for fault in faults))
        if faults:
            listed = f"; {skipped_csv} lists them" if skipped_csv else ""
            shown = _lines(faults, most=_SHOWN_FAULTS if skipped_csv else _NAMED_FAULTS)
            print(f"{found} and are left out{listed}:\n{shown}", file=sys.stderr, flush=True)


def _lines(faults: Sequence[Fault], *, most: int) -> str:
    lines = [f"  {printable(fault)}" for fault in faults[:most]]
    return "\n".join([*lines, f"  and {len(faults) - most} more"] if len(faults) > most else lines)
