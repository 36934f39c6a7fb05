"""Photographs to classes: backbone, pooling and one linear head for each set of classes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.models.network import Network
from noseprint.models.weights_header import MOST_HIDDEN, check_heads


class Neck(nn.Module):
    """Between the pooled features (B, C) and the heads: linear layer, BatchNorm and ReLU -> (B, `hidden`)."""

    def __init__(self, pooled: int, hidden: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(pooled, hidden, bias=False), nn.BatchNorm1d(hidden)

    def forward(self, pooled: Tensor) -> Tensor:
        """Compute."""
        return F.relu(self.norm(self.linear(pooled)))

    @property
    def needs_statistics(self) -> bool:
        """Whether BatchNorm has seen no features yet."""
        assert self.norm.num_batches_tracked is not None
        return int(self.norm.num_batches_tracked) == 0

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Normalise by these from now on: of what the linear layer gives, (`hidden`,) each."""
        for own, values in ((self.norm.running_mean, mean), (self.norm.running_var, variance)):
            assert own is not None
            own.copy_(values)
        assert self.norm.num_batches_tracked is not None
        self.norm.num_batches_tracked.fill_(1)


class ClassifierNet(Network):
    """A classifier with one head, or several: the levels of a hierarchy, or several labels of one photograph."""

    def __init__(
        self,
        backbone_name: str,
        *,
        heads: Mapping[str, Sequence[str]],
        pooling: str = "avg",
        hidden: int | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        """Build the network; `options` are those of `Network`.

        heads: the class names of each head, in the order of its logits, such as {"label": ["cat", "dog"]}. pooling:
        "avg", "max", "avgmax", "gem", "token" or "own", see `Backbone.pooled`. hidden: put a neck between the pooling
        and the heads: a linear layer to this many features, BatchNorm and ReLU. dropout: share of the features set to
        zero while training, in 0..1.
        Raises NoseprintError as `Network` does, for heads without classes, for a pooling that the backbone lacks, and
        for `hidden` outside 1..65536.
        """
        try:
            check_heads(heads)
        except (TypeError, ValueError) as error:
            raise NoseprintError(str(error)) from error
        if hidden is not None and not 1 <= hidden <= MOST_HIDDEN:
            raise NoseprintError(f"hidden {hidden}: must be in 1..{MOST_HIDDEN} features")
        super().__init__(backbone_name, own_head=pooling == "own", **options)
        self.pooling, self.hidden = pooling, hidden
        self.classes = {name: tuple(classes) for name, classes in heads.items()}
        pooled = self.backbone.pooled_size(pooling)
        self.feature_size = hidden or pooled
        self.neck = Neck(pooled, hidden) if hidden else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(self.feature_size, len(names)) for names in self.classes.values())
        self.train()  # BatchNorm of the neck may be frozen, too

    def config(self) -> dict[str, str]:
        """See `Network.config`."""
        return {
            "kind": "classifier",
            "pooling": self.pooling,
            **({"hidden": str(self.hidden)} if self.hidden else {}),
            "heads": json.dumps(self.classes, ensure_ascii=False),
            **super().config(),
        }

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """See `Network.output_sizes`: the classes of each head, and the features."""
        return (*(len(classes) for classes in self.classes.values()), self.feature_size)

    def outputs(self, images: Tensor) -> Tensor:
        """See `Network.outputs`: the logits of each head, then the features."""
        features = self.features(images)
        return torch.cat([*self._logits(features).values(), features], dim=1)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """uint8 RGB images (B, 3, H, W) -> logits (B, K) float32; with several heads a dict of them, by head.

        The heads compute in float32 even under autocast.
        """
        logits = self._logits(self.dropout(self.features(images)))
        return logits if len(logits) > 1 else next(iter(logits.values()))

    def _logits(self, features: Tensor) -> dict[str, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            return {name: head(features) for name, head in zip(self.classes, self.heads, strict=True)}

    def features(self, images: Tensor) -> Tensor:
        """What the heads are given, but for the dropout: uint8 RGB images (B, 3, H, W) -> (B, C) float32.

        The neck computes in float32 even under autocast.
        """
        pooled = self.pooled(images)
        with torch.autocast(pooled.device.type, enabled=False):
            features: Tensor = self.neck(pooled)
        return features

    def pooled(self, images: Tensor) -> Tensor:
        """Pooled features, before any neck: uint8 RGB images (B, 3, H, W) -> (B, C) float32."""
        return self.backbone.pooled(self.normalise(images), self.pooling)
