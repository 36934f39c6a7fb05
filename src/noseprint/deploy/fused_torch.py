"""A network for inference in torch, with each BatchNorm multiplied into the convolution before it."""

from copy import deepcopy

import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from noseprint.models.frozen_norm import find_pairs
from noseprint.models.weights import AnyNetwork


def fused(network: AnyNetwork) -> AnyNetwork:
    """A copy of `network` in eval mode that computes the same up to rounding, with fewer operations.

    OpenVINO and ONNX Runtime do this themselves.
    """
    network = deepcopy(network).eval()
    for convolution, norm in find_pairs(network):
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        with torch.no_grad():
            both = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = both.weight, both.bias
        name = next(name for name, module in network.named_modules() if module is norm)
        activation = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
        network.set_submodule(name, activation)
    return network
