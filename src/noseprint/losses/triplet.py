"""The batch-hard triplet loss."""

from typing import cast

from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor, nn


class BatchHardTriplet(nn.Module):
    """For each anchor its farthest positive against its nearest negative, Euclidean (arXiv 1703.07737, eq. 5).

    The mean over the anchors; the miner waits for the device a few times a step.
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        self._miner = BatchHardMiner()
        self._loss = TripletMarginLoss(margin=margin, reducer=MeanReducer())

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Rows (N, D) with labels (N,) -> a scalar; 0 if no anchor has a positive."""
        return cast(Tensor, self._loss(rows, labels, self._miner(rows, labels)))
