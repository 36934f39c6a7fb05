"""The mean of the weights of several networks: model soups and averaged checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch

from noseprint.errors import NoseprintError
from noseprint.models.network import Network
from noseprint.models.weights import read_tensors


def average_weights(network: Network, files: Sequence[Path]) -> None:
    """Give `network` the mean of the weights in `files` (model soups, arXiv 2203.05482, eq. 1; arXiv 1803.05407).

    files: one or more, of trainings that began from the same weights; the mean of others is useless. Whole numbers,
    such as counters, are those of the last file.
    Raises NoseprintError for a file that cannot be read, or with other tensors than those of the network.
    """
    if not files:
        raise NoseprintError("there are no weights to average")
    mean: dict[str, torch.Tensor] = {}
    for path in files:
        for key, tensor in read_tensors(path, network).items():
            if key in mean and tensor.is_floating_point():
                mean[key] += tensor.double()
            else:
                mean[key] = tensor.double() if tensor.is_floating_point() else tensor
    state = network.state_dict()
    for key, total in mean.items():
        state[key].copy_(total / len(files) if total.is_floating_point() else total)
