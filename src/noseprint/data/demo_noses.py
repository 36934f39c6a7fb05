"""Synthetic dog nose prints: the nose of an identity, and photographs of it.

They are hard in the way that real prints are. The layout and shape of the beads and grooves identify a dog. Outline,
pigment and coat come from a few looks that many dogs share. Two photographs of a dog differ more than two dogs do.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Photo = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 272, 336  # the plane a nose is drawn on, px
LOOKS = 4  # types of pigment, coat and nostrils; identities with the same number modulo LOOKS share one


@dataclass(frozen=True)
class Nose:
    """What all photographs of one identity have in common; planes are (HEIGHT, WIDTH)."""

    relief: Plane  # height of the surface, px
    pigment: Plane  # (HEIGHT, WIDTH, 3) albedo, BGR in 0..1
    shine: Plane  # where the skin can be wet, 0..1
    shade: Plane  # light that reaches a groove or a nostril, 0..1


def _noise(rng: np.random.Generator, cells: int) -> Plane:
    """Smooth noise of about unit variance, `cells` bumps across: (HEIGHT, WIDTH)."""
    grid = rng.standard_normal((max(2, round(cells * HEIGHT / WIDTH)), cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _beads(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """The beads of one identity: their dome height 0..1 and a value for each bead in -1..1, both (HEIGHT, WIDTH).

    Beads are the Voronoi cells of a jittered grid. Some neighbours merge into plates, and a smooth warp bends and
    stretches the rows.
    """
    side = 480
    pitch, jitter, merge = rng.uniform(12, 27), rng.uniform(0.15, 0.55), rng.uniform(0.0, 0.5)
    rows, cols = np.mgrid[0 : side + pitch : pitch, 0 : side + pitch : pitch]
    cols = cols + (np.arange(rows.shape[0]) % 2)[:, None] * pitch / 2
    points = np.stack([rows, cols], -1).reshape(-1, 2)
    points = points + rng.uniform(-jitter, jitter, points.shape) * pitch
    yx = np.unique(np.clip(points, 0, side - 1).astype(int), axis=0)
    seeds = np.full((side, side), 255, np.uint8)
    seeds[yx[:, 0], yx[:, 1]] = 0
    _, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    group = np.arange(cells.max() + 1)
    border = cells[:, 1:] != cells[:, :-1]
    touching = np.unique(np.stack([cells[:, :-1][border], cells[:, 1:][border]], 1), axis=0)
    joined = touching[rng.random(len(touching)) < merge / 3]
    group[joined[:, 1]] = group[joined[:, 0]]
    plates = group[cells]
    inside = np.full((side, side), 255, np.uint8)
    inside[:, 1:][plates[:, 1:] != plates[:, :-1]] = 0
    inside[1:][plates[1:] != plates[:-1]] = 0
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) / (pitch * rng.uniform(0.2, 0.42))
    dome = 1 - np.exp(-(depth**2)).astype(np.float32)
    value = rng.uniform(-1, 1, len(group)).astype(np.float32)[plates]

    angle, stretch, bend = rng.uniform(0, np.pi), rng.uniform(1.0, 1.9), rng.uniform(3, 12)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = x - WIDTH / 2, y - HEIGHT / 2
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    u = along / np.sqrt(stretch) + bend * _noise(rng, 5) + side / 2
    v = across * np.sqrt(stretch) + bend * _noise(rng, 5) + side / 2
    warp = (u.astype(np.float32), v.astype(np.float32))
    dome = cv2.GaussianBlur(cv2.remap(dome, *warp, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), (0, 0), 0.8)
    value = cv2.remap(value, *warp, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(dome, np.float32), np.asarray(cv2.GaussianBlur(value, (0, 0), 1.0), np.float32)


def _step(x: Plane, width: float) -> Plane:
    """A soft edge: 0 where x << 0, 1 where x >> 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(x / width), dtype=np.float32)


def _brown(luminance: float, *, warmth: float) -> Plane:
    """A colour from grey (warmth 0) to red-brown (1), (3,) linear BGR."""
    return np.array([1 - 0.65 * warmth, 1 - 0.32 * warmth, 1.0], np.float32) * luminance


