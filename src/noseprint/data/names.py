"""Names of individuals, encounters and files: which are missing, and which a person takes for the same.

Every table, import and gallery uses these rules.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

_MISSING_WORDS = {
    "na",
    "nan",
    "nat",
    "none",
    "null",
    "nil",
    "unknown",
    "unk",
    "unid",
    "unidentified",
    "unidentifiable",
    "undetermined",
    "undefined",
    "unassigned",
    "unnamed",
    "unclear",
    "notknown",
    "notidentified",
    "nodata",
    "notassigned",
    "notavailable",
    "notapplicable",
    "notrecorded",
    "missing",
    "empty",
    "blank",
    "tbd",
}
_MISSING_WORDS |= {f"{word}{whom}" for word in ("unknown", "unidentified", "no", "new")
                   for whom in ("individual", "animal", "dog", "whale", "id", "identity", "name")}  # fmt: skip
_MISSING_TEXTS = {"-1", "-9", "-99", "-999", "-9999", "#ref!", "#value!", "#name?", "#div/0!", "#num!", r"\n"}
_UNKNOWN_KIND = re.compile(r"(unknown|unidentified)[\W_]+[^\W\d_]{3,}[\W_]*")  # unknown zebra, unidentified male
_ZEROS_AFTER_POINT = re.compile(r"(?<=\d)\.0+$")
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d{2,3}", re.IGNORECASE)
_BEFORE_NAME, _AFTER_NAME = "#*\"'([{<\u00ab\u201c\u201e ", ".,;:!?*\"'()[]{}<>\u00bb\u201c\u201d "
_ALIKE_CHARACTERS = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u00b4`", "'"))
_NOT_SHOWN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_NUMBER = re.compile(r"(?<!\d)(?<!\d[.,])\d+")  # 1.05 is not 1.5
_SEPARATORS = re.compile(r"(?<!^)[\s_\u002d\u2010-\u2015\u2212]+")
_SHOWN = 100


def is_missing(name: str, unknown: tuple[str, ...] = ()) -> bool:
    r"""Whether a name says that an identity or an encounter is not known.

    These names say so: nothing but space and punctuation (`?`, `-`, `____`); NA, N/A, nan, NaT, none, null, nil,
    unknown, unidentified, unassigned, unnamed, missing, "not known" and the like, in any case and with any punctuation;
    "unknown" with the kind of animal ("unknown zebra"); -1, -99 and -999; `\N`, a database's NULL; and the errors of a
    spreadsheet (`#REF!`). unknown: further words, compared by `alike_form`.
    """
    return _is_missing(name) or (bool(unknown) and alike_form(name) in set(map(alike_form, unknown)))


@lru_cache(2**16)
def _is_missing(name: str) -> bool:
    text = _ZEROS_AFTER_POINT.sub("", _shown_text(name))
    categories = {unicodedata.category(character) for character in text}
    has_content = any(category[0] in "LN" or category == "So" for category in categories)  # So: an emoji is a name
    is_unknown = re.sub(r"[\W_]", "", text) in _MISSING_WORDS or _UNKNOWN_KIND.fullmatch(text)
    return not has_content or text in _MISSING_TEXTS or bool(is_unknown)


@lru_cache(2**16)
def alike_form(name: str) -> str:
    """Equal for names that a person takes for the same, such as `Rex 007`, `rex_7` and `REX 7`; `7` and `7.0`.

    Numbers count by their value. What does not count: case, space of any kind, invisible characters, hyphens and
    underscores between words, quotes, brackets and punctuation around the name (`Rex?`, `#7`), the kind of apostrophe
    and the Unicode form. The space between two numbers does: `1 12` is not `11 2`.
    """
    shown = _shown_text(name)
    bare = shown.lstrip(_BEFORE_NAME).rstrip(_AFTER_NAME) or shown
    text = _NUMBER.sub(lambda digits: _number(digits[0]), bare)
    if whole := re.fullmatch(r"(-?\d+)\.0+", text):
        return whole[1]
    return re.sub(r"(?<!\d) | (?!\d)", "", _SEPARATORS.sub(" ", text))


def alike_groups(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The distinct names that a person takes for the same, in groups of two or more."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in set(names):
        groups[alike_form(name)].add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def rounded_numbers(names: Iterable[str]) -> list[str]:
    """The distinct names that are numbers as a spreadsheet rounds them, such as 9.85112E+14 for a chip's number."""
    return sorted(name for name in set(names) if _ROUNDED.fullmatch(name.strip()))


def rounded_text(names: Sequence[str]) -> str:
    """What is wrong with such numbers and how to fix it, in one line."""
    text = ", ".join(map(repr, names[:_SHOWN])) + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
    return (
        f"a program has rounded the numbers of individuals, so that several may have one: {text}. Write their digits: "
        "in a spreadsheet, format the column as text before you enter or load them"
    )


def positions(name: str, names: Sequence[str]) -> list[int]:
    """Where `name` is among the names of columns; if it is not, where it is in another case."""
    exact = [at for at, other in enumerate(names) if other == name]
    return exact or [at for at, other in enumerate(names) if other.casefold() == name.casefold()]


def column_words(name: str) -> str:
    """A column's name in lower case and single words: individualID, Individual_No. and individual-id are equal."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+", " ", name).casefold().split()
    return " ".join("id" if word in ("no", "nr", "num", "number", "code", "identifier") else word for word in spaced)


def disk_form(name: str) -> str:
    """Equal for file names that are one file on a disk that ignores case and the Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


class SimilarFiles:
    """Finds existing files by names that a person takes for the same; lists each folder once."""

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        """An existing path, each part of which has the `alike_form` of that part of `path`; None if there is none."""
        found = Path(path.anchor)
        for part in path.parts[len(found.parts) :]:
            exists = part == ".." or os.path.exists(found / part)  # noqa: PTH110 - False, and no error, for too long a name
            similar = part if exists else self._list(found).get(alike_form(part))
            if similar is None:
                return None
            found /= similar
        return found

    def _list(self, folder: Path) -> dict[str, str]:
        if folder not in self._entries:
            names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
            self._entries[folder] = {alike_form(name): name for name in reversed(names)}
        return self._entries[folder]


def alike_text(groups: Sequence[Sequence[str]]) -> str:
    """Groups of alike names for a message, at most 100: "'007' and '7'; 'Rex' and 'rex'"."""
    text = "; ".join(" and ".join(map(_quoted(group), group)) for group in groups[:_SHOWN])
    return f"{text}; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else text


def count_text(names: Iterable[str]) -> str:
    """Each distinct name with its number, the most frequent first, at most 100: "'unknown' (30), empty (1)"."""
    counts: Mapping[str, int] = Counter(names)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    text = ", ".join(f"{repr(name) if name else 'empty'} ({counts[name]})" for name in ordered[:_SHOWN])
    return f"{text} and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else text


def _quoted(group: Sequence[str]) -> Callable[[str], str]:
    """`repr`, or `ascii` if names differ only in the Unicode form of their accents."""
    return repr if len({unicodedata.normalize("NFC", name) for name in group}) == len(group) else ascii


def _shown_text(name: str) -> str:
    """The name in one Unicode form and one case, without what is not shown; one space for any space."""
    text = unicodedata.normalize("NFKC", name.translate(_ALIKE_CHARACTERS)).casefold()
    text = re.sub(r"\s+", " ", text)
    text = "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cc"))
    return _NOT_SHOWN.sub("", text).strip()


def _number(digits: str) -> str:
    return "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0") or "0"
