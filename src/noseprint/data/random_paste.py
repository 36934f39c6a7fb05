"""A photograph made smaller and pasted somewhere on a canvas, as in a screenshot or a collage."""

from typing import Any

import cv2
import numpy as np

from noseprint.data.decoding import Image
from noseprint.data.transforms import A


class RandomPaste(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped to mypy
    """Shrink the image to `scale` of its sides, and paste it at random on a canvas of the size that it had.

    Half of the canvases have one colour, the others are noise. scale: (least, most), in 0..1, drawn evenly.
    """

    def __init__(self, *, scale: tuple[float, float] = (0.5, 0.9), p: float = 0.5) -> None:
        """Raises ValueError for a scale outside 0..1."""
        super().__init__(p=p)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale={scale}: must be within 0..1, the smaller number first")
        self.scale = scale

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the size and place of the image, and the canvas."""
        height, width, channels = params["shape"]
        scale = self.py_random.uniform(*self.scale)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = self.py_random.randint(0, height - size[0]), self.py_random.randint(0, width - size[1])
        plain = self.py_random.random() < 0.5
        canvas = self.random_generator.integers(0, 256, (1, 1, channels) if plain else params["shape"], np.uint8)
        return {"size": size, "top": top, "left": left, "canvas": np.broadcast_to(canvas, params["shape"])}

    def apply(self, img: Image, *, size: tuple[int, int], top: int, left: int, canvas: Image, **_: Any) -> Image:
        """Paste `img` on the canvas."""
        result: Image = canvas.copy()
        small = cv2.resize(img, size[::-1], interpolation=cv2.INTER_AREA)
        result[top : top + size[0], left : left + size[1]] = small
        return result
