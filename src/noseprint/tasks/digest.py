"""Short hashes of what a training starts from, so that a resume notices when it has changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from noseprint.models.network import Network


def digest_rows(rows: Iterable[tuple[object, object]]) -> str:
    """A short hash of rows; for a path only its file name counts, since a data folder may move."""
    text = "\n".join(f"{a},{b.name if isinstance(b, Path) else b}" for a, b in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def network_settings(network: Network) -> dict[str, str]:
    """The backbone, the side of the input and a hash of the weights, for `Task.settings`."""
    weights = ((key, float(tensor.float().sum())) for key, tensor in network.state_dict().items())
    return {
        "backbone": network.backbone_name,
        "image_size": str(network.image_size),
        "start weights": digest_rows(weights),
    }
