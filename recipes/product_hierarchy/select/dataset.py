"""How the candidates see the images that were held out."""

from noseprint.data.transforms import A, Transform


def evaluation_transform(size: int) -> Transform:
    """The middle: a square as wide as the shorter side."""
    return A.Compose([A.SmallestMaxSize(size), A.CenterCrop(size, size)])
