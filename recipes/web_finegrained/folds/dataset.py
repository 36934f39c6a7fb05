"""How the networks that judge labels see the images."""

from noseprint.data.transforms import A, Transform


def training_transform(size: int) -> Transform:
    """A random part of the image, mirrored half of the time, in slightly other colours."""
    return A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(0.4, 1.0)),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=0.8),
        ]
    )


def evaluation_transform(size: int) -> Transform:
    """The shorter side at 8/7 of the size, and the square in its middle."""
    return A.Compose([A.SmallestMaxSize(round(size * 8 / 7)), A.CenterCrop(size, size)])
