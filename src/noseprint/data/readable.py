"""Which photographs can be decoded: checked once, before hours of training depend on them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from noseprint.data.decoding import Image, decode, find_faults
from noseprint.data.tables import write_csv
from noseprint.distributed import gather_lists, own_rows
from noseprint.errors import DataError, NoseprintError

_SHOWN_FAULTS = 3


def readable_photographs(
    paths: Sequence[Path], *, skip_bad: bool, skipped_csv: Path | None, read: Callable[[Path], Image] = decode
) -> frozenset[Path]:
    """Decode every photograph and return the paths of those that can be. Under torchrun the ranks share the work.

    skip_bad: leave out missing and broken photographs; without it they raise NoseprintError. skipped_csv: where to list
    those left out (image,problem); removed if there are none. None: nothing is printed or written. read: decodes a
    photograph (`cached_decoder`).
    """
    distinct = tuple(dict.fromkeys(paths))
    own = own_rows(len(distinct), block=1)
    faults = gather_lists(find_faults(distinct[own.start : own.stop], read=read))
    if faults and not skip_bad:
        raise NoseprintError(
            f"{DataError(faults)}. `noseprint check` on the data folder lists them all; go on without them with "
            "--skip-bad, or remove them and the rows that name them"
        )
    if skipped_csv and not faults:
        skipped_csv.unlink(missing_ok=True)
    elif skipped_csv:
        write_csv(skipped_csv, ("image", "problem"), ((fault.file, fault.problem) for fault in faults))
        print(f"{len(faults)} of {len(distinct)} photographs are left out; {skipped_csv} lists them:")
        for fault in faults[:_SHOWN_FAULTS]:
            print(f"  {fault}")
        if len(faults) > _SHOWN_FAULTS:
            print(f"  and {len(faults) - _SHOWN_FAULTS} more", flush=True)
    return frozenset(paths) - {fault.file for fault in faults}
