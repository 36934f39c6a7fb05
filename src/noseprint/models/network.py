"""Networks: a backbone and what stands on it. `SupConNet` is trained by comparison (CGD, arXiv 1903.10663)."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.errors import NoseprintError
from noseprint.models.backbone import Backbone, build_backbone, default_size
from noseprint.models.pooling import DESCRIPTORS


class Network(nn.Module):
    """What all networks share: a backbone, the pixel statistics, and BatchNorm that may be frozen.

    Attributes: `size_is_open` says that nobody has chosen the input size yet. `freeze_batch_norm` keeps BatchNorm in
    eval mode while training, so that its running statistics stay those of the pretrained weights; its scale and shift
    are learned all the same.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone_name: str,
        *,
        image_size: int | None,
        pretrained: bool = True,
        backbone_weights: Path | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        freeze_batch_norm: bool = False,
        own_head: bool = False,
        stride: int | None = None,
    ) -> None:
        """Build the network.

        backbone_name: a timm name with its tag. image_size: side of the square input in pixels; None: that of the
        backbone's public weights, until a training chooses one (`size_is_open`). pretrained: start from the backbone's
        public weights. backbone_weights: start the backbone from this file instead. mean, std: per channel, for pixels
        in 0..1; by default the backbone's own. own_head, stride: see `build_backbone`; a subclass that takes them
        writes them into its `config`.
        Raises NoseprintError as `build_backbone` does.
        """
        super().__init__()
        if image_size is not None and not 16 <= image_size <= 4096:
            raise NoseprintError(f"image size {image_size}: must be in 16..4096 pixels")
        self.size_is_open = image_size is None
        image_size = image_size or default_size(backbone_name)
        self.backbone_name, self.image_size, self.freeze_batch_norm = backbone_name, image_size, freeze_batch_norm
        self.backbone = build_backbone(
            backbone_name,
            pretrained=pretrained,
            weights_file=backbone_weights,
            image_size=image_size,
            own_head=own_head,
            stride=stride,
        )
        backbone = self.backbone
        self.set_pixel_statistics(backbone.mean if mean is None else mean, backbone.std if std is None else std)
        self.train()

    def set_pixel_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise pixels in 0..1 by these values (one for each channel) from now on.

        They belong to the description of the network, not to its weights.
        """
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} need three values each, std above 0")
        self.mean, self.std = tuple(float(v) for v in mean), tuple(float(v) for v in std)
        like = next(self.parameters())
        for name, values in (("pixel_mean", self.mean), ("pixel_std", self.std)):
            tensor = torch.tensor(values, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB images (B, 3, H, W) -> pixels as the backbone takes them. Raises ValueError for anything else."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (B, 3, H, W), not {images.dtype} {tuple(images.shape)}")
        return (images.to(self.pixel_mean.dtype) / 255 - self.pixel_mean) / self.pixel_std

    def config(self) -> dict[str, str]:
        """What the header of a weights file says about this network; enough to build it again."""
        return {
            "backbone": self.backbone_name,
            "image_size": str(self.image_size),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
        }

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """All backbones, in order; most networks have one."""
        return (self.backbone,)

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The number of columns of each part of `outputs`."""
        raise NotImplementedError

    def outputs(self, images: Tensor) -> Tensor:
        """What inference computes: uint8 RGB images (B, 3, H, W) -> (B, sum of `output_sizes`) float32."""
        raise NotImplementedError

    def content_hash(self) -> str:
        """64 hexadecimal digits; two networks that compute the same outputs from the same weights have the same."""
        digest = hashlib.sha256(json.dumps(self.config(), sort_keys=True).encode())
        for key, tensor in self.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, for all modules or (`freeze_batch_norm`) for all except BatchNorm."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def training_size(self, requested: int | None) -> int:
        """Side in pixels of the square images to train on: `requested`, or by default that of the network's input.

        Convolutional backbones often embed best at a size larger than the one they were trained at (arXiv 1906.06423),
        and a smaller size means fewer pixels per step. Raises NoseprintError if the backbone takes one size only.
        """
        if requested is None or requested == self.image_size:
            return self.image_size
        if any(backbone.fixed_size is not None for backbone in self.backbones):
            raise NoseprintError(
                f"--train-size {requested}: {self.backbone_name} takes images of {self.image_size} pixels only; pass "
                f"--train-size {self.image_size}"
            )
        return requested


