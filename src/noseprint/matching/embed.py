"""Images to embeddings: each image once."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from noseprint.data.augment import View
from noseprint.data.dataset import PlainImages, batches_of, begin_worker
from noseprint.devices import reuse_freed_memory
from noseprint.models.network import SupConNet
from noseprint.progress import progress


def embed_images(
    network: SupConNet,
    paths: Sequence[Path],
    *,
    view: View,
    device: torch.device,
    workers: int,
    batch_size: int = 64,
    seed: int = 0,
    label: str = "embedding",
    rows: range | None = None,
) -> np.ndarray:
    """Inference embeddings of `paths`, (N, D) float32, rows L2-normalised, in the order given.

    view: what is done to each decoded image; it must end at the network's input size. A random view is drawn from
    (seed, position). rows: embed only these of `paths`, as they would come out of all of them. On CUDA the network
    runs in bf16 where the card has it, elsewhere in fp32.
    """
    reuse_freed_memory()
    rows = range(len(paths)) if rows is None else rows
    if not rows:
        return np.empty((0, network.embedding_size), np.float32)
    loader = DataLoader(
        PlainImages(paths, view=view, seed=seed),
        batch_size=batch_size,
        sampler=rows,
        num_workers=workers if len(rows) > batch_size else 0,
        worker_init_fn=begin_worker,
        pin_memory=device.type == "cuda",
    )
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    was_training = network.training
    network.eval()
    parts = []
    try:
        with (
            closing(batches_of(loader)) as batches,
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            for images in progress(batches, total=len(loader), desc=label, unit="batch", leave=False):
                batch = images.to(device, non_blocking=True)
                parts.append(network.embed(batch).float().cpu())
    finally:
        network.train(was_training)
    return torch.cat(parts).numpy()
