"""Boxes around the individuals in photographs: found among a table's columns, placed in the photograph, and cut out."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
from PIL import Image

from noseprint.data.decoding import decode, in_threads
from noseprint.data.names import positions as positions_of
from noseprint.errors import DataError, NoseprintError

BoxFormat = Literal["xywh", "xyxy", "cxcywh", "yxyx"]
BOX_FORMATS: dict[BoxFormat, str] = {
    "xywh": "x,y,w,h",
    "xyxy": "x1,y1,x2,y2",
    "cxcywh": "centre x,y and w,h",
    "yxyx": "y1,x1,y2,x2",
}
Orientation = Literal["upright", "stored"]
"""Which image the boxes were drawn in: turned by its EXIF orientation, or as it is stored."""
Numbers = tuple[float, float, float, float]

_PREFIXES = ("bbox", "boundingbox", "box", "bb", "roi", "rect", "crop", "detection")
_FOUR_COLUMNS: tuple[tuple[BoxFormat | None, tuple[str, str, str, str]], ...] = (
    ("xywh", ("x", "y", "w", "h")),
    ("xywh", ("x", "y", "width", "height")),
    ("xywh", ("left", "top", "width", "height")),
    ("xywh", ("xmin", "ymin", "width", "height")),
    ("xywh", ("xmin", "ymin", "w", "h")),
    ("xywh", ("left", "top", "w", "h")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("minx", "miny", "maxx", "maxy")),
    ("xyxy", ("x1", "y1", "x2", "y2")),
    ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("left", "top", "right", "bottom")),
    ("xyxy", ("xtl", "ytl", "xbr", "ybr")),
    ("cxcywh", ("xcenter", "ycenter", "width", "height")),
    ("cxcywh", ("xcenter", "ycenter", "w", "h")),
    ("cxcywh", ("centerx", "centery", "width", "height")),
    ("cxcywh", ("centerx", "centery", "w", "h")),
    ("cxcywh", ("cx", "cy", "width", "height")),
    ("cxcywh", ("cx", "cy", "w", "h")),
    (None, ("1", "2", "3", "4")),
    (None, ("0", "1", "2", "3")),
)
_FORMATS_OF: dict[str, BoxFormat] = {"coco": "xywh", "yolo": "cxcywh", "voc": "xyxy", "pascalvoc": "xyxy"}
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
_NAMED_NUMBER = re.compile(rf"""["']?([a-z][\w ]*?)["']?\s*[:=]\s*["']?({_NUMBER.pattern})""", re.IGNORECASE)
_ONLY_NUMBERS = r"[\[(]?\s*([-+\d.e]+[\s,;]+){3}[-+\d.e]+\s*[\])]?"
_NO_BOX = {"", "na", "nan", "none", "null", "[]"}
_OVERHANG = 0.01  # of a side, at least 2 pixels: what a detector or a hand may draw outside the photograph


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle in the upright photograph, in pixels: columns left..right-1, rows top..bottom-1."""

    left: int
    top: int
    right: int
    bottom: int

    def __str__(self) -> str:
        """Return x, y, width, height, as COCO writes a box."""
        return f"[{self.left}, {self.top}, {self.right - self.left}, {self.bottom - self.top}]"


@dataclass(frozen=True)
class StatedBox:
    """A box as a source states it: four numbers in pixels, or in fractions of the photograph."""

    numbers: Numbers
    size: tuple[int, int] | None = None
    """Width and height of the photograph, if the source states them."""


@dataclass(frozen=True)
class BoxOptions:
    """What the user says about boxes."""

    file: Path | None = None
    """JSON with the boxes of a source that has none: MegaDetector's results, or COCO."""
    confidence: float = 0.2
    """Detections below it do not count."""
    surest: bool = False
    """If a photograph of one individual has several boxes, take the one of highest confidence."""
    columns: tuple[str, ...] = ()
    """One or four columns of the table. Empty: guess them by their names."""
    format: BoxFormat | None = None
    """None: as the source says, or as most boxes fit into their photographs."""
    image: Orientation | None = None
    """None: as the source says; else upright."""
    crop: bool = True
    """False: ignore all boxes."""


@dataclass(frozen=True)
class BoxColumns:
    """Columns of a table that hold the boxes."""

    positions: tuple[int, ...]
    formats: tuple[BoxFormat, ...]
    """The formats that are possible, the likeliest first."""


