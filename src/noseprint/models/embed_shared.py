"""Embedding, the images shared among the processes that torchrun started."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noseprint.distributed import gather_to_main, own_rows
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet


def embed_shared(network: SupConNet, paths: Sequence[Path], *, batch_size: int = 64, **options: Any) -> np.ndarray:
    """`embed_images`, each rank of torchrun embedding its part: rank 0 gets all rows (N, D), the others their own.

    To be called by every rank with the same arguments. The batches are those of one process, so that on CPUs the rows
    are the same bit for bit where as many threads compute each. Alone, `embed_images` itself.
    """
    rows = own_rows(len(paths), block=batch_size)
    part = embed_images(network, paths, batch_size=batch_size, rows=rows, **options)
    return gather_to_main(torch.from_numpy(part)).numpy()
