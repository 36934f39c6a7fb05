"""Drawn leaves of four kinds, three classes each that differ by one detail; and other things, which are no leaves.

What says nothing about the class varies more than the detail that does: colour, pose, light, focus, and the ground,
which belongs to the photographer.
"""

import cv2
import numpy as np
import numpy.typing as npt

from noseprint.data.drawn_photograph import SIDE, Canvas, Photo, Points, ground, photograph, place

KINDS = {
    "star": ("star-five", "star-six", "star-seven"),  # lobes
    "heart": ("heart-smooth", "heart-toothed", "heart-wavy"),  # margin
    "lance": ("lance-plain", "lance-ribbed", "lance-striped"),  # veins
    "round": ("round-plain", "round-spotted", "round-banded"),  # marks
}
"""Kind -> its classes."""
CLASSES = tuple(name for names in KINDS.values() for name in names)


def draw_leaf(name: str, photographer: int, *, rng: np.random.Generator, seed: int) -> Photo:
    """Draw a leaf of the class `name`, one of CLASSES: (H, W, 3) uint8 BGR, sides 144 px and 144 to 176 px.

    photographer (>= 0): whose ground and light it has; `seed` draws these, `rng` the rest.
    """
    canvas = ground(photographer, rng=rng, seed=seed)
    kind, _, detail = name.partition("-")
    colour = _colour(rng)
    if rng.random() < 0.3:  # part of another leaf at the edge
        other = CLASSES[int(rng.integers(len(CLASSES)))].partition("-")
        where = place(rng, shift=float(rng.uniform(0.75, 0.95)), scale=0.5)
        _paint(canvas, kind=other[0], detail=other[2], place=where, colour=_colour(rng), rng=rng)
    _paint(canvas, kind=kind, detail=detail, place=place(rng, shift=0.12), colour=colour, rng=rng)
    return photograph(canvas, photographer, rng=rng, seed=seed)


