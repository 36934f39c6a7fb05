"""A picture of two photographs side by side, with the verdict below."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from noseprint.calibration.verify import Verdict, probability_text
from noseprint.data.decoding import Image, decode
from noseprint.files import atomic_write

_SIDE, _GAP, _LINE = 480, 16, 30  # px
_WIDTH = 2 * _SIDE + 3 * _GAP
_COLUMNS = 92  # characters of a line of text
_PAPER, _INK, _FRAME = (248, 248, 248), (40, 40, 40), (225, 225, 225)
_COLOURS = {"same": (22, 110, 60), "different": (170, 40, 40), "cannot tell": (140, 95, 0)}


def write_picture(path: Path, verdict: Verdict) -> None:
    """Write a PNG of both photographs of `verdict` with decision, probability, similarity and reasons below."""
    picture = draw(verdict, [decode(Path(name)) for name in verdict.photographs])
    with atomic_write(path) as part:
        part.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def draw(verdict: Verdict, images: Sequence[Image]) -> Image:
    """The picture, (H, 1008, 3) RGB: each of the two images fitted into a square, whatever its size and shape."""
    headline = (
        f"{verdict.decision.upper()}   {probability_text(verdict.probability)}   similarity {verdict.similarity:.3f}"
    )
    about = f"prior {verdict.prior:g}, false match rate {verdict.point.fmr:g}, {len(verdict.members)} network"
    about += "s" if len(verdict.members) > 1 else ""
    texts = [*(reason.text for reason in verdict.reasons), about, *([verdict.caution] if verdict.caution else [])]
    lines = [part for text in texts for part in textwrap.wrap(_plain(text), _COLUMNS)]
    top = _GAP + _SIDE + _LINE
    canvas = np.full((top + 2 * _LINE + len(lines) * _LINE + _GAP, _WIDTH, 3), _PAPER, np.uint8)
    for number, (image, name) in enumerate(zip(images, verdict.photographs, strict=True)):
        left = _GAP + number * (_SIDE + _GAP)
        canvas[_GAP : _GAP + _SIDE, left : left + _SIDE] = _FRAME
        _paste(canvas[_GAP : _GAP + _SIDE, left : left + _SIDE], image)
        size = f"{image.shape[1]} x {image.shape[0]} px"
        shown = _plain(Path(name).name)
        shown = shown if len(shown) <= 32 else f"{shown[:14]}...{shown[-15:]}"
        _write(canvas, f"{'AB'[number]}: {shown}  {size}", (left, top - 8), 0.5, _INK)
    _write(canvas, headline, (_GAP, top + _LINE + 4), 0.9, _COLOURS[verdict.decision], thick=2)
    for number, line in enumerate(lines):
        _write(canvas, line, (_GAP, top + (number + 2) * _LINE + 6), 0.58, _INK)
    return canvas


def _paste(square: Image, image: Image) -> None:
    """Put `image` into the middle of `square`, as large as it fits."""
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (_SIDE - size[1]) // 2, (_SIDE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = fitted


def _write(
    canvas: Image, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int], *, thick: int = 1
) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)


def _plain(text: str) -> str:
    """The text in ASCII, all that OpenCV can write."""
    return text.encode("ascii", "replace").decode()
