"""Photographs to classes: backbone, pooling and one linear head for each set of classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from noseprint.errors import NoseprintError
from noseprint.models.network import Network
from noseprint.models.weights_header import check_heads


class ClassifierNet(Network):
    """A classifier with one head, or several: the levels of a hierarchy, or several labels of one photograph."""

    def __init__(
        self,
        backbone_name: str,
        *,
        heads: Mapping[str, Sequence[str]],
        pooling: str = "avg",
        dropout: float = 0.0,
        image_size: int,
        pretrained: bool = True,
        backbone_weights: Path | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        freeze_batch_norm: bool = False,
    ) -> None:
        """Build the network.

        Args:
            backbone_name: A timm name with its tag.
            heads: The class names of each head, in the order of its logits, such as {"label": ["cat", "dog"]}.
            pooling: "avg", "max", "avgmax", "gem", "token" or "own", see `Backbone.pooled`.
            dropout: Share of the pooled features set to zero while training, in 0..1.
            image_size: Side of the square input in pixels.
            pretrained: Start from the backbone's public weights.
            backbone_weights: Start the backbone from this file instead.
            mean: Per channel, for pixels in 0..1; by default the backbone's own.
            std: Likewise.
            freeze_batch_norm: Keep the running statistics of BatchNorm as they are.

        Raises:
            NoseprintError: For an unknown backbone, heads without classes, or a pooling that the backbone lacks.
        """
        try:
            check_heads(heads)
        except (TypeError, ValueError) as error:
            raise NoseprintError(str(error)) from error
        super().__init__(
            backbone_name,
            image_size=image_size,
            pretrained=pretrained,
            backbone_weights=backbone_weights,
            mean=mean,
            std=std,
            freeze_batch_norm=freeze_batch_norm,
            own_head=pooling == "own",
        )
        self.pooling = pooling
        self.classes = {name: tuple(classes) for name, classes in heads.items()}
        self.feature_size = self.backbone.pooled_size(pooling)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(self.feature_size, len(names)) for names in self.classes.values())

    def config(self) -> dict[str, str]:
        """See `Network.config`."""
        return {
            "kind": "classifier",
            "pooling": self.pooling,
            "heads": json.dumps(self.classes, ensure_ascii=False),
            **super().config(),
        }

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """uint8 RGB images (B, 3, H, W) -> logits (B, K) float32; with several heads a dict of them, by head.

        The heads compute in float32 even under autocast.
        """
        features = self.dropout(self.features(images))
        with torch.autocast(images.device.type, enabled=False):
            logits = {name: head(features) for name, head in zip(self.classes, self.heads, strict=True)}
        return logits if len(logits) > 1 else next(iter(logits.values()))

    def features(self, images: Tensor) -> Tensor:
        """Pooled features: uint8 RGB images (B, 3, H, W) -> (B, C) float32."""
        return self.backbone.pooled(self.normalise(images), self.pooling)
