"""Focal loss: images whose class the network is sure of count less."""

from torch import Tensor, nn

from noseprint.losses.soft_targets import smoothed_targets

GAMMA = 2.0
"""The exponent, as in the paper's experiments."""


class FocalLoss(nn.Module):
    """-(1 - p)^gamma ln p, p the probability of the right class (Lin et al., arXiv 1708.02002, eq. 4; softmax here).

    With a distribution as the target, that is the mean over the classes, weighted by the target.
    gamma: 0 is the cross-entropy. smoothing: share of the target that is spread evenly over all classes, in 0..1.
    """

    def __init__(self, *, gamma: float = GAMMA, smoothing: float = 0.0) -> None:
        super().__init__()
        self.gamma, self.smoothing = gamma, smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss of logits (B, K). target: class numbers (B,), or a distribution for each row (B, K)."""
        logs = logits.float().log_softmax(1)
        target = smoothed_targets(target, logits.shape[1], smoothing=self.smoothing)
        return -(target * (1 - logs.exp()) ** self.gamma * logs).sum(1).mean()