def draw_other(photographer: int, *, rng: np.random.Generator, seed: int) -> Photo:
    """Draw stones, berries or twigs on the ground of a photographer, as by `draw_leaf`."""
    canvas = ground(photographer, rng=rng, seed=seed)
    what = int(rng.integers(3))
    for _ in range(int(rng.integers(2, 6))):
        x, y = (int(value) for value in rng.uniform(0.25, 0.75, 2) * SIDE)
        if what == 0:  # stones
            grey = tuple(float(value) for value in rng.uniform(0.25, 0.75) * rng.uniform(0.9, 1.1, 3))
            turn, axes = float(rng.uniform(0, 180)), tuple(int(value) for value in rng.uniform(22, 60, 2))
            cv2.ellipse(canvas, (x + 4, y + 5), axes, turn, 0, 360, (0.08, 0.08, 0.08), -1)
            cv2.ellipse(canvas, (x, y), axes, turn, 0, 360, grey, -1, cv2.LINE_AA)
        elif what == 1:  # berries
            radius = int(rng.integers(14, 30))
            red = (float(rng.uniform(0, 0.3)), float(rng.uniform(0, 0.2)), float(rng.uniform(0.5, 0.9)))
            cv2.circle(canvas, (x, y), radius, red, -1, cv2.LINE_AA)
            cv2.circle(canvas, (x - radius // 3, y - radius // 3), radius // 5, (0.9, 0.9, 1.0), -1, cv2.LINE_AA)
        else:  # twigs
            angle, length = rng.uniform(0, np.pi), rng.uniform(60, 140)
            end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
            start = (int(x - length * np.cos(angle)), int(y - length * np.sin(angle)))
            cv2.line(canvas, start, end, (0.08, 0.14, 0.2), int(rng.integers(4, 11)), cv2.LINE_AA)
    return photograph(canvas, photographer, rng=rng, seed=seed)


# -- the leaf ----------------------------------------------------------------------------------------------------------


def _outline(kind: str, detail: str, rng: np.random.Generator) -> Points:
    """The margin of a leaf, (N, 2), with the tip at (0, -1)."""
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    if kind == "star":
        lobes = {"five": 5, "six": 6, "seven": 7}[detail]
        radius = rng.uniform(0.42, 0.55) + 0.5 * np.abs(np.cos(lobes * t / 2)) ** rng.uniform(0.9, 1.5)
    elif kind == "heart":
        x, y = (
            0.06 * 16 * np.sin(t) ** 3,
            0.06 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)),
        )
        points = np.stack([x, y + 0.15], 1)
        teeth = int(rng.integers(30, 40))
        ripple = {
            "smooth": np.zeros_like(t),
            "toothed": 0.07 * ((teeth * t / (2 * np.pi)) % 1 - 0.5),
            "wavy": 0.035 * np.sin(teeth // 2 * t),
        }[detail]
        return np.asarray(points * (1 + ripple)[:, None])
    elif kind == "lance":
        width = rng.uniform(0.28, 0.4)
        return np.stack([width * np.sin(t) * (1 + 0.25 * np.cos(t)), -np.cos(t)], 1)
    else:
        radius = 0.82 + 0.03 * np.cos(2 * t + rng.uniform(0, 6)) + 0.02 * np.cos(5 * t + rng.uniform(0, 6))
    return np.stack([radius * np.sin(t), -radius * np.cos(t)], 1)


def _paint(canvas: Canvas, *, kind: str, detail: str, place: Points, colour: Points, rng: np.random.Generator) -> None:
    """Paint one leaf with its shadow on the canvas."""

    def on_canvas(points: Points) -> npt.NDArray[np.int32]:  # in 1/16 px
        moved = np.asarray(points) @ place[:, :2].T + place[:, 2]
        return np.asarray((moved * 16).round(), np.int32)

    def fill(points: Points, paint: Points) -> None:
        cv2.fillPoly(canvas, [on_canvas(points)], paint.tolist(), cv2.LINE_AA, 4)

    def line(points: Points, paint: Points, thickness: int) -> None:
        cv2.polylines(canvas, [on_canvas(points)], False, paint.tolist(), thickness, cv2.LINE_AA, 4)

    rng = rng.spawn(1)[0]  # what a detail draws changes nothing else
    margin = _outline(kind, detail, rng)
    dark, pale = colour * 0.6, np.clip(colour * 1.5 + 0.06, 0, 1)
    shadow = np.zeros(canvas.shape[:2], np.float32)
    cv2.fillPoly(shadow, [on_canvas(margin) + 16 * rng.integers(3, 9, 2).astype(np.int32)], 1.0)
    canvas *= 1 - 0.55 * cv2.GaussianBlur(shadow, (0, 0), 4)[..., None]
    line(np.array([(0, 0.7), (rng.uniform(-0.1, 0.1), 1.25)]), dark, 4)  # the stalk
    fill(margin, colour)
    if kind == "star":
        lobes = {"five": 5, "six": 6, "seven": 7}[detail]
        for k in range(lobes):
            angle = 2 * np.pi * k / lobes
            line(np.array([(0, 0), (0.75 * np.sin(angle), -0.75 * np.cos(angle))]), pale, 1)
        return
    if kind == "round" and detail == "banded":
        line(np.concatenate([margin, margin[:1]]) * rng.uniform(0.62, 0.74), pale, int(rng.integers(3, 6)))
    line(np.array([(0, 0.85), (0, -0.8)]), pale, 2)
    pairs = int(rng.integers(9, 12)) if detail == "ribbed" else 4
    for y in np.linspace(-0.55, 0.65, pairs):
        reach = 0.85 * np.abs(margin[np.abs(margin[:, 1] - y) < 0.1, 0]).max()
        for side in (-1, 1):
            line(np.array([(0, y), (side * reach, y - 0.5 * reach)]), pale if kind == "lance" else dark, 1)
    if detail == "striped":
        line(margin * (0.5, 0.8), pale, 3)
    if detail == "spotted":
        for _ in range(int(rng.integers(9, 18))):
            angle, far = rng.uniform(0, 2 * np.pi), 0.68 * np.sqrt(rng.uniform())
            spot = np.array([far * np.sin(angle), far * np.cos(angle)])
            circle = np.linspace(0, 2 * np.pi, 20)
            fill(spot + rng.uniform(0.025, 0.055) * np.stack([np.sin(circle), np.cos(circle)], 1), dark * 0.7)


def _colour(rng: np.random.Generator) -> Points:
    """Green to yellow to red-brown, (3,) BGR in 0..1."""
    hue, saturation, value = rng.uniform(8, 62), rng.uniform(0.45, 0.9), rng.uniform(0.3, 0.8)
    pixel = np.array([[[hue * 2, saturation, value]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0], np.float64)
