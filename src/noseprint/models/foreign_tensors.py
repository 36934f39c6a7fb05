"""Finds the tensors of a network in a file that another program wrote, whatever that program put around them.

A training program saves a table of tensors inside another table (`state_dict`, `model`, `ema`), beside counters,
options and the optimizer's state, and under prefixes (`module.`, `_orig_mod.`).
"""

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from noseprint.errors import NoseprintError, printable
from noseprint.models.weights_header import guess_file_type

CONVERTED = (torch.float16, torch.bfloat16, torch.float64)
"""Types that become float32 when weights of another program are read."""
_WRAPPERS = ("module", "model", "backbone", "encoder", "net", "network")
_AVERAGED = re.compile(r"(^|[._])ema([._]|$)")  # by convention the weights that are used, where a file has others too
_DEPTH = 3  # of tables inside tables
# Options and scores beside the weights; none of these classes is needed to read the tensors.
_IGNORED_CLASSES = (
    *("argparse.Namespace", "torch.torch_version.TorchVersion", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
)


@dataclass(frozen=True)
class FoundTensors:
    """The tensors of one network, as they are stored. `name_in_file` gives each key as the file writes it.

    `note` says what was chosen, left out and will be converted, in one line; it is empty for a plain float32 table.
    """

    tensors: dict[str, Tensor]
    name_in_file: dict[str, str]
    note: str


def find_tensors(
    path: Path,
    prefixes: Callable[[str], Iterable[str]],
    *,
    at_least: int,
    ignored: re.Pattern[str] = re.compile("(?!)"),
) -> FoundTensors:
    """Read a .safetensors or PyTorch file, and find the tensors of one network in it. No code in it is executed.

    prefixes: maps the key of a tensor to the prefixes, such as "module.", that may stand before the network's own key;
    to none if the tensor cannot belong to the network. at_least: the number of tensors with such a prefix by which the
    network is recognised. ignored: matches the keys to pass over.

    A candidate is a prefix with more than half as many such tensors as any other prefix. Of several candidates the
    averaged one (`ema`) is taken. If the network is not recognised, the largest table is taken. Raises NoseprintError
    for other files, several equal candidates, and tensors that are sparse, quantised or without values.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pytorch(path)
    tables = dict(_tables(content))
    keys = {name: _uncompiled_names(path, [key for key in tables[name] if not ignored.search(key)]) for name in tables}
    if not any(keys.values()):
        kind = f"keys {', '.join(map(_shown, list(content)[:5]))}" if tables else type(content).__name__
        raise NoseprintError(f"{path}: not a table of named tensors ({kind}); give the network's state_dict")
    found = Counter((name, prefix) for name in tables for key in keys[name] for prefix in prefixes(key))
    if max(found.values(), default=0) < at_least:
        found = Counter({(name, _common_prefix(keys[name])): len(keys[name]) for name in tables if keys[name]})
    name, prefix = _choose(path, [one for one, count in found.items() if count * 2 > max(found.values())])
    name_in_file = {key.removeprefix(prefix): old for key, old in keys[name].items() if key.startswith(prefix)}
    tensors = {key: tables[name][old] for key, old in name_in_file.items()}
    if bad := [name_in_file[key] for key, tensor in tensors.items() if not _is_plain(tensor)]:
        raise NoseprintError(
            f"{path}: {_shown(bad[0])} is sparse, quantised or without values; give a file of plain tensors"
        )
    outside = [old for key, old in keys[name].items() if not key.startswith(prefix)]
    note = _note(content, tensors, place=(name, prefix), outside=outside)
    return FoundTensors({key: _count_as_integer(key, one) for key, one in tensors.items()}, name_in_file, note)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise NoseprintError(
            f"{path}: not a safetensors file, or only part of one ({guess_file_type(path) or error}); download it again"
        ) from error
    return tensors


def _read_pytorch(path: Path) -> Any:
    zipped = False
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _check_zip(path)
        with torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED_CLASSES]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # parsers may raise any exception for a damaged file
        reason = printable(str(error).partition("\n")[0][:100])
        fix = "download it again from where its authors published it"
        if isinstance(error, pickle.UnpicklingError):
            refused = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
            reason = "it holds more than tensors" + (f": {refused[1]}" if refused else "")
            fix = "save its state_dict alone with the program that wrote it" if refused else fix
        reason = (not zipped and guess_file_type(path)) or reason
        raise NoseprintError(
            f"{path}: not a PyTorch file of tensors, or only part of one ({reason}); none of its code was executed; "
            f"{fix}"
        ) from error


class _Ignored:
    """Stands for an object beside the weights, of which nothing is read."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _check_zip(path: Path) -> None:
    """Refuse a zip that would grow when it is read, or is damaged: torch checks neither."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("it is compressed, which PyTorch's own files never are")
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")


def _tables(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors of each table in the file, by the table's place, such as "" or "ema.state_dict"."""
    todo, seen = [("", content, _DEPTH)], set()
    while todo:
        name, table, depth = todo.pop(0)
        if isinstance(table, Mapping) and id(table) not in seen:
            seen.add(id(table))
            yield name, {key: one for key, one in table.items() if isinstance(key, str) and isinstance(one, Tensor)}
            inner = {key: one for key, one in table.items() if isinstance(one, Mapping) and depth}
            todo += [(f"{name}.{key}".lstrip("."), one, depth - 1) for key, one in inner.items()]


def _uncompiled_names(path: Path, keys: list[str]) -> dict[str, str]:
    """Each key by its name without the `_orig_mod.` that `torch.compile` adds."""
    names: dict[str, str] = {}
    for key in keys:
        name = key.replace("_orig_mod.", "")
        if name in names:
            twice = f"{_shown(names[name])} and {_shown(key)}"
            raise NoseprintError(f"{path}: {twice} are the same tensor; download the file again")
        names[name] = key
    return names


def _common_prefix(keys: Collection[str]) -> str:
    """The wrappers' names before all keys, such as "module.model."."""
    prefix = ""
    while True:
        first = next(iter(keys)).removeprefix(prefix).partition(".")[0]
        longer = f"{prefix}{first}."
        if first not in _WRAPPERS or not all(key.startswith(longer) for key in keys):
            return prefix
        prefix = longer


def _choose(path: Path, candidates: list[tuple[str, str]]) -> tuple[str, str]:
    averaged = [one for one in candidates if any(_AVERAGED.search(part.rstrip(".")) for part in one)]
    if len(candidates) > 1 and len(averaged) != 1:
        names = ", ".join(f"'{_shown('.'.join(filter(None, one)))}'" for one in candidates[:5])
        raise NoseprintError(f"{path}: holds the weights of several networks ({names}); save one of them alone")
    return (averaged if len(candidates) > 1 else candidates)[0]


def _is_plain(value: Tensor) -> bool:
    if type(value) not in (Tensor, torch.nn.Parameter):
        return False
    return value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized


def _count_as_integer(key: str, tensor: Tensor) -> Tensor:
    """BatchNorm's counter of batches, which programs convert to half precision with the weights, as an integer again.

    In float16 it is infinite above 65504; it then becomes 0. Nothing is computed from it.
    """
    if key.endswith("num_batches_tracked") and tensor.is_floating_point() and tensor.numel() == 1:
        return torch.nan_to_num(tensor.double(), posinf=0, neginf=0).long()
    return tensor


def _note(
    content: Mapping[Any, Any], tensors: Mapping[str, Tensor], *, place: tuple[str, str], outside: list[str]
) -> str:
    """What the user should know about what was read, in one line."""
    name, prefix = place
    read = ".".join(filter(None, (name, f"{prefix}*" if outside else "")))
    parts = [f"reads {_shown(read)}"] if read else []
    top = name.partition(".")[0]
    beside = [key for key, one in content.items() if (key != top if top else not isinstance(one, Tensor))] + outside
    if beside:
        parts.append(f"leaves out {', '.join(map(_shown, beside[:5]))}{', ...' if len(beside) > 5 else ''}")
    types = Counter(str(one.dtype).removeprefix("torch.") for one in tensors.values() if one.dtype in CONVERTED)
    return "; ".join(parts + [f"converts {count} tensors from {kind} to float32" for kind, count in types.items()])


def _shown(key: object) -> str:
    return printable(str(key)[:100])
