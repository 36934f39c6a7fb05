"""Arrays in safetensors files, written to the same bytes each time and read without filling memory."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write

Array = npt.NDArray[np.generic]
_NAMES = {"F32": "<f4", "I64": "<i8", "U8": "|u1", "F64": "<f8", "I8": "|i1"}


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write `arrays` (float32, float64, int64, int8 or uint8) under their names, aside and renamed into place."""
    kinds = {np.dtype(name): kind for kind, name in _NAMES.items()}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name, array in arrays.items():
        offsets = [start, start := start + array.nbytes]
        header[name] = {"dtype": kinds[array.dtype], "shape": array.shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-(8 + len(text)) // 64) * 64 - 8)  # arrays begin where a vector register likes it
    with atomic_write(path) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            np.ascontiguousarray(array).tofile(file)


def read_arrays(
    path: Path, *, what: str, form: str, shapes: Mapping[str, tuple[str, int]]
) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a file, mapped from disk (copy on write), and its metadata.

    what: what the file should be, for messages; form: its `format`; shapes: each array's type and dimensions.
    Raises NoseprintError, before anything is loaded, for a file that is missing, cut short or of another kind.
    """
    if not path.is_file():
        raise NoseprintError(f"{path}: {'is no regular file' if path.exists() else f'no such {what}'}; give its place")
    try:
        with safe_open(path, framework="np") as file:  # checks sizes and offsets against the file's
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NoseprintError(f"{path}: no {what}, or only part of it ({error}); make it again") from error
    if metadata.get("format") != form:
        found = metadata.get("format", "none")[:100]
        raise NoseprintError(f"{path}: no {what}: its format is {found!r}, not {form!r}; make it again")
    with path.open("rb") as binary:
        (length,) = struct.unpack("<Q", binary.read(8))
        header = json.loads(binary.read(length))
    arrays = {}
    for name, (kind, dimensions) in shapes.items():
        told = header.get(name)
        if told is None or told["dtype"] != kind or len(told["shape"]) != dimensions:
            raise NoseprintError(f"{path}: no {what}: it lacks {name} ({kind}, {dimensions} dimensions); make it again")
        shape, offset = tuple(told["shape"]), 8 + length + told["data_offsets"][0]
        dtype = np.dtype(_NAMES[kind])
        empty = 0 in shape  # which cannot be mapped
        arrays[name] = np.empty(shape, dtype) if empty else np.memmap(path, dtype, "c", offset=offset, shape=shape)
    return arrays, metadata
