"""The losses of the ladder that led to SupCon: what `--loss` of a recipe names."""

from collections.abc import Callable
from functools import partial
from typing import cast, get_args

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import ImageTable
from noseprint.distributed import gather
from noseprint.errors import NoseprintError
from noseprint.losses import LossName
from noseprint.losses.supcon import supcon_loss
from noseprint.models.network import SupConNet

TRIPLET_MARGIN = 0.1
ARCFACE_MARGIN, ARCFACE_SCALE = 28.6, 64.0  # degrees (0.5 rad); arXiv 1801.07698, section 3.1
# Random class directions disturb a pretrained backbone until they are learnt. AdamW turns small weights fastest, and a
# classifier that begins at zero drags nothing. The library's std is 1.
ARCFACE_INIT_STD = 1e-4
SMOOTHING, SMOOTHING_TEMPERATURE = 0.1, 0.5

Part = Callable[[Tensor, Tensor], Tensor]
"""(rows (N, D) float32, labels (N,) long) -> a scalar."""


class Loss(nn.Module):
    """The loss of a batch as `fit` takes it, as `step` and, for the weights it has of its own, as `criterion`.

    ranking: on the embedding (N, dim); classification: on the first descriptor as it was pooled, (N, C), no length
    taken out; of both the sum. Each sees the rows of all ranks, in float32 under autocast too, so every rank has the
    same value, and the whole batch's gradient of the loss's own weights.
    """

    def __init__(self, *, dim: int, ranking: Part | None, classification: Part | None) -> None:
        super().__init__()
        self._dim, self._ranking, self._classification = dim, ranking, classification

    def forward(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
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


class Classifier(nn.Module):
    """Cross-entropy of a linear classifier, its logits over `temperature`, its targets smoothed (arXiv 1512.00567)."""

    def __init__(self, features: int, classes: int, *, temperature: float = 1.0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self._temperature, self._smoothing = temperature, smoothing

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (N, C) with labels (N,) -> a scalar."""
        return F.cross_entropy(self.linear(rows) / self._temperature, labels, label_smoothing=self._smoothing)


class BatchHardTriplet(nn.Module):
    """For each anchor its farthest positive against its nearest negative (arXiv 1703.07737, eq. 5), by their mean."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self._miner = BatchHardMiner()
        self._loss = TripletMarginLoss(margin=margin, reducer=MeanReducer())

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (N, D) with labels (N,) -> a scalar; 0 where no anchor has a positive."""
        return cast(Tensor, self._loss(rows, labels, self._miner(rows, labels)))


def build_loss(
    name: LossName,
    *,
    network: SupConNet,
    labelled: ImageTable,
    pseudo: ImageTable | None = None,
    holdout: float,
    temperature: float,
) -> Loss:
    """The loss called `name` for `network`, with weights for the identities that `fit` trains on.

    - supcon: `supcon_loss` at `temperature`.
    - triplet: batch-hard, Euclidean, margin 0.1.
    - arcface: margin 0.5 rad, scale 64, on the embedding (arXiv 1801.07698).
    - softmax: a linear classifier of the identities on the first descriptor.
    - +smoothing: plus CGD's auxiliary classification of the first descriptor, labels smoothed by 0.1, temperature 0.5
      (arXiv 1903.10663, section 3.2).

    supcon, softmax and smoothing never wait for the device; the library's miner and ArcFace do, a few times a step,
    where they pick entries by a mask. Raises NoseprintError for another name.
    """
    if name not in get_args(LossName):
        raise NoseprintError(f"loss {name!r} is unknown: there are {', '.join(get_args(LossName))}")
    ranking: Part | None = None
    classification: Part | None = None
    held_out = split_holdout(labelled.identities, share=holdout, seed=HOLDOUT_SEED)
    # An identity that loses all its photographs to --skip-bad leaves a class that is never right.
    classes = len({*labelled.identities} - held_out) + (len({*pseudo.identities}) if pseudo else 0)
    kind, _, smoothing = name.partition("+")
    if kind == "supcon":
        ranking = partial(supcon_loss, temperature=temperature)
    elif kind == "triplet":
        ranking = BatchHardTriplet(TRIPLET_MARGIN)
    elif kind == "arcface":
        ranking = ArcFaceLoss(
            num_classes=classes,
            embedding_size=network.dim,
            margin=ARCFACE_MARGIN,
            scale=ARCFACE_SCALE,
            weight_init_func=TorchInitWrapper(nn.init.normal_, std=ARCFACE_INIT_STD),
        )
    else:
        classification = Classifier(network.backbone.num_features, classes)
    if smoothing:
        classification = Classifier(
            network.backbone.num_features, classes, temperature=SMOOTHING_TEMPERATURE, smoothing=SMOOTHING
        )
        nn.init.zeros_(classification.linear.weight)
        nn.init.zeros_(classification.linear.bias)
    return Loss(dim=network.dim, ranking=ranking, classification=classification)
