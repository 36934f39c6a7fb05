"""What the features are computed from: the centre of each training image."""

from noseprint.data.transforms import A, Transform


def evaluation_transform(size: int) -> Transform:
    """The shorter side at 8/7 of the size, and the square in its middle."""
    return A.Compose([A.SmallestMaxSize(round(size * 8 / 7)), A.CenterCrop(size, size)])
