"""Photographs to embeddings, or to what another network computes, each photograph once."""

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
from noseprint.distributed import gather_to_main, own_rows
from noseprint.errors import NoseprintError
from noseprint.models import openvino_runtime as runtime
from noseprint.models.network import Network
from noseprint.progress import progress


def embed_images(
    network: Network,
    paths: Sequence[Path],
    *,
    transform: Transform,
    device: torch.device,
    workers: int,
    batch_size: int | None = None,
    seed: int = 0,
    label: str = "embedding",
    engine: Engine = "torch",
    cache: Path | None = None,
) -> np.ndarray:
    """What `network.outputs` gives for photographs, such as their embeddings.

    Under torchrun the ranks share the work, and all of them must call this.

    network: it comes back in the mode (training or eval) that it was in. transform: its output must have the network's
    input size; a random one draws from (seed, position in `paths`). workers: processes that decode. label: name of the
    progress bar. engine: see `embedder`; a training takes torch, so that its decisions do not depend on whether
    OpenVINO is installed. cache: a folder for decoded photographs. batch_size: by default 64 on a GPU, and 16 on a CPU,
    where that is as fast and takes less memory; ranks form the batches that one process would, so on CPUs with as many
    threads each, the rows do not depend on the number of ranks.

    Returns (N, D) float32 in the order of `paths`; embeddings are rows of length 1. On ranks other than 0: the rank's
    own rows.
    """
    reuse_freed_memory()
    batch_size = batch_size or (16 if device.type == "cpu" else 64)
    rows = own_rows(len(paths), block=batch_size)
    part = np.empty((0, sum(network.output_sizes)), np.float32)
    was_training = network.training
    network.eval()
    try:
        if rows:
            part = embed_with(
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
    return gather_to_main(torch.from_numpy(part)).numpy()


def embed_with(
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
    """What `embed` gives for each photograph, (N, D), in this process alone.

    `embed` takes uint8 RGB images (B, 3, H, W) on the CPU and gives (B, D) there; `embedder` and `run_on` make such
    functions. `rows` selects photographs; their results are the same as among all `paths`. `pin_memory` speeds up the
    copy to a GPU. The other arguments are those of `embed_images`.
    """
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
        bar = progress(batches, total=len(loader), desc=label, unit="batch", leave=False)
        return torch.cat([embed(images) for images in bar]).numpy()


def embedder(network: Network, *, device: torch.device, engine: Engine) -> Callable[[Tensor], Tensor]:
    """A function from uint8 images (B, 3, H, W) on the CPU to `network.outputs` (B, D) float32 there.

    network: in eval mode. device: where torch computes; OpenVINO computes on the CPU only. engine: "torch"; "openvino",
    in bf16 if the CPU has it and the outputs hardly change (see `openvino_runtime.MIN_COSINE`); or "auto":
    OpenVINO on a CPU if it is installed and can run this network, else torch, whatever the images are.
    Raises NoseprintError if "openvino" is impossible.
    """
    if engine == "torch" or (engine == "auto" and (device.type != "cpu" or not runtime.is_installed())):
        return run_on(network.outputs, device)
    if device.type != "cpu":
        raise NoseprintError(f"--engine openvino computes on the CPU, not on {device}; pass --device cpu")
    if not runtime.is_installed():
        raise NoseprintError(
            "--engine openvino: OpenVINO is not installed; pip install noseprint[deploy], or pass --engine auto"
        )
    try:
        return runtime.compile_network(network)
    except Exception as error:  # its converters may raise any exception for a backbone that they do not know
        reason = str(error).strip().partition("\n")[0]
        message = f"OpenVINO cannot run {network.backbone_name} ({reason})"
        if engine == "openvino":
            raise NoseprintError(f"{message}; pass --engine torch") from error
        print(f"{message}; torch runs it instead", file=sys.stderr, flush=True)
        return run_on(network.outputs, device)


def run_on(compute: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """`compute`, a method of a network on `device`, as a function from images on the CPU to float32 rows on the CPU.

    It computes in bf16 on a GPU that has it, else in float32.
    """
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return compute(images.to(device, non_blocking=True)).float().cpu()

    return run
