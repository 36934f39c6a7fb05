"""Pooling: a feature map (B, C, h, w) in, one value for each channel (B, C) out."""

from collections.abc import Callable

from torch import Tensor


def spoc(features: Tensor) -> Tensor:
    """Sum-pooled convolutional features, as a mean: (B, C, h, w) -> (B, C). Babenko & Lempitsky, arXiv 1510.07493."""
    return features.mean(dim=(-2, -1))


def mac(features: Tensor) -> Tensor:
    """Maximum activation of convolutions: (B, C, h, w) -> (B, C). Tolias et al., arXiv 1511.05879."""
    return features.amax(dim=(-2, -1))


def avgmax(features: Tensor) -> Tensor:
    """Mean of average and maximum, as timm's "avgmax" pooling: (B, C, h, w) -> (B, C)."""
    return 0.5 * (spoc(features) + mac(features))


def gem(features: Tensor) -> Tensor:
    """Generalised mean, p = 3: (B, C, h, w) -> (B, C), every value >= 1e-6. Radenovic et al., arXiv 1711.02512, eq. 3.

    Activations below 1e-6 count as 1e-6, since the cube root of a negative mean is undefined.
    """
    return features.clamp(min=1e-6).pow(3.0).mean(dim=(-2, -1)).pow(1.0 / 3.0)


DESCRIPTORS: dict[str, Callable[[Tensor], Tensor]] = {"S": spoc, "M": mac, "G": gem}
"""By the letters of CGD (arXiv 1903.10663)."""

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {"avg": spoc, "max": mac, "avgmax": avgmax, "gem": gem}
"""By the names that classifiers use."""
