"""Cross-entropy with smoothed or soft targets, optionally adjusted for classes of unequal size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdjustedCrossEntropy(nn.Module):
    """Cross-entropy of logits (B, K) + ln(prior), so that the logits themselves come out as if classes were balanced.

    Logit adjustment as a loss (Menon et al., "Long-tail learning via logit adjustment", arXiv 2007.07314, eq. 10, with
    tau = 1). The prior is no part of the network: what it predicts minimises the mean error of the classes, not of the
    images.

    counts: (K,) training images of each class; a class without any counts as one with a single image, since the
    logarithm of 0 would put its logit out of reach. None: no adjustment. smoothing: share of the target that is spread
    evenly over all classes, in 0..1 (arXiv 1512.00567, section 7).
    """

    log_prior: Tensor

    def __init__(self, counts: Tensor | None, *, smoothing: float = 0.0) -> None:
        super().__init__()
        prior = torch.zeros(1)
        if counts is not None:
            raised = counts.double().clamp(min=1)
            prior = (raised / raised.sum()).log().float()
        self.register_buffer("log_prior", prior)
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss of logits (B, K). target: class numbers (B,), or a distribution for each row (B, K)."""
        return F.cross_entropy(logits.float() + self.log_prior, target, label_smoothing=self.smoothing)
