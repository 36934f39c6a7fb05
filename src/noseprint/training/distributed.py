"""One training over several processes, started by torchrun; a plain run is a world of one.

The loss of a batch is taken over the embeddings of all processes, so that negatives come from every rank. Each rank
computes that same loss but back-propagates through its own embeddings only; the sum of the ranks' gradients is then
exactly the gradient of one process with the whole batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from noseprint.devices import choose_device


@dataclass(frozen=True)
class World:
    """Which process this is, of how many, and where it computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def gather(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings (B, D) and labels (B,) of all ranks, of which only this rank's own rows carry a gradient.

    Ranks may hold different numbers of rows. Alone, the arguments themselves.
    """
    if not dist.is_initialized():
        return embeddings, labels
    counts = [torch.zeros(1, dtype=torch.long, device=labels.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(labels)], device=labels.device))
    sizes = [int(count) for count in counts]
    rows = _gather_padded(embeddings.detach(), sizes)
    rows[dist.get_rank()] = embeddings
    return torch.cat(rows), torch.cat(_gather_padded(labels, sizes))


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks. Alone, nothing."""
    if not dist.is_initialized():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def wait_for_all() -> None:
    """Return when every rank has come here. Alone, at once."""
    if dist.is_initialized():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on any rank."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())


def _gather_padded(tensor: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
