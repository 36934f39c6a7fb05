"""A data folder of classes: train/CLASS/*, val/CLASS/*, test/CLASS/* or test/*, unlabelled/*."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from noseprint.data.listing import is_hidden, list_photographs
from noseprint.errors import Fault, NoseprintError, breaks_line

ClassSplit = Literal["train", "val", "test", "unlabelled"]
SPLIT_WORDS: Mapping[str, ClassSplit] = {
    **{"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test", "unlabelled": "unlabelled", "unlabeled": "unlabelled"},
}
"""The names of a split in lower case, as a folder or in a table -> the split."""
UNPRINTABLE = "the name holds a control character or is not UTF-8: rename it"
_NAMED = 3  # examples in a message


def some(names: Sequence[str]) -> str:
    """The first names, for a message."""
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)


def split_folders(data: Path, faults: list[Fault]) -> dict[ClassSplit, Path]:
    """Split -> its folder, in the order train, val, test, unlabelled."""
    found = defaultdict[ClassSplit, list[Path]](list)
    for entry in sorted(data.iterdir()) if data.is_dir() else []:
        if (split := SPLIT_WORDS.get(entry.name.casefold())) and entry.is_dir():
            found[split].append(entry)
    for split, folders in found.items():
        if len(folders) > 1:
            named = " and ".join(folder.name for folder in folders)
            faults.append(Fault(data, None, f"the folders {named} are both for {split}: move them into one"))
    return {split: found[split][0] for split in dict.fromkeys(SPLIT_WORDS.values()) if split in found}


def list_class_folder(folder: Path, split: ClassSplit, faults: list[Fault]) -> list[tuple[str, str]]:
    """List (label, name) of the images of a split, and append what is wrong with the folder to `faults`."""
    inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    try:
        files = [name.split("/") for name in list_photographs(folder)[1]]
    except NoseprintError as error:  # there is none
        if split == "train" and not inner:
            faults.append(Fault(folder, None, str(error).removeprefix(f"{folder}: ")))
        files = []
    if split == "unlabelled" or (split == "test" and not inner):
        return [("", "/".join((folder.name, *parts))) for parts in files]
    loose = [parts[0] for parts in files if len(parts) == 1]
    if loose:
        problem = f"{len(loose)} photographs lie in no class's folder ({some(loose)}): move each into one"
        faults.append(Fault(folder, None, problem))
    nested = defaultdict[str, set[str]](set)
    for label, *between, _ in (parts for parts in files if len(parts) > 2):
        nested[label].add(between[0])
    for label, names in nested.items():
        problem = f"holds folders ({some(sorted(names))}), and a class's folder may hold only photographs: move them "
        faults.append(Fault(folder / label, None, f"{problem}up, make each a class of {folder.name}, or use a table"))
    if split == "train":
        for label in sorted(set(inner) - {parts[0] for parts in files if len(parts) > 1}):
            problem = "the class's folder holds no photograph: add some, or remove the folder"
            faults.append(Fault(folder / label, None, problem))
    found = [(parts[0].strip(), "/".join((folder.name, *parts))) for parts in files if len(parts) > 1]
    for _, name in found:
        if breaks_line(name):
            faults.append(Fault(folder.parent / name, None, UNPRINTABLE))
    return found