def draw_nose(identity: int, *, seed: int) -> Nose:
    """Draw the nose of one identity (>= 0); the same seed (>= 0) gives the same nose."""
    look = np.random.default_rng((seed, 4, identity % LOOKS))
    rng = np.random.default_rng((seed, 5, identity))
    dome, value = _beads(rng)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = (x - WIDTH / 2) / (WIDTH / 2), (y - HEIGHT / 2) / (WIDTH / 2)

    def vary(low: float, high: float) -> float:  # the value of the look, slightly changed for the identity
        return float(look.uniform(low, high) + rng.uniform(-0.08, 0.08) * (high - low))

    wobble = 0.03 * _noise(rng, 6)
    taper = 1 - vary(0.1, 0.3) * np.clip(y + 0.2, 0, 1)
    radius = (np.abs(x / (0.88 * taper)) ** 3 + np.abs(y / vary(0.66, 0.71)) ** 3) ** (1 / 3) + wobble
    pad = _step(1 - radius, 0.02)
    slant, far, low = vary(0.3, 0.8), vary(0.42, 0.5), vary(0.1, 0.2)
    nostril = np.zeros_like(x)
    for sign in (-1.0, 1.0):
        dx, dy = sign * x - far - rng.uniform(-0.02, 0.02), y - low - rng.uniform(-0.02, 0.02)
        a, b = np.cos(slant) * dx - np.sin(slant) * dy, np.sin(slant) * dx + np.cos(slant) * dy
        hole = 1 - np.sqrt((a / vary(0.15, 0.2)) ** 2 + (b / vary(0.1, 0.14)) ** 2)
        curl = dy - 0.3 * dx - 1.2 * dx**2  # the slit runs outwards and bends down, getting thinner
        slit = np.where(dx > 0, 1 - np.abs(curl) / (0.07 - 0.16 * np.clip(dx, 0, 0.4)), -1) - 4 * np.clip(
            dx - 0.26, 0, 1
        )
        nostril = np.maximum(nostril, _step(np.maximum(hole, slit) + wobble, 0.15))
    nostril *= pad
    middle = x - 0.03 * np.sin(4 * y + rng.uniform(0, 6)) + 0.3 * wobble
    philtrum = np.exp(-((middle / vary(0.018, 0.028)) ** 2)) * _step(y - vary(-0.1, 0.1), 0.06)

    skin = pad * (1 - nostril)
    bulge = 60 * np.sqrt(np.clip(1.25 - x**2 - 1.3 * y**2, 0.05, None))
    bead_height = rng.uniform(1.8, 3.8)
    relief = bulge + skin * bead_height * dome * (1 - philtrum) - 9 * philtrum - 12 * nostril - 10 * (1 - pad)
    base = _brown(vary(0.07, 0.16), warmth=vary(0.0, 0.5))
    tone = 1 + rng.uniform(0.1, 0.35) * value + rng.uniform(0.1, 0.3) * _noise(rng, 4)
    leather = base * (tone * (0.45 + 0.55 * dome))[..., None]
    coat = _brown(vary(0.04, 0.5), warmth=vary(0.1, 0.7))
    hair = cv2.blur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (2, 13)) * 5**0.5
    fur = coat * (0.8 + 0.3 * hair)[..., None]
    pigment = fur + (leather - fur) * pad[..., None]
    shade = (1 - 0.93 * nostril) * (1 - 0.6 * philtrum * pad) * (1 - 0.45 * skin * (1 - dome))
    return Nose(
        relief=np.asarray(relief, np.float32),
        pigment=np.asarray(np.clip(pigment, 0.01, 1), np.float32),
        shine=np.asarray(skin * (0.25 + 0.75 * dome), np.float32),
        shade=np.asarray(shade, np.float32),
    )


def photograph(nose: Nose, *, short: int, motion: float, rng: np.random.Generator) -> Photo:
    """Photograph a nose with a pose, light, wetness, crop and focus drawn from `rng`.

    short: shorter side of the photograph, px. motion: length of the path that the camera moves, px of the photograph; 0
    for no motion blur. Returns (h, w, 3) uint8 BGR, sRGB-like, with min(h, w) = short.
    """
    photo = _frame(_light(nose, rng), short=short, rng=rng)
    if motion:
        photo = _motion_blur(photo, length=motion, angle=rng.uniform(0, np.pi))
    photo = photo ** (1 / 2.2) * 255
    photo += rng.normal(0, rng.uniform(1, 5), photo.shape)
    return np.clip(photo, 0, 255).round().astype(np.uint8)


def _light(nose: Nose, rng: np.random.Generator) -> Plane:
    """The nose from the front, lit, (HEIGHT, WIDTH, 3) linear: Lambert and Blinn-Phong shading of the relief."""
    slope_x = cv2.Sobel(nose.relief, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(nose.relief, cv2.CV_32F, 0, 1, scale=1 / 8)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.25)
    light = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    half = light + np.array([0, 0, 1])
    half /= np.linalg.norm(half)

    def facing(d: npt.NDArray[np.float64]) -> Plane:
        return np.asarray(np.clip((d[2] - d[0] * slope_x - d[1] * slope_y) / length, 0, 1), dtype=np.float32)

    wet = nose.shine * np.clip(0.5 + 0.5 * _noise(rng, 5), 0, 1.5) * rng.uniform(0.1, 0.9)
    glint = wet * facing(half) ** float(rng.uniform(25, 90))
    diffuse = nose.shade * (rng.uniform(0.25, 0.6) + facing(light))
    lit = nose.pigment * diffuse[..., None] + 0.8 * glint[..., None]
    warm, green = rng.uniform(-0.2, 0.2), rng.uniform(-0.05, 0.05)
    cast = np.array([1 - warm, 1 + green, 1 + warm])
    exposure = 2 ** rng.uniform(-0.6, 1.0)
    return np.asarray(np.clip(lit * cast * exposure, 0, 1), dtype=np.float32)


def _frame(scene: Plane, *, short: int, rng: np.random.Generator) -> Plane:
    """Apply pose, crop and focus; returns (h, w, 3) with min(h, w) = short."""
    aspect = rng.uniform(1.0, 1.35)
    size = np.array([round(short * aspect), short])
    turn, zoom = rng.uniform(-0.25, 0.25), rng.uniform(0.72, 0.95)
    span = zoom * min(WIDTH / aspect, HEIGHT)
    corners = np.array([(-aspect, -1), (aspect, -1), (aspect, 1), (-aspect, 1)]) * span / 2
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners += rng.uniform(-0.07, 0.07, (4, 2)) * span  # perspective
    corners += np.array([WIDTH / 2, HEIGHT / 2]) + rng.uniform(-0.07, 0.07, 2) * (WIDTH, HEIGHT)
    target = np.array([(0, 0), (size[0], 0), size, (0, size[1])])
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    focus = 0.35 * span / short + rng.uniform(0.1, 1.3)  # the first term keeps the warp from aliasing
    soft = cv2.GaussianBlur(scene, (0, 0), focus)
    photo = cv2.warpPerspective(soft, matrix, size.tolist(), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(photo, dtype=np.float32)


def _motion_blur(photo: Plane, *, length: float, angle: float) -> Plane:
    """Average the photograph along a straight path of `length` px at `angle` rad."""
    radius = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return np.asarray(cv2.filter2D(photo, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), dtype=np.float32)
