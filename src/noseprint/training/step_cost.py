"""What a step of a training costs, planned with tensors that have a shape and no memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from noseprint.models.network import Network
from noseprint.training.fit_options import OptimizerName

_STATES: dict[OptimizerName, int] = {"adamw": 2, "radam": 2, "sgd": 1}
"""Values that an optimizer keeps for each weight."""


@dataclass(frozen=True)
class StepCost:
    """The cost of a step: numbers of weights, memory in bytes, floating-point operations.

    A multiplication and an addition are two operations. weights: those of network and loss in float32, and the averaged
    ones. activations: what the forward pass keeps for the backward pass, with copies of the weights in bfloat16. The
    working memory of single layers is not counted.
    """

    parameters: int
    learned: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    operations: int

    @property
    def memory(self) -> int:
        """All of it together."""
        return self.weights + self.gradients + self.optimizer + self.activations


def step_cost(network: Network, criterion: nn.Module, *, batch_size: int, optimizer: OptimizerName) -> StepCost:
    """The cost of a step in mixed precision, as `fit` takes it: criterion(network(images), labels).

    network, criterion: they may be on the meta device, and are of no use afterwards. Weights that `requires_grad` are
    learned. Attention is counted as the fused kernels compute it, which keep no matrix of all pairs of patches.
    """
    with FakeTensorMode():
        for part in (network, criterion):
            _without_memory(part)
        weights = [*network.parameters(), *criterion.parameters()]
        learned = [weight for weight in weights if weight.requires_grad]
        side = network.image_size
        images = torch.empty(batch_size, 3, side, side, dtype=torch.uint8)
        labels = torch.empty(batch_size, dtype=torch.long)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            return tensor

        counter = FlopCounterMode(display=False)
        with counter:
            with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
                loss = criterion(network(images), labels)
            for weight in weights:
                kept.pop(weight.untyped_storage()._cdata, None)
            loss.backward()
    return StepCost(
        parameters=_count(weights),
        learned=_count(learned),
        weights=4 * (_count(weights) + _count(list(network.parameters()))),
        gradients=4 * _count(learned),
        optimizer=4 * _STATES[optimizer] * _count(learned),
        activations=sum(kept.values()),
        operations=counter.get_total_flops(),
    )


def _count(weights: list[nn.Parameter]) -> int:
    return sum(weight.numel() for weight in weights)


def _without_memory(root: nn.Module) -> None:
    """Replace weights and buffers by tensors of the mode that is active."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    fresh: Callable[[Tensor], Tensor] = lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype)  # noqa: E731
    for module in root.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if weight not in made:
                    made[weight] = nn.Parameter(fresh(weight), requires_grad=weight.requires_grad)
                module._parameters[name] = made[weight]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fresh(buffer)
