"""What `--loss` of a recipe names: a loss on the embedding, a classifier on the descriptor, or both."""

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn

from noseprint.distributed import gather
from noseprint.errors import NoseprintError
from noseprint.losses import LossName
from noseprint.losses.arcface import arcface_loss
from noseprint.losses.linear_classifier import LinearClassifier, cgd_auxiliary
from noseprint.losses.supcon import supcon_loss
from noseprint.losses.triplet import BatchHardTriplet
from noseprint.models.network import SupConNet

LossPart = Callable[[Tensor, Tensor], Tensor]
"""(rows (N, D) float32, labels (N,) long) -> a scalar."""


class EmbeddingLoss(nn.Module):
    """The loss of a batch of images: the sum of a ranking and a classification part.

    ranking: of the embedding (N, dim). classification: of the first descriptor as it was pooled (N, C), not normalised.
    Both see the rows of all ranks in float32, under autocast too. So every rank has the same value, and the whole
    batch's gradient for the loss's own weights.
    """

    def __init__(self, *, dim: int, ranking: LossPart | None, classification: LossPart | None) -> None:
        super().__init__()
        self._dim, self._ranking, self._classification = dim, ranking, classification

    def forward(self, network: Callable[..., Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """The loss of images uint8 (B, 3, H, W) with labels (B,): a float32 scalar."""
        rows = network(images) if self._classification is None else network(images, pooled=True)
        rows, labels = gather(rows, labels)
        parts = []
        with torch.autocast(rows.device.type, enabled=False):
            if self._ranking:
                parts.append(self._ranking(rows[:, : self._dim], labels))
            if self._classification:
                parts.append(self._classification(rows[:, self._dim :], labels))
        return torch.stack(parts).sum()


def build_loss(name: LossName, *, network: SupConNet, classes: int, temperature: float) -> EmbeddingLoss:
    """The loss called `name` for `network`, with weights for the `classes` identities that are trained on.

    - supcon: `supcon_loss` at `temperature`.
    - triplet: `BatchHardTriplet`.
    - arcface: `arcface_loss` of the embedding.
    - softmax: `LinearClassifier` of the first descriptor.
    - +smoothing: plus `cgd_auxiliary`.

    supcon, softmax and smoothing never wait for the device; triplet and arcface do. Raises NoseprintError for another
    name.
    """
    if name not in get_args(LossName):
        raise NoseprintError(f"loss {name!r} is unknown: there are {', '.join(get_args(LossName))}")
    features = network.backbone.num_features
    kind, _, auxiliary = name.partition("+")
    ranking: dict[str, Callable[[], LossPart]] = {
        "supcon": lambda: partial(supcon_loss, temperature=temperature),
        "triplet": BatchHardTriplet,
        "arcface": lambda: arcface_loss(classes, network.dim),
    }
    classification: LossPart | None = LinearClassifier(features, classes) if kind == "softmax" else None
    if auxiliary:
        classification = cgd_auxiliary(features, classes)
    return EmbeddingLoss(
        dim=network.dim, ranking=ranking[kind]() if kind in ranking else None, classification=classification
    )
