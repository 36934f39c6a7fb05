"""What all drawn photographs share: the plane that an object is drawn on, the ground, and the camera."""

import cv2
import numpy as np
import numpy.typing as npt

Photo = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Canvas = npt.NDArray[np.float32]

SIDE = 288  # px of the canvas; photographs are cut from its middle and shrunk
_SHORT, _LONG = 144, 176  # px of a photograph


def place(rng: np.random.Generator, *, shift: float, scale: float = 1.0) -> Points:
    """The affine map (2, 3) from the plane of an object, about -1..1 with its tip up, to the canvas."""
    turn, size = rng.uniform(-1.2, 1.2), scale * rng.uniform(0.62, 0.92) * SIDE / 2
    way = rng.uniform(0, 2 * np.pi)
    middle = SIDE / 2 * (1 + shift * np.array([np.cos(way), np.sin(way)]))
    squeeze = np.array([[rng.uniform(0.8, 1.05), rng.uniform(-0.15, 0.15)], [0, 1]])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.concatenate([size * rotation @ squeeze, middle[:, None]], axis=1)


def _noise(rng: np.random.Generator, cells: int) -> Canvas:
    """Smooth noise of about unit variance, `cells` bumps across."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def ground(photographer: int, *, rng: np.random.Generator, seed: int) -> Canvas:
    """The ground of a photographer, such as grass, sand or slabs: (SIDE, SIDE, 3) BGR in 0..1."""
    own = np.random.default_rng((seed, 11, photographer))
    base = own.uniform(0.15, 0.75) * own.uniform(0.7, 1.2, 3)
    coarse, fine = int(own.integers(3, 9)), int(own.integers(30, 120))
    texture = 1 + own.uniform(0.05, 0.25) * _noise(rng, coarse) + own.uniform(0.05, 0.3) * _noise(rng, fine)
    return np.asarray(np.clip(base * texture[..., None], 0.02, 1), np.float32)


def photograph(canvas: Canvas, photographer: int, *, rng: np.random.Generator, seed: int) -> Photo:
    """Photograph a canvas as a photographer does: (H, W, 3) uint8 BGR, sides 144 px and 144 to 176 px."""
    own = np.random.default_rng((seed, 12, photographer))
    cast, soft = own.uniform(0.85, 1.15, 3), own.uniform(0.4, 1.2)
    light = 2 ** rng.uniform(-0.7, 0.7) * (1 + rng.uniform(0.05, 0.25) * _noise(rng, 2))
    scene = np.clip(cv2.GaussianBlur(canvas, (0, 0), soft + rng.uniform(0, 1.2)) * light[..., None] * cast, 0, 1)
    long = int(rng.integers(_SHORT, _LONG, endpoint=True))
    cut = round(SIDE * _SHORT / long)
    edge = (SIDE - cut) // 2
    scene, size = scene[edge : edge + cut], (long, _SHORT)
    if rng.random() < 0.5:
        scene, size = np.ascontiguousarray(scene.transpose(1, 0, 2)), (_SHORT, long)
    photo = cv2.resize(np.asarray(scene, np.float32), size, interpolation=cv2.INTER_AREA) * 255
    photo += rng.normal(0, rng.uniform(1, 7), photo.shape)
    return np.asarray(np.clip(photo, 0, 255).round(), np.uint8)
