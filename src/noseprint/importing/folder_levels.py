"""What each level of folders is in a folder of photographs: a split, a group or the individuals."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from mimetypes import guess_type
from pathlib import Path

from noseprint.errors import NoseprintError

_SPLIT = re.compile(
    r"(train(ing|val)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|quer(y|ies)|gallery|probe|hold-?out|fold)"
    r"([-_ ]?(set|data|images?|split|\d+))?",
    re.IGNORECASE,
)
_OCCASION = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d?.*)?|(day|visit|session|encounter|occasion|date|trip|season|week|month|year)[-_ ]?\w*|"
    r"(spring|summer|autumn|fall|winter)\b.*|(cam|camera)[-_ ]?\d*|left|right|front|back|head|face|body|side|"
    r"images?|imgs?|photos?|pictures?|raw|jpe?g|crops?|originals?|\d*dcim\d*",
    re.IGNORECASE,
)
"""Folders that are named for when or how an individual was photographed, and not for individuals."""


def parse_levels(text: str) -> tuple[str, ...]:
    """Split "group/individual" into its levels. split: left out of the name; group: part of it; individual: the last.

    With split/individual, train/rex and test/rex are one individual; with group/individual, lion/1 and zebra/1 are two.
    """
    levels = tuple(text.split("/"))
    if levels[-1] != "individual" or set(levels[:-1]) - {"split", "group"}:
        raise NoseprintError(
            f"--folders {text}: say what each level of folders is, the outermost first: individual, split/individual "
            "(equal names in two splits are one individual) or group/individual (equal names in two groups are two); "
            "more levels are possible"
        )
    return levels


def guess_levels(source: Path, files: Sequence[tuple[str, ...]], *, encounters: bool) -> tuple[str, ...]:
    """Guess the levels of folders. Raise NoseprintError if the individuals' folders may be on either of two levels."""
    files = [parts for parts in files if len(parts) > 1 and _may_be_photograph(parts[-1])]
    levels: tuple[str, ...] = ()
    while True:
        inside: dict[str, set[str]] = defaultdict(set)  # the folders in each folder of this level
        holds_files = set[str]()
        for parts in files:
            inside[parts[0]].update(parts[1:-1][:1])
            holds_files |= {parts[0]} if len(parts) == 2 else set()
        splits = set(filter(_SPLIT.fullmatch, inside))
        only_folders = inside.keys() - holds_files
        names = set[str]().union(*inside.values())
        occasions = all(map(_OCCASION.fullmatch, names))
        single = len(inside) == 1 and only_folders and not (occasions and len(names) > 1)
        if not (names and (splits == inside.keys() or single)):
            break
        levels = (*levels, "split")
        files = [parts[1:] for parts in files if len(parts) > 2]
    if inside and (splits == inside.keys() or (levels and len(inside) == 1 and holds_files)):
        raise NoseprintError(
            f"{source}: the photographs lie in folders named {_some(inside)}, and not in a folder for each individual: "
            "name the individuals in a table, or pass --folders individual if these are individuals"
        )
    here = (*levels, "individual")
    if not only_folders or encounters:
        return here
    options = f"--folders {'/'.join(here)}"
    deeper = [f"--folders {'/'.join((*levels, level, 'individual'))}" for level in ("group", "split")]
    if mixed := splits & only_folders:
        raise NoseprintError(
            f"{source}: {_some(mixed)} has the name of a split and holds only folders, beside the folders "
            f"{_some(inside.keys() - mixed)}: move it away, or pass {options} if it is an individual"
        )
    several = any(len(inner) > 1 for inner in inside.values())
    if only_folders < inside.keys() or not several or occasions:
        return here
    raise NoseprintError(
        f"{source}: its {len(inside)} folders ({_some(inside)}) hold only folders ({_some(names)}). Which are the "
        f"individuals? If the outer folders, pass {options}, or --encounter-folders. If the inner folders, pass "
        f"{deeper[0]} (equal names in two outer folders are two individuals) or {deeper[1]} (equal names are one)"
    )


def _may_be_photograph(name: str) -> bool:
    """False for what its suffix says is a text, a table, a film or a sound."""
    kind = (guess_type(name)[0] or "").partition("/")[0]
    return kind in ("", "image")


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:3]) + ", ..." * (len(names) > 3)
