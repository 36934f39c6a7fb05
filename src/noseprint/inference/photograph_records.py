"""What a gallery remembers of its photographs besides their embeddings: enough to see later that one has changed."""

import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noseprint.data.decoding import Image, decode, in_threads, pixel_digest
from noseprint.data.readable import readable_photographs
from noseprint.errors import DataError, NoseprintError, breaks_line, printable

Records = npt.NDArray[np.uint8]
"""(N, RECORD_BYTES): the size of each file, when it was changed, and the digest of its pixels."""

_RECORD = struct.Struct("<Qq16s")  # bytes; ns since 1970; `pixel_digest`
RECORD_BYTES = _RECORD.size


def check_photographs(
    folder: Path, names: Sequence[str], *, skip_bad: bool, skipped_csv: Path | None
) -> tuple[tuple[str, ...], Records]:
    """Decode the photographs `names` in `folder`: the names of those that can be decoded, and their records.

    Raises NoseprintError for names that break a line, if no photograph can be decoded, and as
    `readable_photographs`, which explains skip_bad and skipped_csv.
    """
    if broken := [name for name in names if breaks_line(name)]:
        raise NoseprintError(
            f"{len(broken)} names hold control characters, line ends or bytes that are not UTF-8, which no table can "
            f"hold: rename the photographs {', '.join(map(ascii, broken[:100]))}"
        )
    records: dict[Path, bytes] = {}

    def read(path: Path) -> Image:
        image = decode(path)
        records[path] = _record(path, pixel_digest(image))
        return image

    readable_photographs([folder / name for name in names], skip_bad=skip_bad, skipped_csv=skipped_csv, read=read)
    kept = tuple(name for name in names if folder / name in records)
    if not kept:
        raise NoseprintError(f"{folder}: none of the photographs can be read")
    packed = b"".join(records[folder / name] for name in kept)
    return kept, np.frombuffer(packed, np.uint8).reshape(-1, RECORD_BYTES)


def digest_of(record: Records) -> bytes:
    """The digest of the pixels in one record (RECORD_BYTES,)."""
    return bytes(_RECORD.unpack(record.tobytes())[2])


def say_changes(folder: Path | None, names: Sequence[str], records: Records | None) -> None:
    """Say on standard error which of the photographs are gone, or show something else than their records say.

    Only files with another size or time of change are decoded. Nothing is said if the folder itself is gone or, in a
    gallery of an older version, is not known.
    """
    if folder is None or records is None or not folder.is_dir():
        return
    for found, what in zip(find_changes(folder, names, records), ("are gone", "have changed"), strict=True):
        if found:
            print(
                f"{len(found)} of the {len(names)} photographs in the gallery {what} since it was embedded, such as "
                f"{printable(found[0])}: embed again",
                file=sys.stderr,
                flush=True,
            )


def find_changes(folder: Path, names: Sequence[str], records: Records) -> tuple[list[Path], list[Path]]:
    """The photographs that are gone, and those that show something else than their records say.

    Only files with another size or time of change are decoded.
    """
    paths = [folder / name for name in names]
    gone = [path for path in paths if not path.exists()]
    touched = [
        (path, digest)
        for path, record in zip(paths, records, strict=True)
        if path.exists() and _record(path, digest := digest_of(record)) != record.tobytes()
    ]
    return gone, [path for path in in_threads(_changed, touched, label="changed files") if path]


def _record(path: Path, digest: bytes) -> bytes:
    status = path.stat()
    return _RECORD.pack(status.st_size, status.st_mtime_ns, digest)


def _changed(photograph: tuple[Path, bytes]) -> Path | None:
    """The path, if the photograph has other pixels now."""
    path, digest = photograph
    try:
        return None if pixel_digest(decode(path)) == digest else path
    except DataError:
        return path
