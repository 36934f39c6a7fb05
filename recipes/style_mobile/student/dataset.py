"""How the student sees the images, which prepare.py has made small."""

from noseprint.data.central_square import CentralSquare
from noseprint.data.transforms import A, Transform


def training_transform(size: int) -> Transform:
    """A random square of 7/8 of the shorter side, mirrored half of the time."""
    return A.Compose([A.SmallestMaxSize(round(size * 8 / 7)), A.RandomCrop(size, size), A.HorizontalFlip(p=0.5)])


def small_training_transform(size: int) -> Transform:
    """For --small, whose trainings see few images: larger changes."""
    return A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.3, 1.0)),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=0.5),
        ]
    )


def evaluation_transform(size: int) -> Transform:
    """The central square of 7/8 of the shorter side, exactly as the exported network computes it."""
    return CentralSquare(size)
