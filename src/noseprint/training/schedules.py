"""What changes from step to step: the learning rate and the averaged weights."""

import math

import torch
from torch import Tensor, nn


def cosine_with_warmup(step: int, *, steps: int, warmup: int) -> float:
    """Factor on the learning rate at `step` of `steps`: a linear climb over `warmup` steps, then half a cosine to 0.

    Taken every step, so that the shape stays when the number of epochs changes (SGDR without restarts,
    arXiv 1608.03983, eq. 5).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def average_decay(update: int, *, half_life: float) -> float:
    """Decay of the averaged weights at update number `update` (from 0), for a half-life in updates.

    0.5 ** (1 / half_life), warmed up as min(decay, (1 + n) / (10 + n)), so that the start weights are forgotten early.
    """
    return float(min(0.5 ** (1 / half_life), (1 + update) / (10 + update)))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the weights of `average` towards those of `network`: average = decay * average + (1 - decay) * network."""
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for our, their in zip(average.buffers(), network.buffers(), strict=True):
        our.copy_(their)


def parameter_groups(modules: list[nn.Module], *, weight_decay: float) -> list[dict[str, object]]:
    """Parameters for the optimizer: matrices and kernels decay; biases, norms and other vectors do not."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