def find_box_columns(names: Sequence[str], rows: Sequence[Sequence[str]], options: BoxOptions) -> BoxColumns | None:
    """Find a table's columns of boxes: those of `options`, or else guessed by their names. None if there are none.

    rows: the fields below the header. Raises NoseprintError if a column of `options` does not exist.
    """
    positions: tuple[int, ...] = ()
    if options.columns:
        found_at = {name: positions_of(name, names) for name in options.columns}
        missing = [name for name, at in found_at.items() if not at]
        if missing or len(options.columns) not in (1, 4):
            problem = f"there is no column {missing[0]!r}" if missing else "name one column, or four"
            raise NoseprintError(f"--box-columns: {problem}; the columns are {', '.join(map(repr, names))}")
        positions = tuple(found_at[name][0] for name in options.columns)
    chosen = positions or range(len(names))
    found = _guess_columns([names[at] for at in chosen], [[row[at] for at in chosen] for row in rows])
    if positions:  # known names give the order
        found = replace(found, positions=tuple(positions[at] for at in found.positions)) if found else None
        found = found or BoxColumns(positions, _formats_in(rows, positions))
    return replace(found, formats=(options.format,)) if found and options.format else found


def parse_box(fields: Sequence[str]) -> Numbers | str | None:
    """Read the four numbers of a box from one field such as "[10, 20, 300, 200]", or from four.

    Where the field names its numbers ({"Width": 0.3, ...}), they are in the order of the format that the names tell.
    Return None if the fields are empty, and what is wrong if they hold something else.
    """
    if all(field.casefold() in _NO_BOX for field in fields):
        return None
    if len(fields) == 1 and _NAMED_NUMBER.search(fields[0]):
        named = _named_numbers(fields[0])
        return named[1] if named else f"the box {fields[0]!r} has other names than x, y, width, height and the like"
    text = ", ".join(field.replace(",", ".") for field in fields) if len(fields) > 1 else fields[0]
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 4:
        several = ": write a row for each box" if len(numbers) > 4 else ", not four"
        return f"the box {text!r} has {len(numbers)} numbers{several}"
    return numbers[0], numbers[1], numbers[2], numbers[3]


def place_boxes(
    photographs: Sequence[Path],
    stated: Sequence[StatedBox],
    *,
    formats: Sequence[BoxFormat],
    orientation: Orientation,
) -> tuple[list[Box | str], str]:
    """Place each box in its photograph. Return the boxes, or what is wrong with them, and how they were read.

    formats: those that are possible, the likeliest first; the first with which most boxes fit is taken. The numbers are
    fractions of the photograph if those of most boxes are at most 1, and pixels otherwise. A box that extends beyond
    its photograph by up to 1 % of a side (or 2 pixels) is cut at the edge. If a source states the size of a photograph,
    it must be that of the stored or the upright image. If these two differ, it decides about the `orientation`.
    """
    distinct = list(dict.fromkeys(photographs))
    frames = dict(zip(distinct, in_threads(_read_frame, distinct, label="photographs"), strict=True))
    within_one = sum(not any(abs(number) > 1 + _OVERHANG for number in box.numbers) for box in stated)
    fractions = 2 * within_one > len(stated)
    turned = sum(not isinstance(frame, str) and frame[2] > 1 for frame in frames.values())
    readings = {
        form: [
            _place(box, frames[path], form, orientation, fractions=fractions)
            for path, box in zip(photographs, stated, strict=True)
        ]
        for form in formats
    }
    fit = {form: sum(isinstance(box, Box) for box in boxes) for form, boxes in readings.items()}
    form = max(fit, key=lambda form: fit[form])
    description = f"{BOX_FORMATS[form]} in {'fractions of the photograph' if fractions else 'pixels'}"
    if len(formats) > 1:
        others = [f"{n} as {BOX_FORMATS[other]}" for other, n in fit.items() if other != form]
        description += f" (so {fit[form]} of {len(stated)} fit; {', '.join(others)}; --box-format changes it)"
    if turned:
        description += f", in the {orientation} images ({turned} photographs are turned by EXIF; see --box-image)"
    return readings[form], description


def crop_suffix(photograph: Path) -> str:
    """The suffix of a crop's file: JPEG for a photograph in JPEG, else PNG."""
    with photograph.open("rb") as file:
        return ".jpg" if file.read(3) == b"\xff\xd8\xff" else ".png"


def write_crop(photograph: Path, box: Box, new: Path) -> None:
    """Cut the box out of the upright photograph: as JPEG (quality 95, no subsampling of colours) or PNG, by suffix."""
    image = decode(photograph)[box.top : box.bottom, box.left : box.right]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(new.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality * (new.suffix == ".jpg"))
    if not done:
        raise NoseprintError(f"{photograph}: the crop {box} cannot be encoded")
    new.write_bytes(data.tobytes())


