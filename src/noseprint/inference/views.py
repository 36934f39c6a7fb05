"""Embeddings of several views of each photograph."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.command_line import Engine
from noseprint.data.views import View, view_transform
from noseprint.errors import NoseprintError
from noseprint.models.embed import embed_images
from noseprint.models.network import EmbeddingNet


def embed_views(
    network: EmbeddingNet,
    paths: Sequence[Path],
    *,
    views: Sequence[View],
    device: torch.device,
    workers: int,
    engine: Engine = "torch",
) -> npt.NDArray[np.float32]:
    """The mean of the embeddings of several views of each photograph, at length 1: (N, D) in the order of `paths`.

    views: one or more, see `view_transform`. The other arguments, and what ranks other than 0 get, are as for
    `embed_images`. Raises NoseprintError without views or with one view twice, and as `embed_images` does.
    """
    if not views or len(set(views)) < len(views):
        raise NoseprintError(f"views {', '.join(views) or 'none'}: name one or more, each once")
    total = sum(
        embed_images(
            network,
            paths,
            transform=view_transform(view, network.image_size),
            device=device,
            workers=workers,
            label=view,
            engine=engine,
        )
        for view in views
    )
    mean: npt.NDArray[np.float32] = torch.nn.functional.normalize(torch.from_numpy(total)).numpy()
    return mean
