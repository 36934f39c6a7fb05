"""Arrays in safetensors files: the same arrays give the same bytes, and reading maps the file into memory."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from noseprint.errors import NoseprintError, breaks_line
from noseprint.files import atomic_write

Array = npt.NDArray[Any]
_TYPE_CODES = {"float32": "F32", "uint8": "U8"}


def pack_names(names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Names as an array. Raises NoseprintError for those that are empty or break a line."""
    if wrong := [name for name in names if not name or breaks_line(name)]:
        raise NoseprintError(
            f"{len(wrong)} names are empty or hold control characters, line ends or bytes that are not UTF-8: rename "
            f"{', '.join(map(ascii, wrong[:20]))}"
        )
    return np.frombuffer("\0".join(names).encode(), dtype=np.uint8)


def unpack_names(packed: Array) -> tuple[str, ...]:
    """What `pack_names` packed. Raises ValueError if it is not UTF-8, or not names on one line."""
    names = tuple(packed.tobytes().decode().split("\0")) if len(packed) else ()
    if not all(name and not breaks_line(name) for name in names):
        raise ValueError("names are empty or break a line")
    return names


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write float32 and uint8 arrays under their names, all of them or nothing.

    safetensors' own writer needs a second copy of the arrays in memory, and orders the metadata at random.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, array in arrays.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {"dtype": _TYPE_CODES[array.dtype.name], "shape": array.shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-(8 + len(text)) // 64) * 64 - 8)  # arrays start at a multiple of 64 bytes
    with atomic_write(path) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            np.ascontiguousarray(array).tofile(file)


def read_arrays(
    path: Path,
    *,
    what: str,
    format_name: str,
    shapes: Mapping[str, tuple[str, int]],
    optional: Mapping[str, tuple[str, int]] = {},
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays of a file, mapped into memory (copy on write), and its metadata.

    Args:
        path: The file.
        what: What the file should be, for messages.
        format_name: What its metadata must say under "format".
        shapes: The type and the number of dimensions of each array.
        optional: Likewise, of arrays that may be missing.

    Raises:
        NoseprintError: The file is missing, incomplete or of another kind.
    """
    if not path.is_file():
        raise NoseprintError(f"{path}: {'is not a file' if path.exists() else f'there is no such {what}'}")
    expected = {**shapes, **optional}
    try:
        with safe_open(path, framework="pt") as file:  # "np" would copy the arrays
            metadata: dict[str, str] = file.metadata() or {}
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys() if name in expected}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise NoseprintError(f"{path}: not a complete {what} ({error}); make it again") from error
    if metadata.get("format") != format_name:
        found = metadata.get("format", "none")[:100]
        raise NoseprintError(f"{path}: not a {what}: its format is {found!r}, not {format_name!r}; make it again")
    for name, (dtype, dimensions) in expected.items():
        array = arrays.get(name)
        if array is None and name in optional:
            continue
        if array is None or array.dtype.name != dtype or array.ndim != dimensions:
            raise NoseprintError(
                f"{path}: not a {what}: it has no {name} ({dtype}, {dimensions} dimensions); make it again"
            )
    return arrays, metadata
