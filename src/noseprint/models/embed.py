"""Images to embeddings: each image once."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from noseprint.command_line import Engine
from noseprint.data.datasets import PlainImages, batches_of, begin_worker
from noseprint.data.transforms import Transform
from noseprint.devices import reuse_freed_memory
from noseprint.errors import NoseprintError
from noseprint.models import openvino_runtime as runtime
from noseprint.models.network import SupConNet
from noseprint.progress import progress


def embed_images(
    network: SupConNet,
    paths: Sequence[Path],
    *,
    transform: Transform,
    device: torch.device,
    workers: int,
    batch_size: int = 64,
    seed: int = 0,
    label: str = "embedding",
    rows: range | None = None,
    engine: Engine = "torch",
    cache: Path | None = None,
) -> np.ndarray:
    """Inference embeddings of `paths`, (N, D) float32, rows L2-normalised, in the order given.

    transform: what is done to each decoded image; it must end at the network's input size. A random one is drawn from
    (seed, position). rows: embed only these of `paths`, as they would come out of all of them. engine: what runs the
    network, see `embedder`; torch is what decisions in a training are made with, so that they are the same wherever
    OpenVINO is installed or not. cache: a folder for decoded photographs.
    """
    reuse_freed_memory()
    if rows is not None and not rows:
        return np.empty((0, network.embedding_size), np.float32)
    was_training = network.training
    network.eval()
    try:
        return embed_by(
            embedder(network, device=device, engine=engine),
            paths,
            transform=transform,
            workers=workers,
            batch_size=batch_size,
            seed=seed,
            label=label,
            rows=rows,
            cache=cache,
            pin_memory=device.type == "cuda",
        )
    finally:
        network.train(was_training)


def embed_by(
    embed: Callable[[Tensor], Tensor],
    paths: Sequence[Path],
    *,
    transform: Transform,
    workers: int,
    batch_size: int = 64,
    seed: int = 0,
    label: str = "embedding",
    rows: range | None = None,
    cache: Path | None = None,
    pin_memory: bool = False,
) -> np.ndarray:
    """`embed_images` by anything that turns a batch into embeddings, as `embedder` does."""
    rows = range(len(paths)) if rows is None else rows
    loader = DataLoader(
        PlainImages(paths, transform=transform, seed=seed, cache=cache),
        batch_size=batch_size,
        sampler=rows,
        num_workers=workers if len(rows) > batch_size else 0,
        worker_init_fn=begin_worker,
        pin_memory=pin_memory,
    )
    with closing(batches_of(loader)) as batches:
        told = progress(batches, total=len(loader), desc=label, unit="batch", leave=False)
        return torch.cat([embed(images) for images in told]).numpy()


def embedder(network: SupConNet, *, device: torch.device, engine: Engine) -> Callable[[Tensor], Tensor]:
    """What turns a batch, uint8 (B, 3, H, W) on the CPU, into embeddings (B, D) float32 there; `network` in eval mode.

    engine: "torch": in bf16 on a card that has it, else in float32. "openvino": on a CPU, in bf16 where the CPU has it
    and the network bears it (`models.runtime`). "auto": openvino on a CPU where it is installed and can run this
    network, else torch; which of the two never depends on the images, so neither does an embedding.
    Raises NoseprintError where "openvino" cannot be.
    """
    if engine == "torch" or (engine == "auto" and (device.type != "cpu" or not runtime.available())):
        return _torch(network, device)
    if device.type != "cpu":
        raise NoseprintError(f"--engine openvino computes on the CPU, not on {device}; take --device cpu")
    if not runtime.available():
        raise NoseprintError("--engine openvino: it is not installed; pip install noseprint[deploy], or --engine auto")
    try:
        return runtime.open_runtime(network)
    except Exception as error:  # its converters raise whatever they like at a backbone they do not know
        told = f"OpenVINO cannot run {network.backbone_name} ({str(error).strip().partition(chr(10))[0]})"
        if engine == "openvino":
            raise NoseprintError(f"{told}; take --engine torch") from error
        print(f"{told}; torch does", file=sys.stderr, flush=True)
        return _torch(network, device)


def _torch(network: SupConNet, device: torch.device) -> Callable[[Tensor], Tensor]:
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def embed(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return network.embed(images.to(device, non_blocking=True)).float().cpu()

    return embed
