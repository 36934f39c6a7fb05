"""What pseudo_produce trains on: the labelled photographs, cropped and mirrored."""

from pathlib import Path

from noseprint.data.tables import ImageTable, read_train
from noseprint.data.transforms import A, Transform


def training_table(data: Path) -> ImageTable:
    """The labelled photographs."""
    return read_train(data, missing_ok=True)


def training_transform(size: int) -> Transform:
    """A random crop of 8/9 of the side, mirrored half of the time."""
    larger = round(size * 252 / 224)
    return A.Compose([A.Resize(larger, larger), A.RandomCrop(size, size), A.HorizontalFlip(p=0.5)])


def evaluation_transform(size: int) -> Transform:
    """The whole photograph, squeezed into a square."""
    return A.Resize(size, size)
