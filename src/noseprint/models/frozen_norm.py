"""Trains a convolution and the frozen BatchNorm after it as one convolution, which is faster and takes less memory.

BatchNorm in eval mode scales and shifts each channel. For the gradient of the scale, torch keeps the whole input. Here
each step multiplies the scale into the convolution's weights and adds the shift to its bias. Outputs, parameters and
gradients are the same up to rounding, and there is one large tensor less to compute and to keep.
"""

from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from noseprint.models.network import Network

_PROBE_SIDE = 64  # px
_FOLDED = (nn.BatchNorm2d, BatchNormAct2d)  # these classes exactly: their subclasses may compute something else


def fold_frozen_norms(network: Network) -> int:
    """Fold each BatchNorm of the backbone into the convolution before it, in training mode; return the number of pairs.

    Does nothing unless `network.freeze_batch_norm`. A forward pass finds the pairs.
    """
    if not network.freeze_batch_norm or not any(type(module) in _FOLDED for module in network.backbone.modules()):
        return 0
    maker: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is kept, so that no other one gets its id
    pairs: list[tuple[nn.Conv2d, nn.Module]] = []

    def made(module: nn.Module, _: object, output: Tensor) -> None:
        maker[id(output)] = (module, output)  # type: ignore[assignment]

    def takes(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if found := maker.get(id(inputs[0])):
            pairs.append((found[0], module))

    backbone = network.backbone
    hooks = [module.register_forward_hook(made) for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    hooks += [module.register_forward_pre_hook(takes) for module in backbone.modules() if type(module) in _FOLDED]
    was_training = network.training
    network.eval()
    side = backbone.fixed_size or _PROBE_SIDE
    with torch.no_grad():
        backbone(torch.zeros(1, 3, side, side, device=network.pixel_mean.device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for convolution, norm in pairs:
        convolution.__class__ = type("Folded", (_FoldedConvolution, type(convolution)), {})
        norm.__class__ = type("Folded", (_FoldedNorm, type(norm)), {})
        vars(convolution)["norm"], vars(norm)["convolution"] = (norm,), (convolution,)  # tuples: no submodules
    return len(pairs)


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
