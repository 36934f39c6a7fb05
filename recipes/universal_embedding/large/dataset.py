"""How the training sees the images."""

import cv2

from noseprint.data.transforms import A, Transform


def training_transform(size: int) -> Transform:
    """The augmentation of the 1st place of the Google Universal Image Embedding challenge."""
    return A.Compose(
        [
            A.Resize(size, size),
            A.HorizontalFlip(p=0.5),
            A.ImageCompression(quality_range=(99, 100), p=0.5),
            A.Affine(
                translate_percent=(-0.2, 0.2),
                scale=(0.8, 1.2),
                rotate=(-10, 10),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.7,
            ),
            A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(0.4, 0.4), hole_width_range=(0.4, 0.4), p=0.5),
        ]
    )


def small_training_transform(size: int) -> Transform:
    """For --small, where there are few images: the crop varies more, and the colours vary a little."""
    return A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.3, 1.0)),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.02, 0.02), p=0.5),
        ]
    )


def evaluation_transform(size: int) -> Transform:
    """The whole image as a square, as `noseprint embed` and `noseprint search` see it."""
    return A.Resize(size, size)