def unread_box_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The names of columns that perhaps hold boxes: by their names, or because four numbers are in a field."""

    def may_hold_boxes(at: int) -> bool:
        fields = [row[at] for row in rows if row[at].casefold() not in _NO_BOX]
        named = re.search(r"(bbox|boundingbox)", _key(names[at]))
        return any(named or re.fullmatch(_ONLY_NUMBERS, field) for field in fields)

    return [name for at, name in enumerate(names) if may_hold_boxes(at)]


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _named_numbers(field: str) -> tuple[BoxFormat, Numbers] | None:
    """The format and the numbers of a box such as {"x": 10, "y": 20, "width": 300, "height": 200}, in any order."""
    of = {_key(name): float(number) for name, number in _NAMED_NUMBER.findall(field)}
    for form, (a, b, c, d) in _FOUR_COLUMNS:
        if form and of.keys() >= {a, b, c, d}:
            return form, (of[a], of[b], of[c], of[d])
    return None


def _formats_in(rows: Sequence[Sequence[str]], positions: Sequence[int]) -> tuple[BoxFormat, ...]:
    """The formats that a column of boxes may have: the one that its fields name, or else two."""
    named = next(filter(None, (_named_numbers(row[positions[0]]) for row in rows)), None)
    return (named[0],) if named else ("xywh", "xyxy")


def _guess_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> BoxColumns | None:
    at = {_key(name): position for position, name in reversed(list(enumerate(names)))}
    for key, position in at.items():
        if match := re.fullmatch(r"(bbox|boundingbox)(\w*)", key):
            known = [form for form in BOX_FORMATS if form == _FORMATS_OF.get(match[2], match[2])]
            if known or not match[2]:
                return BoxColumns((position,), tuple(known) or _formats_in(rows, (position,)))
    for prefix, (form, parts) in itertools.product((*_PREFIXES, ""), _FOUR_COLUMNS):
        keys = [prefix + part for part in parts]
        if all(key in at for key in keys) and (prefix or form):
            return BoxColumns(tuple(at[key] for key in keys), (form,) if form else ("xywh", "xyxy"))
    for prefix in _PREFIXES:  # less sure: only if there are numbers in it
        if prefix in at and any(re.fullmatch(_ONLY_NUMBERS, row[at[prefix]]) for row in rows):
            return BoxColumns((at[prefix],), ("xywh", "xyxy"))
    return None


def _read_frame(photograph: Path) -> tuple[int, int, int] | str:
    """Width and height as stored, and EXIF orientation (1 to 8); or why the photograph cannot be read."""
    try:
        with Image.open(photograph) as image:
            if image.format != "TIFF":  # Pillow turns some of them, and some not
                return *image.size, image.getexif().get(274, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # `decode` says what is wrong
    try:
        height, width, _ = decode(photograph).shape
    except DataError as error:
        return error.faults[0].problem
    return width, height, 1


def _place(
    stated: StatedBox, frame: tuple[int, int, int] | str, form: BoxFormat, orientation: Orientation, *, fractions: bool
) -> Box | str:
    if isinstance(frame, str):
        return f"the photograph {frame}"
    *stored, turn = frame
    upright = stored[::-1] if turn > 4 else stored
    if stated.size and list(stated.size) not in (stored, upright):
        size = "{} x {}".format(*stated.size)
        found = f"{upright[0]} x {upright[1]}"
        return f"the box is for a photograph of {size} pixels, and this one has {found}: replace the photograph"
    if stated.size and stored != upright:
        orientation = "upright" if list(stated.size) == upright else "stored"
    width, height = upright if orientation == "upright" else stored
    text = f"[{', '.join(f'{number:g}' for number in stated.numbers)}] as {BOX_FORMATS[form]}"
    if not all(map(math.isfinite, stated.numbers)):
        return f"the box {text} holds a number that is not finite"
    left, top, right, bottom = _corners(stated.numbers, form)
    if right <= left or bottom <= top:
        return f"the box {text} is empty: its width and height must be above 0"
    if fractions:
        left, top, right, bottom = left * width, top * height, right * width, bottom * height
    over_x, over_y = (max(2, _OVERHANG * side) for side in (width, height))
    if left < -over_x or top < -over_y or right > width + over_x or bottom > height + over_y:
        problem = f"the box {text} extends beyond the photograph of {width} x {height} pixels"
        other: Orientation = "stored" if orientation == "upright" else "upright"
        return problem + f", which EXIF turns: are the boxes in the {other} images (--box-image {other})?" * (turn > 1)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if orientation == "stored":
        left, top, right, bottom = _turn((left, top, right, bottom), (width, height), turn)
    box = Box(round(left), round(top), round(right), round(bottom))
    return box if box.left < box.right and box.top < box.bottom else f"the box {text} is less than a pixel wide or high"


def _corners(numbers: Numbers, form: BoxFormat) -> Numbers:
    a, b, c, d = numbers
    if form == "xywh":
        return a, b, a + c, b + d
    if form == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return (a, b, c, d) if form == "xyxy" else (b, a, d, c)


def _turn(corners: Numbers, size: tuple[int, int], turn: int) -> Numbers:
    """Map corners in the stored image to the upright one. turn: the EXIF orientation (CIPA DC-008, 4.6.4)."""
    (left, top, right, bottom), (width, height) = corners, size
    if turn > 4:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom
