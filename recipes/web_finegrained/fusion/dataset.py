"""How the members see the training images, when the head on their features learns."""

from noseprint.data.transforms import A, Transform

COLOUR = A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=0.5)


def training_transform(size: int) -> Transform:
    """A random crop of nearly all, mirrored half of the time, of other colours."""
    return A.Compose([A.SmallestMaxSize(round(1.15 * size)), A.RandomCrop(size, size), A.HorizontalFlip(p=0.5), COLOUR])


def evaluation_transform(size: int) -> Transform:
    """As the members' infer.py: the middle of the photograph, larger than in training (arXiv 1906.06423)."""
    return A.Compose([A.SmallestMaxSize(round(1.35 * size)), A.CenterCrop(size, size)])
