"""How the chosen networks see the images."""

from noseprint.data.transforms import A, Transform


def evaluation_transform(size: int) -> Transform:
    """The middle: a square as wide as the shorter side."""
    return A.Compose([A.SmallestMaxSize(size), A.CenterCrop(size, size)])


def mirrored_transform(size: int) -> Transform:
    """The same, mirrored: the second view of --tta."""
    return A.Compose([A.SmallestMaxSize(size), A.CenterCrop(size, size), A.HorizontalFlip(p=1)])
