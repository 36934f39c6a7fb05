"""The supervised contrastive loss."""

import torch
from torch import Tensor


def supcon_loss(embeddings: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss of embeddings (N, D), rows of length 1, with labels (N,): a float32 scalar.

    L_out of Khosla et al., arXiv 2004.11362, eq. 2: for each anchor, the mean over its positives of the negative log
    of the softmax over all others at `temperature`; then the mean over the anchors that have a positive. 0 if no anchor
    has one.

    pytorch-metric-learning's SupConLoss differs in four ways: it leaves out anchors whose loss rounds to 0, gives 0 for
    a single identity, waits for the device to look at its masks, and multiplies in half precision under autocast, which
    at temperature 0.07 is off by up to 0.06. Otherwise loss and gradient are the same, to rounding.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        logits = embeddings.float() @ embeddings.float().T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels) & ~itself
    number = positive.sum(dim=1)
    mean_positive = (logits * positive).sum(dim=1) / number.clamp(min=1)
    loss = torch.logsumexp(logits.masked_fill(itself, torch.finfo(torch.float32).min), dim=1) - mean_positive
    anchors = number > 0
    return (loss * anchors).sum() / anchors.sum().clamp(min=1)
