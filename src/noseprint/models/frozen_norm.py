"""Trains a convolution and the frozen BatchNorm after it as one convolution, which is faster and takes less memory.

BatchNorm in eval mode scales and shifts each channel. For the gradient of the scale, torch keeps the whole input. Here
each step multiplies the scale into the convolution's weights and adds the shift to its bias. Outputs, parameters and
gradients are the same up to rounding, and there is one large tensor less to compute and to keep.
"""

from collections import Counter
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn

from noseprint.models.network import Network

# These classes exactly: their subclasses may compute something else, such as standardised weights.
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_FOLDED = (nn.BatchNorm2d, BatchNormAct2d)


def fold_frozen_norms(network: Network) -> int:
    """Fold each BatchNorm of the backbone into the convolution before it, in training mode; return the number of pairs.

    Does nothing unless `network.freeze_batch_norm`. A forward pass at the network's input size finds the pairs. A
    convolution whose output is also used elsewhere stays as it is.
    """
    if not network.freeze_batch_norm or not any(type(module) in _FOLDED for module in network.backbone.modules()):
        return 0
    pairs = find_pairs(network)
    for convolution, norm in pairs:
        convolution.__class__ = type("Folded", (_FoldedConvolution, type(convolution)), {})
        norm.__class__ = type("Folded", (_FoldedNorm, type(norm)), {})
        vars(convolution)["norm"], vars(norm)["convolution"] = (norm,), (convolution,)  # tuples: no submodules
    return len(pairs)


def unfold_norms(network: Network) -> None:
    """Undo `fold_frozen_norms`: give each module its own class back."""
    for module in network.modules():
        if isinstance(module, _FoldedConvolution | _FoldedNorm):
            del vars(module)["norm" if isinstance(module, _FoldedConvolution) else "convolution"]
            module.__class__ = type(module).__mro__[2]


def find_pairs(network: Network) -> list[tuple[nn.Module, nn.Module]]:
    """Each convolution and the BatchNorm that alone takes its output; both are called once in a forward pass."""
    calls: Counter[nn.Module] = Counter()
    made: dict[Any, nn.Module] = {}  # the node of each convolution's output in the graph of gradients
    taken: list[tuple[Any, nn.Module]] = []  # the node that each BatchNorm takes

    def makes(module: nn.Module, _: object, output: Tensor) -> None:
        calls[module] += 1
        made[output.grad_fn] = module

    def takes(module: nn.Module, inputs: tuple[Tensor]) -> None:
        calls[module] += 1
        if module.affine and module.running_var is not None:
            taken.append((inputs[0].grad_fn, module))

    backbone = network.backbone
    hooks = [module.register_forward_hook(makes) for module in backbone.modules() if type(module) in _CONVOLUTIONS]
    hooks += [module.register_forward_pre_hook(takes) for module in backbone.modules() if type(module) in _FOLDED]
    was_training = network.training
    network.eval()
    side, device = network.image_size, network.pixel_mean.device
    with torch.enable_grad():
        output = backbone(torch.zeros(1, 3, side, side, device=device, requires_grad=True))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    uses, seen, ahead = Counter[Any](), {output.grad_fn}, [output.grad_fn]
    while ahead:
        nodes = [node for node, _ in ahead.pop().next_functions if node is not None]
        uses.update(nodes)
        ahead += set(nodes) - seen
        seen.update(nodes)
    found = ((node, made[node], norm) for node, norm in taken if node in made)
    return [(conv, norm) for node, conv, norm in found if uses[node] == calls[conv] == calls[norm] == 1]


class _FoldedConvolution:
    """Mixed into a convolution's own class: in training its weight and bias include those of the BatchNorm."""

    norm: tuple[Any]
    _parameters: dict[str, Any]
    training: bool

    @property
    def weight(self) -> Tensor:
        own: Tensor = self._parameters["weight"]
        return own * self._scale().view(-1, 1, 1, 1) if self.training else own

    @property
    def bias(self) -> Tensor | None:
        own: Tensor | None = self._parameters["bias"]
        if not self.training:
            return own
        (norm,) = self.norm
        shifted: Tensor = norm.bias + ((0 if own is None else own) - norm.running_mean) * self._scale()
        return shifted

    def _scale(self) -> Tensor:
        (norm,) = self.norm
        scale: Tensor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return scale


class _FoldedNorm:
    """Mixed into a BatchNorm's own class: in training only the activation is left of it."""

    convolution: tuple[nn.Module]

    def forward(self, x: Tensor) -> Tensor:
        if self.convolution[0].training:
            return cast(Tensor, self.act(self.drop(x))) if isinstance(self, BatchNormAct2d) else x
        return cast(Tensor, super().forward(x))  # type: ignore[misc]
