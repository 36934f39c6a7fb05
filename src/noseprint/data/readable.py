"""Which photographs of a table can be used: looked at once, before hours of training depend on them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from noseprint.data.decoding import Image, decode, find_faults
from noseprint.data.tables import write_csv
from noseprint.distributed import gather_lists, own_rows
from noseprint.errors import DataError, NoseprintError

_SHOWN = 3


def readable_photographs(
    paths: Sequence[Path], *, skip_bad: bool, listed: Path | None, read: Callable[[Path], Image] = decode
) -> frozenset[Path]:
    """Decode every photograph; those of `paths` that can be used. Under torchrun the ranks share the work.

    Where some are missing or broken: raises NoseprintError, or under `skip_bad` says which are left out and lists them
    all in the CSV `listed` (image,problem), which is removed where nothing is left out; None: says and lists nothing.
    read: decodes one (`cache.reader`).
    """
    distinct = tuple(dict.fromkeys(paths))
    mine = own_rows(len(distinct), block=1)
    faults = gather_lists(find_faults(distinct[mine.start : mine.stop], read=read))
    if faults and not skip_bad:
        raise NoseprintError(
            f"{DataError(faults)}. `noseprint check` on the data folder lists them all; --skip-bad goes on without "
            "them, as does removing them and the rows that name them"
        )
    if listed and not faults:
        listed.unlink(missing_ok=True)
    elif listed:
        write_csv(listed, ("image", "problem"), ((fault.file, fault.problem) for fault in faults))
        print(f"{len(faults)} of {len(set(paths))} photographs are left out, as {listed} lists:")
        for fault in faults[:_SHOWN]:
            print(f"  {fault}")
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN} more", flush=True)
    return frozenset(paths) - {fault.file for fault in faults}
