"""Photographs to embeddings of a given size: one or more backbones, and one linear layer."""

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.models.backbone import Backbone, build_backbone
from noseprint.models.network import EmbeddingNet
from noseprint.models.patches import copy_resized
from noseprint.models.weights_header import MOST_BACKBONES, BackbonePlan

__all__ = ["BackbonePlan", "ProjectionNet", "with_size"]


class ProjectionNet(EmbeddingNet):
    """Photographs to embeddings of `dim` dimensions: n(W f + b), with f the pooled features of all backbones.

    n is the L2 normalisation.
    """

    def __init__(
        self,
        backbone_name: str,
        *,
        dim: int | None,
        pooling: str = "own",
        stride: int | None = None,
        others: Sequence[BackbonePlan] = (),
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        """Build the network; `options` are those of `Network`.

        dim: size of the embedding, in 1..65536; None: the features themselves, which the projection leaves as they are
        until it is trained. pooling: see `Backbone.pooled`. stride: pixels from one patch of a vision transformer to
        the next, see `overlap_patches`. others: further backbones, at most 15; each sees the same image at the same
        size, with pixel statistics of its own. They start from public weights if the first backbone does. dropout:
        share of the features set to zero while training, in 0..1.
        Raises NoseprintError as `Network` does, and for a pooling or a stride that a backbone lacks.
        """
        if dim is not None and not 1 <= dim <= 2**16:
            raise NoseprintError(f"dimension {dim}: must be in 1..{2**16}")
        if len(others) >= MOST_BACKBONES:
            raise NoseprintError(f"{len(others) + 1} backbones: a network has at most {MOST_BACKBONES}")
        super().__init__(backbone_name, own_head=pooling == "own", stride=stride, **options)
        self.others = nn.ModuleList(
            build_backbone(
                plan.backbone,
                pretrained=options.get("pretrained", True),
                image_size=self.image_size,
                own_head=plan.pooling == "own",
                stride=plan.stride,
            )
            for plan in others
        )
        self.pooling, self.stride = pooling, stride
        built = zip(others, self.backbones[1:], strict=True)
        self._others = tuple(replace(one, mean=one.mean or own.mean, std=one.std or own.std) for one, own in built)
        for number, plan in enumerate(self._others):
            for name, values in (("mean", plan.mean), ("std", plan.std)):
                buffer = torch.tensor(values, device=self.pixel_mean.device).view(1, 3, 1, 1)
                self.register_buffer(f"other_{name}_{number}", buffer, persistent=False)
        self.dropout = nn.Dropout(dropout)
        features = sum(self.feature_sizes)
        self.dim = dim or features
        self.projection = nn.Linear(features, self.dim)
        if dim is None:
            self.set_projection(torch.eye(features), torch.zeros(features))
        self.train()

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """See `Network.backbones`."""
        return (self.backbone, *self.others)

    @property
    def plan(self) -> tuple[BackbonePlan, ...]:
        """What each backbone is, in the order of `backbones`."""
        return (BackbonePlan(self.backbone_name, self.pooling, self.mean, self.std, self.stride), *self._others)

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """The number of features of each backbone."""
        return tuple(
            backbone.pooled_size(plan.pooling) for backbone, plan in zip(self.backbones, self.plan, strict=True)
        )

    @property
    def embedding_size(self) -> int:
        """See `EmbeddingNet.embedding_size`."""
        return self.dim

    def config(self) -> dict[str, str]:
        """See `Network.config`."""
        first, *others = self.plan
        return {
            "kind": "projection",
            "dim": str(self.dim),
            "pooling": first.pooling,
            **({"stride": str(first.stride)} if first.stride else {}),
            "others": json.dumps([asdict(plan) for plan in others]),
            **super().config(),
        }

    def features(self, images: Tensor) -> Tensor:
        """uint8 RGB images (B, 3, H, W) -> (B, F) float32: each backbone's pooled vector at length 1, joined."""
        pixels = [self.normalise(images)]
        for number in range(len(self.others)):
            mean, std = self.get_buffer(f"other_mean_{number}"), self.get_buffer(f"other_std_{number}")
            pixels.append((images.to(mean.dtype) / 255 - mean) / std)
        pooled = (
            backbone.pooled(own, plan.pooling)
            for backbone, plan, own in zip(self.backbones, self.plan, pixels, strict=True)
        )
        return torch.cat([F.normalize(vector) for vector in pooled], dim=1)

    def project(self, features: Tensor) -> Tensor:
        """n(W f + b): features (B, F) -> (B, dim) float32, each row of length 1; in float32 even under autocast."""
        kind = features.device.type  # "meta" if a training is only planned: autocast does not know that
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
            projected = F.linear(features.float(), self.projection.weight.float(), self.projection.bias.float())
            return F.normalize(projected)

    def forward(self, images: Tensor) -> Tensor:
        """Training embedding: uint8 RGB images (B, 3, H, W) -> (B, dim) float32, each row of length 1."""
        return self.project(self.dropout(self.features(images)))

    def embed(self, images: Tensor) -> Tensor:
        """See `EmbeddingNet.embed`: as `forward`, but without dropout."""
        return self.project(self.features(images))

    def set_projection(self, weight: Tensor, bias: Tensor) -> None:
        """Project by these from now on: (dim, F) and (dim,). Raises ValueError for other shapes."""
        for own, given in ((self.projection.weight, weight), (self.projection.bias, bias)):
            if own.shape != given.shape:
                raise ValueError(f"projection of shape {tuple(given.shape)}, not {tuple(own.shape)}")
            with torch.no_grad():
                own.copy_(given)


def with_size(network: ProjectionNet, image_size: int, stride: int | None = None) -> ProjectionNet:
    """A network with the weights of `network` for images of `image_size` pixels, in its mode (training or eval).

    Position embeddings are resized to the new grid (see `resize_positions`); all else stays as it is. stride: see
    `overlap_patches`; None: that of `network`. It goes to the first backbone.
    Raises NoseprintError if a backbone cannot take the size or the stride.
    """
    plan = (replace(network.plan[0], stride=stride or network.plan[0].stride), *network.plan[1:])
    larger = plan_network(plan, dim=network.dim, image_size=image_size, like=network)
    for own, given in zip(larger.backbones, network.backbones, strict=True):
        copy_resized(given.model, own.model)
    larger.projection.load_state_dict(network.projection.state_dict())
    return larger


def plan_network(plan: Iterable[BackbonePlan], *, dim: int, image_size: int, like: ProjectionNet) -> ProjectionNet:
    """A network of these backbones with random weights; dropout, BatchNorm, mode and device are those of `like`."""
    first, *others = plan
    network = ProjectionNet(
        first.backbone,
        dim=dim,
        pooling=first.pooling,
        stride=first.stride,
        others=others,
        dropout=like.dropout.p,
        image_size=image_size,
        pretrained=False,
        mean=first.mean,
        std=first.std,
        freeze_batch_norm=like.freeze_batch_norm,
    )
    return network.to(like.pixel_mean.device).train(like.training)
