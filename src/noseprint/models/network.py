"""SupConNet: backbone, global descriptors and one linear head a descriptor (CGD, arXiv 1903.10663)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.errors import NoseprintError
from noseprint.models.backbone import build_backbone
from noseprint.models.pooling import DESCRIPTORS


class SupConNet(nn.Module):
    """Photographs to embeddings.

    Trained through `forward`, used through `embed`: inference drops the linear heads, which transfers better.
    BatchNorm keeps its pretrained running statistics in training too; its affine weights learn.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone_name: str,
        *,
        descriptors: str = "SM",
        dim: int = 512,
        image_size: int,
        pretrained: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Build the network; `mean` and `std` (per channel, pixels in 0..1) default to the backbone's own.

        Raises NoseprintError for a backbone, descriptors or a dimension that cannot be.
        """
        super().__init__()
        if not descriptors or len(set(descriptors)) != len(descriptors) or not set(descriptors) <= set(DESCRIPTORS):
            raise NoseprintError(
                f"descriptors '{descriptors}': write one or more of {', '.join(DESCRIPTORS)}, each once, such as SM"
            )
        if dim < 1 or dim % len(descriptors):
            raise NoseprintError(
                f"dimension {dim} cannot be shared evenly by the {len(descriptors)} descriptors {descriptors}; "
                f"choose a multiple of {len(descriptors)}"
            )
        if not 16 <= image_size <= 4096:
            raise NoseprintError(f"image size {image_size}: must be in 16..4096 pixels")
        self.backbone_name, self.descriptors, self.dim, self.image_size = backbone_name, descriptors, dim, image_size
        self.backbone = build_backbone(backbone_name, pretrained=pretrained, image_size=image_size)
        share = dim // len(descriptors)
        self.heads = nn.ModuleList(nn.Linear(self.backbone.num_features, share, bias=False) for _ in descriptors)
        self.set_pixel_statistics(
            self.backbone.mean if mean is None else mean,
            self.backbone.std if std is None else std,
        )
        self.train()

    def set_pixel_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise pixels in 0..1 by these per-channel values from now on; they are configuration, not weights."""
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} need three values each, std above 0")
        self.mean, self.std = tuple(float(v) for v in mean), tuple(float(v) for v in std)
        like = next(self.heads.parameters())
        for name, values in (("pixel_mean", self.mean), ("pixel_std", self.std)):
            tensor = torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    @property
    def embedding_size(self) -> int:
        """Width of the inference embedding: descriptors times the backbone's channels."""
        return len(self.descriptors) * self.backbone.num_features

    def train(self, mode: bool = True) -> Self:
        """Set training mode, BatchNorm excepted: it stays in eval mode, so that its statistics never move."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def training_size(self, asked: int | None) -> int:
        """Side in pixels of the square images to train on: `asked`, or that of the input.

        Photographs are best embedded larger than a convolutional backbone was trained on them: fewer pixels a step, and
        often a better embedding (arXiv 1906.06423). Raises NoseprintError where the backbone takes one size only.
        """
        if asked is None or asked == self.image_size:
            return self.image_size
        if self.backbone.fixed_size is not None:
            raise NoseprintError(
                f"--train-size {asked}: {self.backbone_name} takes images of {self.image_size} pixels only; pass "
                f"--train-size {self.image_size}"
            )
        return asked

    def forward(self, images: Tensor, *, pooled: bool = False) -> Tensor:
        """Training embedding: uint8 RGB images (B, 3, H, W) -> (B, dim) float32, each row of length 1.

        n(cat[n(W_1 g_1), ..., n(W_n g_n)]) with descriptors g and n the L2 normalisation (arXiv 1903.10663, fig. 2).
        Heads and normalisation run in float32 under autocast too: at temperature 0.07 half precision shows.
        pooled: (B, dim + C), the first descriptor g_1 as it is behind the embedding, for losses that classify it.
        """
        described = self._describe(images)
        with torch.autocast(images.device.type, enabled=False):
            weights = [weight.float() for weight in self.heads.parameters()]
            projected = [F.normalize(F.linear(g, weight)) for g, weight in zip(described, weights, strict=True)]
            embedding = F.normalize(torch.cat(projected, dim=1))
            return torch.cat([embedding, described[0]], dim=1) if pooled else embedding

    def embed(self, images: Tensor) -> Tensor:
        """Inference embedding: uint8 RGB images (B, 3, H, W) -> (B, n*C) float32, each row of length 1.

        n(cat[g_1, ..., g_n]): the descriptors are not normalised one by one, and the heads are left out.
        """
        return F.normalize(torch.cat(self._describe(images), dim=1))

    def _describe(self, images: Tensor) -> list[Tensor]:
        """Descriptors in the order of `self.descriptors`, each (B, C) float32."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (B, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        pixels = (images.to(self.pixel_mean.dtype) / 255 - self.pixel_mean) / self.pixel_std
        features = self.backbone(pixels).float()
        return [DESCRIPTORS[letter](features) for letter in self.descriptors]