class EmbeddingNet(Network):
    """Photographs to embeddings: what `load_network` gives, and what search, export and evaluation take."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """Size D of the inference embedding."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Inference embedding: uint8 RGB images (B, 3, H, W) -> (B, D) float32, each row of length 1."""

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """See `Network.output_sizes`: one part, the embedding."""
        return (self.embedding_size,)

    def outputs(self, images: Tensor) -> Tensor:
        """See `Network.outputs`: the inference embedding."""
        return self.embed(images)


class SupConNet(EmbeddingNet):
    """Photographs to embeddings: backbone, global descriptors, and one linear head for each descriptor.

    Training goes through `forward`, inference through `embed`, which leaves the heads out: that transfers better.
    """

    def __init__(
        self,
        backbone_name: str,
        *,
        descriptors: str = "SM",
        dim: int = 512,
        freeze_batch_norm: bool = True,
        **options: Any,
    ) -> None:
        """Build the network; `options` are those of `Network`.

        descriptors: one letter for each, in order: S (mean), M (maximum), G (generalised mean). dim: size of the
        training embedding, a multiple of the number of descriptors.
        Raises NoseprintError as `Network` does, and for impossible descriptors or an impossible dimension.
        """
        if not descriptors or len(set(descriptors)) != len(descriptors) or not set(descriptors) <= set(DESCRIPTORS):
            raise NoseprintError(
                f"descriptors '{descriptors}': write one or more of {', '.join(DESCRIPTORS)}, each once, such as SM"
            )
        if dim < 1 or dim % len(descriptors):
            raise NoseprintError(
                f"dimension {dim} cannot be divided evenly among the {len(descriptors)} descriptors {descriptors}; "
                f"choose a multiple of {len(descriptors)}"
            )
        super().__init__(backbone_name, freeze_batch_norm=freeze_batch_norm, **options)
        self.descriptors, self.dim = descriptors, dim
        head_dim = dim // len(descriptors)
        self.heads = nn.ModuleList(nn.Linear(self.backbone.num_features, head_dim, bias=False) for _ in descriptors)

    @property
    def embedding_size(self) -> int:
        """Size of the inference embedding: the number of descriptors times the backbone's channels."""
        return len(self.descriptors) * self.backbone.num_features

    def config(self) -> dict[str, str]:
        """See `Network.config`."""
        return {"kind": "embedding", "descriptors": self.descriptors, "dim": str(self.dim), **super().config()}

    def forward(self, images: Tensor, *, pooled: bool = False) -> Tensor:
        """Training embedding: uint8 RGB images (B, 3, H, W) -> (B, dim) float32, each row of length 1.

        n(cat[n(W_1 g_1), ..., n(W_n g_n)]) with descriptors g and n the L2 normalisation (arXiv 1903.10663, fig. 2).
        Heads and normalisation compute in float32 even under autocast: a temperature of 0.07 magnifies rounding errors.

        With `pooled` the result is (B, dim + C): the embedding, then the first descriptor g_1 without normalisation,
        for losses that classify it.
        """
        described = self._global_descriptors(images)
        with torch.autocast(images.device.type, enabled=False):
            weights = [weight.float() for weight in self.heads.parameters()]
            projected = [F.normalize(F.linear(g, weight)) for g, weight in zip(described, weights, strict=True)]
            embedding = F.normalize(torch.cat(projected, dim=1))
            return torch.cat([embedding, described[0]], dim=1) if pooled else embedding

    def embed(self, images: Tensor) -> Tensor:
        """Inference embedding: uint8 RGB images (B, 3, H, W) -> (B, n*C) float32, each row of length 1.

        n(cat[g_1, ..., g_n]): no normalisation of single descriptors, and no heads.
        """
        return F.normalize(torch.cat(self._global_descriptors(images), dim=1))

    def _global_descriptors(self, images: Tensor) -> list[Tensor]:
        """Descriptors in the order of `self.descriptors`, each (B, C) float32."""
        features = self.backbone(self.normalise(images)).float()
        return [DESCRIPTORS[letter](features) for letter in self.descriptors]
