"""How the range test sees the images: as the members do."""

import cv2

from noseprint.data.transforms import A, Transform

COLOUR = A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=0.5)


def training_transform(size: int) -> Transform:
    """A random square, mirrored, rotated a little, with changed colours.

    The contest's team resized the short side to `size` first. Here it is 8/7 of that, so the crop can move both ways.
    """
    return A.Compose(
        [
            A.SmallestMaxSize(round(size * 8 / 7)),
            A.RandomCrop(size, size),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=10, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            COLOUR,
        ]
    )


def small_training_transform(size: int) -> Transform:
    """For --small, where a training sees few images: larger changes."""
    return A.Compose([A.RandomResizedCrop((size, size), scale=(0.3, 1.0)), A.HorizontalFlip(p=0.5), COLOUR])


def evaluation_transform(size: int) -> Transform:
    """The middle: a square as wide as the shorter side."""
    return A.Compose([A.SmallestMaxSize(size), A.CenterCrop(size, size)])
