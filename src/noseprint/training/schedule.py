"""What changes from step to step: the learning rate and the averaged weights."""

import copy
import math

import torch
from torch import nn


def cosine_with_warmup(step: int, *, steps: int, warmup: int) -> float:
    """Factor on the learning rate at `step` of `steps`: a linear climb over `warmup` steps, then half a cosine to 0.

    Taken every step, so that the shape stays when the number of epochs changes (SGDR without restarts,
    arXiv 1608.03983, eq. 5).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class WeightAverage:
    """Exponential moving average of a network's weights.

    decay = 0.5 ** (1 / half_life_steps), warmed up as min(decay, (1 + n) / (10 + n)) at the n-th update, so that the
    start weights are forgotten early.
    """

    def __init__(self, network: nn.Module, *, half_life_steps: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = 0.5 ** (1 / half_life_steps)

    def decay(self, update: int) -> float:
        """The decay at update number `update` (from 0)."""
        return min(self._decay, (1 + update) / (10 + update))

    @torch.no_grad()
    def update(self, network: nn.Module, update: int) -> None:
        """Move the average towards `network`."""
        ours, theirs = list(self.network.parameters()), [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - self.decay(update))
        for our, their in zip(self.network.buffers(), network.buffers(), strict=True):
            our.copy_(their)


def parameter_groups(modules: list[nn.Module], *, weight_decay: float) -> list[dict[str, object]]:
    """Parameters for the optimizer: matrices and kernels decay; biases, norms and other vectors do not."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
