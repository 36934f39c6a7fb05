"""What the student sees: photographs as the web has them, of any quality, cut and place."""

import cv2

from noseprint.data.random_paste import RandomPaste
from noseprint.data.transforms import A, Transform

QUALITY = A.Downscale(  # at 380 pixels: down to 150 to 190, and up again
    scale_range=(150 / 380, 190 / 380),
    interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
    p=0.2,
)
COLOUR = A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=0.5)
GRID_SHUFFLE = A.OneOf([A.RandomGridShuffle((cells, cells), p=1) for cells in (2, 3, 4)], p=0.1)


def training_transform(size: int) -> Transform:
    """A random crop of nearly all, turned, pasted, shuffled, of other colours and worse quality.

    The mirror and the quarter turns suit plants and animals. For photographs that are always upright, such as goods
    with a text on them, take them out.
    """
    return A.Compose(
        [
            A.SmallestMaxSize(round(1.15 * size)),
            A.RandomCrop(size, size),
            A.HorizontalFlip(p=0.5),
            A.RandomRotate90(p=0.5),
            RandomPaste(scale=(0.5, 0.9), p=0.1),
            GRID_SHUFFLE,
            COLOUR,
            QUALITY,
            A.ImageCompression(quality_range=(30, 80), p=0.2),
        ]
    )


def small_training_transform(size: int) -> Transform:
    """For --small, whose trainings are short: only what is learned quickly."""
    return A.Compose([A.RandomResizedCrop((size, size), scale=(0.3, 1.0)), A.HorizontalFlip(p=0.5), COLOUR])


def evaluation_transform(size: int) -> Transform:
    """The middle of the photograph, larger than in training (arXiv 1906.06423)."""
    return A.Compose([A.SmallestMaxSize(round(1.35 * size)), A.CenterCrop(size, size)])
