"""Tensors into a network: exactly its own, or none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from noseprint.errors import NoseprintError
from noseprint.models.weights_header import Spec, shown

if TYPE_CHECKING:  # `noseprint weights` reads checkpoints without timm
    from noseprint.models.network import SupConNet


def load_strictly(
    network: "SupConNet", tensors: Mapping[str, Tensor], *, path: Path, name: Callable[[str], str] = str
) -> None:
    """Copy `tensors` into `network` if they are exactly its own: the same keys, types and shapes, every value finite.

    `name` turns a key into the one to show. Raises NoseprintError naming the keys, before anything is copied.
    """
    require_fit(network, specs(tensors), path=path, name=name)
    if wrong := [key for key in tensors if not torch.isfinite(tensors[key]).all()]:
        raise NoseprintError(f"{path}: {_told('not finite', wrong, name)}: its training diverged; give other weights")
    network.load_state_dict(tensors)


def require_fit(
    network: "SupConNet", given: Mapping[str, Spec], *, path: Path, name: Callable[[str], str] = str
) -> None:
    """Refuse tensors of other keys, shapes or types than the network's, which may be on the meta device.

    Nothing is converted: half precision, too, would be another network than the one that was measured.
    """
    own = specs(network.state_dict())
    shared = [key for key in own if key in given]
    faults = {
        "missing": [key for key in own if key not in given],
        "unexpected": [key for key in given if key not in own],
        "wrongly shaped": [key for key in shared if given[key][1] != own[key][1]],
        "wrongly typed": [key for key in shared if given[key][0] != own[key][0]],
    }
    told = [_told(fault, keys, name) for fault, keys in faults.items() if keys]
    if told:
        raise NoseprintError(
            f"{path}: does not fit {network.backbone_name}: {'; '.join(told)}; give the weights of this very network"
        )


def specs(tensors: Mapping[str, Tensor]) -> dict[str, Spec]:
    """Type and shape of each tensor."""
    return {key: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for key, tensor in tensors.items()}


def _told(fault: str, keys: list[str], name: Callable[[str], str]) -> str:
    more = ", ..." if len(keys) > 3 else ""
    return f"{len(keys)} {fault} ({', '.join(shown(name(key)) for key in keys[:3])}{more})"
