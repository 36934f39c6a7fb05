"""Augmentations of a whole batch: CutMix, MixUp and GridMask."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp

from noseprint.tasks.classification_options import Mixing

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0
"""Of the beta distribution that says how much of another image is mixed in (arXiv 1710.09412, arXiv 1905.04899)."""
GRID_UNITS, GRID_HOLE = (0.4, 1.0), 0.4
"""Of GridMask: the side of a unit of the grid as a share of the image's, and that of a hole as a share of the unit's
(arXiv 2001.04086, section 4.1: 96 to 224 of 224 pixels, of which 0.6 are kept)."""

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixing(name: Mixing, *, probability: float, classes: int) -> Mix:
    """The function that changes images (B, 3, H, W) uint8 and targets (B,) or (B, K) of a batch; it returns (B, K).

    The numbers come from torch's generator on the CPU, on every device. CutMix and MixUp mix each image with its
    neighbour in the batch, and the targets likewise. GridMask leaves the targets as they are.
    """
    if name == "none":
        return lambda images, target: (images, target)
    cutmix, mixup = CutMix(alpha=CUTMIX_ALPHA, num_classes=classes), MixUp(alpha=MIXUP_ALPHA, num_classes=classes)

    def mix(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if target.ndim == 1:
            target = torch.nn.functional.one_hot(target, classes).float()
        if torch.rand(()) >= probability:
            return images, target
        if name == "gridmask":
            return grid_mask(images), target
        if name == "cutmix":
            mixed, target = cutmix(images, target)
            return mixed, target
        mixed, target = mixup(images.float(), target)
        return mixed.round().byte(), target

    return mix


def grid_mask(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with a grid of square holes in the same random place of each, filled with its mean colour."""
    side = min(images.shape[-2:])
    low, high = GRID_UNITS
    unit = max(2, round(side * float(torch.empty(()).uniform_(low, high))))
    rows, columns = (
        (torch.arange(length) + int(torch.randint(unit, ()))) % unit < round(GRID_HOLE * unit)
        for length in images.shape[-2:]
    )
    holes = (rows[:, None] & columns).to(images.device)
    mean = images.float().mean(dim=(-2, -1), keepdim=True).round().to(images.dtype)
    return torch.where(holes, mean, images)
